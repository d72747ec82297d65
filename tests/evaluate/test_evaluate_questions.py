"""The first screen answers: does it over-fit, do the data leak, is it better than TF-IDF."""

from dataclasses import replace

import pytest
from sample_evidence import evidence

from tael.evaluate.evidence import find
from tael.evaluate.questions import leak, questions
from tael.evaluate.wording import speaking

EN = speaking("en")
ROWS = {"dev rows": 100, "test rows": 100}


@pytest.mark.parametrize(
    ("dedup", "counts", "answer", "why", "kind"),
    [
        ("near", ROWS, "No", "nor a near copy", "good"),
        ("near", ROWS | {"train rows removed: they repeat dev or test": 7}, "No, it was stopped",
         "7 training rows", "good"),
        ("exact", ROWS | {"test rows that repeat train": 5}, "A little", "5 of 200", "warn"),
        ("off", ROWS | {"dev rows that repeat train": 30}, "Yes", "15.0 %", "warn"),
        ("off", ROWS, "No", "nor a near copy", "good"),
        ("near", {}, "Not known", "no data report", "info"),
        (None, ROWS, "Not known", "no data report", "info"),
    ],
)  # fmt: skip
def test_the_leak_is_told_from_the_counts(
    dedup: str | None, counts: dict[str, int], answer: str, why: str, kind: str
) -> None:
    asked, said, reason, tone = leak(EN, counts, dedup)
    assert (asked, said, tone) == ("Is the data leaking?", answer, kind)
    assert why in reason


def test_the_three_answers_follow_from_the_findings() -> None:
    whole = evidence()
    found = find(whole, resamples=60)
    fit, leaking, better = questions(whole, found)
    assert fit[1].startswith("Yes, it over-fits from")
    assert "train 96" in fit[2]
    assert leaking[1] == "No, it was stopped"
    assert better[1] in ("Yes, proved", "Not proved")
    assert "in pairs (95 % interval" in better[2]
    alone = replace(whole, baselines={}, splits={"test": whole.splits["test"]}, counts={})
    assert [one[1] for one in questions(alone, find(alone, resamples=60))] == ["Not known"] * 3


def test_a_worse_model_is_said_to_be_worse() -> None:
    whole = evidence()
    wrong = [{"label": "正面", "scores": dict.fromkeys(whole.labels, 0.25)}] * 800
    turned = replace(
        whole,
        splits={"test": replace(whole.splits["test"], answers=wrong)},
        baselines={"tfidf": {"test": whole.splits["test"].answers}},
    )
    assert questions(turned, find(turned, resamples=60))[2][1] == "No, it is worse (proved)"
