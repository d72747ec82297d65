"""The report answers in its first sentence, holds its evidence, and fetches nothing."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sample_evidence import evidence

from tael.errors import UsageError
from tael.evaluate.answered import Split
from tael.evaluate.curves import thin
from tael.evaluate.evidence import Evidence, find
from tael.evaluate.mistakes import worst
from tael.evaluate.report import write_report
from tael.evaluate.robust import measure_robustness
from tael.task.labels import mistake

FEW = 60  # draws: enough for every path, quick


def small(**changes: Any) -> Evidence:
    whole = evidence(**changes)
    splits = {
        name: Split(part.answers[:300], part.references[:300], part.records[:300])
        for name, part in whole.splits.items()
    }
    baselines = {
        key: {name: answers[:300] for name, answers in given.items()}
        for key, given in whole.baselines.items()
    }
    return replace(whole, splits=splits, baselines=baselines)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    write_report(run, small(), resamples=FEW)
    return run


def test_the_first_sentence_says_how_good_against_what_and_whether_it_is_sound() -> None:
    found = find(small(), resamples=FEW)
    assert re.fullmatch(
        r"\d+\.\d % ± \d\.\d accuracy on test, \d+\.\d points (above|below) TF-IDF "
        r"\((proved|not proved.*)\); it over-fits from epoch 1\.3\.",
        found.sentence,
    )


def test_a_difference_is_called_proved_only_when_it_is() -> None:
    whole = small()
    same = replace(whole, baselines={"tfidf": {"test": whole.splits["test"].answers}})
    assert "level with TF-IDF" in find(same, resamples=FEW).sentence
    wrong = [{"label": "正面", "scores": dict.fromkeys(whole.labels, 0.25)}] * 300
    far = replace(whole, baselines={"tfidf": {"test": wrong}})
    assert "above TF-IDF (proved)" in find(far, resamples=FEW).sentence
    turned = replace(
        whole,
        splits={"test": replace(whole.splits["test"], answers=wrong)},
        baselines={"tfidf": {"test": whole.splits["test"].answers}},
    )
    assert "below TF-IDF (proved)" in find(turned, resamples=FEW).sentence


def test_the_page_holds_its_evidence_and_loads_nothing(written: Path) -> None:
    page = (written / "report.html").read_text("utf-8")
    for heading in (
        "Scores", "Against simple baselines", "Does it over-fit?", "Where is it weak?", "Classes",
        "Can the scores be trusted?", "Worst mistakes", "Data", "Costs", "Recipe",
    ):  # fmt: skip
        assert f"<h2>{heading}</h2>" in page
    assert page.count("<svg") == 5  # loss, metric, pretraining, confusion, reliability
    assert page.count("The numbers") == 5
    assert not re.search(r"<script|src=|https?://(?!www\.w3\.org)", page)
    assert "never again &lt;b&gt;!" in page or "<b>!" not in page
    assert re.search(r"test\.csv:\d+", page)


def test_the_first_screen_answers_three_questions(written: Path) -> None:
    page = (written / "report.html").read_text("utf-8")
    for asked in ("Is it over-fitting?", "Is the data leaking?", "Is it better than TF-IDF?"):
        assert asked in page[: page.index("<nav>")]
    found = json.loads((written / "report.json").read_text("utf-8"))
    assert [one["kind"] for one in found["questions"]][:2] == ["warn", "good"]


# What a Chinese page may hold in Latin letters: names of methods, keys, units, the user's own text.
NAMES = {
    "TF", "IDF", "F1", "F", "ROC", "ECE", "p", "nat", "Fisher", "Welch", "Holm", "McNemar",
    "Transformer", "USD", "classify", "hotel", "reviews", "neutral", "torch", "fp", "cpu", "cores",
}  # fmt: skip


def left_in_english(page: str) -> list[str]:
    """Return runs of two and more Latin words that no code or user wrote."""
    body = re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", page, flags=re.DOTALL)
    body = re.sub(r"<details><summary>样例.*?</details>", "", body, flags=re.DOTALL)
    body = re.sub(r"<h2>错得最离谱的</h2>.*?</section>", "", body, flags=re.DOTALL)
    texts = re.findall(r">([^<>]+)<", body)
    runs = [run for text in texts for run in re.findall(r"[A-Za-z][A-Za-z' -]*[A-Za-z]", text)]
    keys = re.compile(r"[a-z]+\.[a-z_]+")
    return [
        run for run in runs
        if len(words := run.replace("-", " ").split()) > 1 and not set(words) <= NAMES
        and not keys.search(run)
    ]  # fmt: skip


def test_no_english_sentence_is_left_on_a_chinese_page(tmp_path: Path) -> None:
    found = [
        measure_robustness(
            SimpleNamespace(predict=lambda rows: [{"label": "正面"} for _ in rows]),
            small().splits["test"], "single", small().labels, "accuracy", system="torch-fp32",
            seed=0, rows=40, resamples=20,
        )
    ]  # fmt: skip
    given = small(lang="zh", robustness=found, counts={}, notes=[], known={"房间": 5})
    write_report(tmp_path, given, resamples=FEW)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert '<html lang="zh-CN">' in page
    assert "过拟合了吗？" in page
    assert left_in_english(page) == []
    card = (tmp_path / "model-card.md").read_text("utf-8")
    assert "## 局限" in card
    plain = re.sub("`[^`]*`", "", card.split("---", 2)[2])
    assert left_in_english(f">{plain}<") == []
    english = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert english["diagnosis"]["verdict"] == "over-fits"  # a program reads the same words


def test_the_search_for_english_would_find_some() -> None:
    assert left_in_english("<p>这是 an English sentence 吗</p>") == ["an English sentence"]


def test_the_curves_are_files_of_their_own(written: Path) -> None:
    names = {path.name for path in (written / "curves").iterdir()}
    assert names == {"loss.svg", "metric.svg", "pretrain-loss.svg"}
    for name in names:
        ET.parse(written / "curves" / name)


def test_the_figures_are_readable_by_a_program(written: Path) -> None:
    found = json.loads((written / "report.json").read_text("utf-8"))
    assert found["scores"]["test"]["accuracy"].keys() == {"value", "low", "high"}
    assert found["diagnosis"]["verdict"] == "over-fits"
    assert found["comparisons"]["tfidf"]["rows"] == 300
    assert np.sum(found["confusion"]) == 300
    total = sum(one["support"] for one in found["classes"])
    assert total == 300


def test_the_model_card_states_scores_limits_and_labels(written: Path) -> None:
    card = (written / "model-card.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: tael\n")
    for part in ("## How good it is", "## Against simple baselines", "## Limits", "`正面`"):
        assert part in card


def test_the_same_evidence_gives_the_same_page(written: Path, tmp_path: Path) -> None:
    write_report(tmp_path, small(), resamples=FEW)
    assert (tmp_path / "report.html").read_bytes() == (written / "report.html").read_bytes()


@pytest.mark.parametrize("kind", ["multi", "regression"])
def test_several_labels_and_numbers_have_their_own_report(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    labels = ["a", "b", "c"] if kind == "multi" else []
    splits = {}
    for name in ("train", "dev", "test"):
        truth, guess = rng.random((2, 80, 3))
        if kind == "multi":
            answers: list[dict[str, Any]] = [
                {
                    "labels": [x for x, v in zip(labels, row, strict=True) if v > 0.5],
                    "scores": dict(zip(labels, map(float, row), strict=True)),
                }
                for row in guess
            ]
            references: list[Any] = [
                [x for x, v in zip(labels, row, strict=True) if v > 0.5] for row in truth
            ]
        else:
            answers = [
                {"value": float(t + 0.1 * g)} for t, g in zip(truth[:, 0], guess[:, 0], strict=True)
            ]
            references = truth[:, 0].tolist()
        records: list[dict[str, Any]] = [{"text": f"text {i}", "@": f"x:{i}"} for i in range(80)]
        splits[name] = Split(answers, references, records)
    given = Evidence("x", "classify", kind, labels, "f1" if kind == "multi" else "r2", splits)  # type: ignore[arg-type]
    found = write_report(tmp_path, given, resamples=FEW)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert ("Classes" in page) == (kind == "multi")
    assert found.sentence.startswith(
        ("R", "0", "−", "1") if kind == "regression" else tuple("0123456789")
    )
    assert "curves" not in {path.name for path in tmp_path.iterdir()}  # there is no history


def test_a_run_without_dev_or_history_has_a_report_without_a_diagnosis(tmp_path: Path) -> None:
    whole = small()
    empty = Split([], [], [])
    given = replace(whole, splits={"dev": empty, "test": whole.splits["test"]}, history=[])
    found = write_report(tmp_path, given, resamples=FEW)
    assert found.diagnosis is None
    assert "over-fit" not in found.sentence
    with pytest.raises(UsageError, match="at least one record"):
        write_report(tmp_path, replace(whole, splits={"dev": empty}))


def test_the_surest_mistakes_come_first_and_right_answers_never() -> None:
    part = small().splits["test"]
    found = worst(part, partial(mistake, kind="single"), most=10)
    assert len(found) == 10
    assert [one.badness for one in found] == sorted((one.badness for one in found), reverse=True)
    assert all(one.truth != one.answer for one in found)
    right = replace(part, answers=[{"label": x, "scores": {x: 1.0}} for x in part.references])
    assert worst(right, partial(mistake, kind="single")) == []
    numbers = Split([{"value": 1.0}, {"value": 9.0}], [1.5, 2.0], [{"text": "a"}, {"text": "b"}])
    assert [one.text for one in worst(numbers, partial(mistake, kind="regression"))] == ["b", "a"]


def test_a_long_history_is_thinned_but_keeps_its_ends_and_its_mean() -> None:
    points = [(float(step), float(step % 7)) for step in range(1, 1001)]
    thinned = thin(points, most=100)
    assert len(thinned) == 100
    assert (thinned[0][0], thinned[-1][0]) == (1.0, 1000.0)
    assert np.mean([y for _, y in thinned]) == pytest.approx(np.mean([y for _, y in points]))
    assert thin(points[:5]) == points[:5]
