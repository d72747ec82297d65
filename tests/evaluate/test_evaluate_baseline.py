"""The baselines give the sceptic's known scores, and cope with labels that train hardly has."""

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tael.data.record import Record
from tael.evaluate.baseline import CHARACTERS, WORDS, fit_tfidf, majority, suited_grams
from tael.model.linear import Grams, document
from tael.task.metrics import measure

DATA = Path(os.environ.get("TAEL_DATA", Path(__file__).parents[3] / "shared" / "data"))


def rows(folder: str, split: str) -> list[Record]:
    path = DATA / folder / f"{split}.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here; set TAEL_DATA to the folder of the test data")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores(folder: str, grams: Grams) -> dict[str, float]:
    train, dev, test = (rows(folder, split) for split in ("train", "dev", "test"))
    labels = sorted({row["label"] for row in train})
    model = fit_tfidf(train, dev, "single", labels, grams=[grams])
    best_N = model.logits([document(record) for record in test]).argmax(axis=1)
    answers: list[dict[str, Any]] = [{"label": labels[best]} for best in best_N]
    truth = [row["label"] for row in test]
    constant = majority([row["label"] for row in train], "single", labels).predict(test)
    found = measure("single", answers, truth, labels)
    return found | {"majority": measure("single", constant, truth, labels)["accuracy"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "grams", "expected"),
    [
        ("spam_en_youtube_time", CHARACTERS, (0.0878, 0.9662, 0.9044)),
        ("spam_en_youtube_time", WORDS, (0.0878, 0.9595, 0.8887)),
        ("spam_en_sms", CHARACTERS, (0.8967, 0.9942, 0.9838)),
        ("spam_en_sms", WORDS, (0.8967, 0.9903, 0.9725)),
    ],
)
def test_tfidf_gives_the_published_scores_to_four_digits(
    folder: str, grams: Grams, expected: tuple[float, float, float]
) -> None:
    found = scores(folder, grams)
    assert (found["majority"], found["accuracy"], found["f1"]) == pytest.approx(expected, abs=5e-5)


TRAIN: list[Record] = [
    {"text": text, "label": label}
    for text, label in [
        ("good room", "1"), ("good food", "1"), ("very good", "1"), ("good good", "1"),
        ("bad room", "0"), ("bad food", "0"), ("very bad", "0"),
    ]
]  # fmt: skip


def test_the_majority_is_the_most_frequent_label_with_the_shares_as_scores() -> None:
    answer = majority(["1", "0", "1"], "single", ["0", "1"]).predict([{}, {}])
    assert [one["label"] for one in answer] == ["1", "1"]
    assert answer[0]["scores"] == {"0": pytest.approx(1 / 3), "1": pytest.approx(2 / 3)}
    several = majority(["a|b", "a", "c"], "multi", ["a", "b", "c"]).predict([{}])[0]
    assert several["labels"] == ["a"]
    assert majority(["1", "4"], "regression", []).predict([{}])[0]["value"] == 2.5


def test_words_are_tried_only_where_spaces_stand_between_them() -> None:
    assert suited_grams(["房间很干净", "good"]) == (CHARACTERS,)
    assert suited_grams(["a good room", "好"]) == (CHARACTERS, WORDS)


def test_dev_decides_what_is_taken_and_test_is_never_asked() -> None:
    dev: list[Record] = [{"text": "good", "label": "1"}, {"text": "bad", "label": "0"}]
    model = fit_tfidf(TRAIN, dev, "single", ["0", "1"])
    assert model.grams == CHARACTERS  # both are right on dev: the first of equals
    assert model.logits(["good good", "bad bad"]).argmax(1).tolist() == [1, 0]
    upside_down = [{**row, "label": "10"[int(row["label"])]} for row in dev]
    spaced = [{"text": " ".join(row["text"]), "label": row["label"]} for row in upside_down]
    other = fit_tfidf(TRAIN, spaced, "single", ["0", "1"])
    assert other.grams == WORDS  # single letters are no words, so only the bias answers: half right


@pytest.mark.parametrize("present", [{"0", "1"}, {"0", "1", "2"}])
def test_a_label_without_a_training_record_is_never_answered(present: set[str]) -> None:
    labels = ["0", "1", "2", "3"]
    train = [*TRAIN, *([{"text": "strange thing", "label": "2"}] * 2 if "2" in present else [])]
    logits = fit_tfidf(train, [], "single", labels).logits(["good", "bad", "strange", "never seen"])
    assert logits.shape == (4, 4)
    assert {labels[best] for best in logits.argmax(axis=1)} <= present
    assert {"0", "1"} <= {labels[best] for best in logits[:2].argmax(axis=1)}


def test_several_labels_are_learnt_one_against_the_rest() -> None:
    train = [
        {"text": row["text"], "label": "x|good" if row["label"] == "1" else "x"} for row in TRAIN
    ]
    model = fit_tfidf(train, train, "multi", ["good", "never", "x"])
    on_NC = model.logits(["good", "bad"]) > 0
    assert on_NC.tolist() == [[True, False, True], [False, False, True]]


def test_numbers_are_learnt_by_ridge_regression() -> None:
    train = [{"text": row["text"], "label": str(3 * int(row["label"]))} for row in TRAIN]
    logits_NC = fit_tfidf(train, train, "regression", []).logits(["good", "bad"])
    assert logits_NC.shape == (2, 1)
    assert logits_NC[0, 0] > 2 > 1 > logits_NC[1, 0]


def test_texts_that_share_no_ngram_are_still_fitted() -> None:
    train: list[Record] = [{"text": "a", "label": "0"}, {"text": "b", "label": "1"}]
    logits = fit_tfidf(train, [], "single", ["0", "1"]).logits(["a", "b"])
    assert np.isfinite(logits).all()
    assert logits.argmax(axis=1).tolist() == [0, 1]
