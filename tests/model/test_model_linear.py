"""The linear model answers as scikit-learn does, and as itself after it was stored."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from tael.errors import CheckpointError
from tael.model.linear import Grams, LinearModel, document

TEXTS = [
    "房间很干净，服务也好", "房间太小，服务很差", "早餐一般，位置很好", "再也不来了，太差了",
    "A good room  and\n\n good service", "a bad room, bad Service!", "Good breakfast; it's fine",
    "never again, bad bad bad", "位置 good 服务 bad", "非常满意 😀😀", "x", "ß İstanbul ĄĆ 12 345",
]  # fmt: skip
GRAMS = [Grams("char", 1, 3), Grams("word", 1, 2), Grams("char", 2, 2)]


def fitted(grams: Grams, model: Any, target: Any) -> tuple[LinearModel, Any, Any]:
    vectorizer = TfidfVectorizer(
        analyzer=grams.unit, ngram_range=(grams.low, grams.high), sublinear_tf=True
    )
    model.fit(vectorizer.fit_transform(TEXTS), target)
    coef_CV, bias_C = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    words = vectorizer.get_feature_names_out().tolist()
    outputs = len(getattr(model, "classes_", [0]))
    linear = LinearModel(grams, words, vectorizer.idf_, coef_CV.T, bias_C, outputs=outputs)
    return linear, model, vectorizer


def softmax(logits_NC: NDArray[Any]) -> NDArray[Any]:
    exponent_NC = np.exp(logits_NC.astype(np.float64) - logits_NC.max(axis=1, keepdims=True))
    return np.asarray(exponent_NC / exponent_NC.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("grams", GRAMS)
@pytest.mark.parametrize("classes", [2, 3])
def test_softmax_of_the_logits_is_sklearns_predict_proba(grams: Grams, classes: int) -> None:
    target = np.arange(len(TEXTS)) % classes
    linear, model, vectorizer = fitted(grams, LogisticRegression(C=10), target)
    unseen = [*TEXTS, "an unseen 文本 good", "", "   ", "\U0001f600"]
    expected_NC = model.predict_proba(vectorizer.transform(unseen))
    found_NC = softmax(linear.logits(unseen))
    assert found_NC.shape == (len(unseen), classes)
    np.testing.assert_allclose(found_NC, expected_NC, atol=1e-5)


def test_a_ridge_regression_answers_with_its_number() -> None:
    linear, model, vectorizer = fitted(GRAMS[0], Ridge(), np.linspace(-3, 3, len(TEXTS)))
    expected_N = model.predict(vectorizer.transform(TEXTS))
    np.testing.assert_allclose(linear.logits(TEXTS)[:, 0], expected_N, atol=1e-5)


@pytest.mark.parametrize("grams", GRAMS)
def test_ngrams_are_cut_as_sklearn_cuts_them(grams: Grams) -> None:
    analyse = TfidfVectorizer(
        analyzer=grams.unit, ngram_range=(grams.low, grams.high)
    ).build_analyzer()
    for text in TEXTS:
        assert sorted(grams(text)) == sorted(analyse(text))


def test_a_stored_model_gives_the_same_bits(tmp_path: Path) -> None:
    linear, _, _ = fitted(GRAMS[0], LogisticRegression(), np.arange(len(TEXTS)) % 2)
    linear.save(tmp_path / "model")
    again = LinearModel.load(tmp_path / "model")
    assert np.array_equal(again.logits(TEXTS), linear.logits(TEXTS))
    assert again.grams == linear.grams
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}


def test_a_broken_character_survives_storage(tmp_path: Path) -> None:
    weight = np.array([[1.0], [2.0]])
    LinearModel(Grams("char", 1, 1), ["\ud800", "好"], np.ones(2), weight, np.zeros(1)).save(
        tmp_path
    )
    assert LinearModel.load(tmp_path).vocabulary == ["\ud800", "好"]


def test_neighbours_in_a_batch_do_not_change_an_answer() -> None:
    linear, _, _ = fitted(GRAMS[0], LogisticRegression(), np.arange(len(TEXTS)) % 3)
    together = linear.logits(TEXTS)
    assert all(
        np.array_equal(linear.logits([text])[0], together[row]) for row, text in enumerate(TEXTS)
    )


@pytest.mark.parametrize("harm", ["absent", "half", "other"])
def test_a_damaged_folder_is_refused_in_one_line(tmp_path: Path, harm: str) -> None:
    linear, _, _ = fitted(GRAMS[0], LogisticRegression(), np.arange(len(TEXTS)) % 2)
    linear.save(tmp_path)
    if harm == "absent":
        (tmp_path / "linear.json").unlink()
    elif harm == "half":
        content = (tmp_path / "linear.safetensors").read_bytes()
        (tmp_path / "linear.safetensors").write_bytes(content[: len(content) // 2])
    else:
        other, _, _ = fitted(GRAMS[1], LogisticRegression(), np.arange(len(TEXTS)) % 2)
        other.save(tmp_path / "other")
        (tmp_path / "other" / "linear.json").replace(tmp_path / "linear.json")
    with pytest.raises(CheckpointError, match="expected a linear model") as caught:
        LinearModel.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_second_text_of_a_pair_counts() -> None:
    assert document({"text": "a", "text_pair": "b"}) == "a\nb"
    assert document({"text": "a"}) == "a"


def test_a_text_of_a_hundred_characters_is_answered_within_a_third_of_a_millisecond() -> None:
    text = ("房间很干净，服务也好。" * 10)[:60] + "A good room and good service, really"[:40]
    linear, _, _ = fitted(GRAMS[0], LogisticRegression(), np.arange(len(TEXTS)) % 2)
    linear.logits([text])
    best = 1.0
    for _ in range(50):  # the best of many: other work on the machine must not fail this test
        start = time.process_time()
        for _ in range(10):
            linear.logits([text])
        best = min(best, (time.process_time() - start) / 10)
    assert best < 3e-4
