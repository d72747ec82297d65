"""All that a report is made from, and what follows from it: scores, comparisons, the diagnosis."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tael.evaluate.answered import Split
from tael.evaluate.compare import Paired, paired, rows_needed
from tael.evaluate.diagnose import Diagnosis, diagnose
from tael.evaluate.learning import Learning
from tael.evaluate.robust import Robustness
from tael.evaluate.score import Score, score_outcomes
from tael.evaluate.slices import Slice, find_slices
from tael.evaluate.wording import (
    LONG_NAMES,
    SHORT_NAMES,
    distance,
    named,
    plus_minus,
    speaking,
)
from tael.page.words import Lang, Words
from tael.task.base import Answer
from tael.task.labels import mistake
from tael.task.metrics import Kind, outcomes
from tael.task.outcomes import Outcomes, figures

__all__ = ["Evidence", "Findings", "against", "curve", "find"]

Judge = Callable[[Answer, Any], tuple[str, str, float]]


@dataclass(frozen=True)
class Evidence:
    """Everything a report needs, gathered by the caller; nothing is read from disk.

    `splits` holds train, dev and test where they exist (train may be a sample: say so in `notes`).
    `baselines` maps a name (`majority`, `tfidf`) to the answers it gave per split. `history` are
    the lines of metrics.jsonl. `counts` are the steps of data preparation; `costs` is costs.json.
    `recipe` has dotted keys. `system` is what is judged, for instance the variant. `known` counts
    the words of the whole training split. `lang` is the language of the pages.

    `kind` None: no classification, so there are no classes, slices and the like; then `lay` puts
    answers beside references, and `judge` says truth and answer in words and how wrong it is.
    `metric_words` are the names of metrics that are the task's own; `sceptic` is the baseline that
    the first sentence compares with.
    """

    name: str
    task: str
    kind: Kind | None
    labels: Sequence[str]
    metric: str
    splits: Mapping[str, Split]
    lay: Callable[[Sequence[Answer], Sequence[Any]], Outcomes] | None = None
    judge: Judge | None = None
    metric_words: Mapping[str, str] = field(default_factory=dict)
    sceptic: str | None = "tfidf"
    baselines: Mapping[str, Mapping[str, Sequence[Answer]]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, Any] = field(default_factory=dict)
    currency: str = "USD"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    recipe_yaml: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    steps_per_epoch: float | None = None
    notes: Sequence[str] = ()
    system: str = "the Transformer"
    seed: int = 0
    known: Mapping[str, int] | None = None
    robustness: Sequence[Robustness] = ()
    learning: Sequence[Learning] = ()
    written: Sequence[tuple[str, str]] = ()  # beginnings, and how the model went on
    lang: Lang = "en"

    @property
    def say(self) -> Words:
        """Return the words of the pages, metrics under the task's own names."""
        own = {LONG_NAMES.get(name, name): words for name, words in self.metric_words.items()}
        return speaking(self.lang).instead(own)

    def laid(self, split: str, answers: Sequence[Answer]) -> Outcomes:
        """Return answers to a split beside its references."""
        references = self.splits[split].references
        if self.lay is not None:
            return self.lay(answers, references)
        assert self.kind is not None, "a task without a kind of label says how it is laid out"
        return outcomes(self.kind, answers, references, self.labels)

    def mistake(self, answer: Answer, reference: Any) -> tuple[str, str, float]:
        """Return truth and answer in words, and how wrong it is; 0 for a right one."""
        if self.judge is not None:
            return self.judge(answer, reference)
        assert self.kind is not None, "a task without a kind of label says what is wrong"
        return mistake(answer, reference, self.kind)


@dataclass(frozen=True)
class Findings:
    """What follows from the evidence. `main` is the split that the first sentence speaks of."""

    main: str
    scores: dict[str, dict[str, Score]]  # split → metric → score
    baselines: dict[str, dict[str, Score]]  # name → metric → score, on the main split
    comparisons: dict[str, Paired]  # name → this model minus the baseline, on the main split
    diagnosis: Diagnosis | None
    slices: list[Slice]  # of the main split
    sentence: str


