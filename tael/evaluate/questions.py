"""The three questions of the first screen: does it over-fit, do the data leak, is it better."""

from collections.abc import Mapping
from typing import Any

from tael.evaluate.compare import Paired
from tael.evaluate.diagnose import Diagnosis
from tael.evaluate.evidence import Evidence, Findings
from tael.evaluate.wording import (
    SHORT_NAMES,
    difference,
    distance,
    figure,
    is_share,
    named,
)
from tael.page.words import Words

__all__ = ["Question", "leak", "questions"]

Question = tuple[str, str, str, str]  # question, answer, why, kind of note

_TONES = {
    "fits": "good", "over-fits": "warn", "still learning": "info", "learns too little": "warn",
}  # fmt: skip


def questions(evidence: Evidence, findings: Findings) -> list[Question]:
    """Return the answers that a reader looks for first."""
    say = evidence.say
    return [
        _fit(evidence, findings),
        leak(say, evidence.counts, evidence.recipe.get("data.clean.dedup")),
        *_judged(evidence, findings),
    ]


def leak(say: Words, counts: Mapping[str, Any], dedup: str | None) -> Question:
    """Say whether texts of dev or test stand in train, from the counts of the data report."""
    asked = say("Is the data leaking?")
    removed = counts.get("train rows removed: they repeat dev or test", 0)
    repeats = sum(counts.get(f"{split} rows that repeat train", 0) for split in ("dev", "test"))
    rows = sum(counts.get(f"{split} rows", 0) for split in ("dev", "test"))
    if dedup is None or not rows:
        return asked, say("Not known"), say("There is no data report."), "info"
    if dedup == "near":
        why = say("No text of dev or test, nor a near copy of one, stands in train.")
        if removed:
            why = say(
                "{rows} training rows repeated dev or test (near copies included); they were taken "
                "out before training.",
                rows=f"{removed:,}",
            )
        return asked, say("No, it was stopped") if removed else say("No"), why, "good"
    if not repeats:
        why = say("No text of dev or test, nor a near copy of one, stands in train.")
        return asked, say("No"), why, "good"
    share = {"rows": f"{repeats:,}", "of": f"{rows:,}", "share": say.percent(repeats / rows)}
    why = say("{rows} of {of} dev and test rows ({share}) stand in train too, or nearly.", **share)
    if dedup == "exact":
        why += say(" Exact copies were taken out; data.clean.dedup=near takes near ones out too.")
        return asked, say("A little"), why, "warn"
    return asked, say("Yes"), why + say(" data.clean.dedup=near takes them out."), "warn"


def _fit(evidence: Evidence, findings: Findings) -> Question:
    say, found = evidence.say, findings.diagnosis
    asked = say("Is it over-fitting?")
    if found is None:
        return asked, say("Not known"), say("Train and dev were not both scored."), "info"
    metric = evidence.metric
    values = {
        split: figure(say, metric, findings.scores[split][metric].value)
        for split in ("train", "dev")
    }
    why = say(
        "{metric}: train {train}, dev {dev}, {gap} apart.",
        metric=named(say, metric), gap=distance(say, metric, found.gap), **values,
    )  # fmt: skip
    return asked, _verdict(say, found), why[0].upper() + why[1:], _TONES[found.verdict]


def _verdict(say: Words, found: Diagnosis) -> str:
    if found.verdict == "over-fits":
        return say("Yes, {how}", how=found.short)
    return say("No") if found.verdict == "fits" else say("No, {how}", how=found.short)


def _judged(evidence: Evidence, findings: Findings) -> list[Question]:
    """Return the comparison with the task's baseline; nothing for a task that has none."""
    if evidence.sceptic is None:
        return []
    name = evidence.say(SHORT_NAMES[evidence.sceptic])
    return [_better(evidence.say, findings.comparisons.get(evidence.sceptic), name)]


def _better(say: Words, found: Paired | None, name: str) -> Question:
    asked = say("Is it better than {name}?", name=name)
    if found is None:
        return asked, say("Not known"), say("The baseline was not asked."), "info"
    metric = found.metric
    size = difference(metric, found.difference)
    if is_share(metric):
        size = say("{points} points", points=size)
    why = say(
        "{size} {metric} in pairs (95 % interval {low} to {high}).",
        size=size, metric=named(say, metric),
        low=difference(metric, found.low), high=difference(metric, found.high),
    )  # fmt: skip
    if not found.proved:
        return asked, say("Not proved"), why, "info"
    if found.gain > 0:
        return asked, say("Yes, proved"), why, "good"
    return asked, say("No, it is worse (proved)"), why, "warn"