def find(evidence: Evidence, *, resamples: int = 1000) -> Findings:
    """Score every split and baseline, compare them in pairs and judge the fit."""
    laid = {name: evidence.laid(name, part.answers) for name, part in evidence.splits.items()}
    scores = {
        name: score_outcomes(found, resamples=resamples, seed=evidence.seed)
        for name, found in laid.items()
    }
    main = next(name for name in ("test", "dev", *evidence.splits) if name in laid)
    others = {
        name: evidence.laid(main, answers[main])
        for name, answers in evidence.baselines.items()
        if main in answers
    }
    comparisons = {
        name: paired(laid[main], other, evidence.metric, resamples=resamples, seed=evidence.seed)
        for name, other in others.items()
    }
    baselines = {
        name: score_outcomes(found, resamples=resamples, seed=evidence.seed)
        for name, found in others.items()
    }
    diagnosis = _diagnosis(evidence, scores)
    part = evidence.splits[main]
    slices = []
    if evidence.kind is not None:
        slices = find_slices(
            evidence.kind, part.answers, part.references, part.records, evidence.known
        )
    sentence = _sentence(evidence, main, scores[main], comparisons, diagnosis)
    return Findings(main, scores, baselines, comparisons, diagnosis, slices, sentence)


def curve(
    evidence: Evidence, stage: str, split: str | None, name: str
) -> list[tuple[float, float]]:
    """Return (step, value) of a metric, or of `loss`, from the history; steps without it left out.

    `split` None takes the lines of the optimiser steps themselves.
    """
    points = []
    for line in evidence.history:
        if line.get("stage") != stage or line.get("split") != split:
            continue
        value = line.get("loss") if name == "loss" else line.get("metrics", {}).get(name)
        if value is not None:
            points.append((float(line["step"]), float(value)))
    return points


def _diagnosis(evidence: Evidence, scores: Mapping[str, Mapping[str, Score]]) -> Diagnosis | None:
    if "train" not in scores or "dev" not in scores:
        return None
    constant = evidence.baselines.get("majority", {}).get("train")
    floor = None
    if constant is not None:
        floor = figures(evidence.laid("train", constant))[evidence.metric]
    return diagnose(
        evidence.metric,
        scores["train"][evidence.metric],
        scores["dev"][evidence.metric],
        dev_loss=curve(evidence, "train", "dev", "loss"),
        dev_metric=curve(evidence, "train", "dev", evidence.metric),
        floor=floor,
        steps_per_epoch=evidence.steps_per_epoch,
        recipe=evidence.recipe,
        say=evidence.say,
    )


def _sentence(
    evidence: Evidence,
    main: str,
    scores: Mapping[str, Score],
    comparisons: Mapping[str, Paired],
    diagnosis: Diagnosis | None,
) -> str:
    """Return the answer to the reader's question: how good, against what, and is it sound."""
    say, metric = evidence.say, evidence.metric
    text = say(
        "{score} {metric} on {split}",
        score=plus_minus(say, metric, scores[metric]),
        metric=named(say, metric),
        split=say(main),
    )
    if evidence.sceptic is not None and evidence.sceptic in comparisons:
        told = against(say, comparisons[evidence.sceptic], say(SHORT_NAMES[evidence.sceptic]))
        text += say(", {against}", against=told)
    if diagnosis is not None:
        text += say("; {fit}", fit=diagnosis.short)
    return say("{sentence}.", sentence=text)


def against(say: Words, found: Paired, name: str) -> str:
    """Return how a system stands to the baseline `name`, and whether that is proved."""
    size = distance(say, found.metric, found.gain)
    if float(size.split(" ")[0]) == 0:
        return say("level with {name}", name=name)
    if found.proved and found.difference > 0:
        return say("{size} above {name} (proved)", name=name, size=size)
    if found.proved:
        return say("{size} below {name} (proved)", name=name, size=size)
    needed = rows_needed(found)
    more = ""
    if needed:
        more = say("; about {rows} more rows would settle it", rows=f"{needed - found.rows:,}")
    if found.difference > 0:
        return say("{size} above {name} (not proved{more})", name=name, size=size, more=more)
    return say("{size} below {name} (not proved{more})", name=name, size=size, more=more)
