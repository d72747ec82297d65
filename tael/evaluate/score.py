"""Metrics with their intervals, for any task's answers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from tael.errors import UsageError
from tael.evaluate.interval import bootstrap, student, wilson
from tael.task.base import Answer
from tael.task.outcomes import Outcomes

__all__ = ["Judged", "Score", "score", "score_outcomes", "to_json"]


@dataclass(frozen=True)
class Score:
    """A metric with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Judged(Protocol):
    """What scoring asks of a task."""

    def outcomes(self, answers: Sequence[Answer], references: Sequence[Any]) -> Outcomes:
        """Lay answers beside references, to be measured on any draw of the records."""
        ...


def score(
    task: Judged,
    answers: Sequence[Answer],
    references: Sequence[Any],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Score]:
    """Return every metric of the answers with its 95 % bootstrap interval over the records.

    For one label: accuracy, f1 (macro), f1_weighted, precision, recall, mcc, auroc, ece and more. A
    metric that these records do not define (auroc with one class) is left out. Raises UsageError
    when there are no records, or not one reference an answer.
    """
    if not answers or len(answers) != len(references):
        raise UsageError(
            f"cannot score {len(answers):,} answers against {len(references):,} references: "
            "expected as many of both, at least one; give a split or a file with labelled records"
        )
    found = task.outcomes(answers, references)
    return score_outcomes(found, resamples=resamples, seed=seed)


def score_outcomes(found: Outcomes, *, resamples: int = 1000, seed: int = 0) -> dict[str, Score]:
    """Return every defined metric of outcomes laid out already, with its 95 % interval."""
    values = found.metrics(np.ones((1, found.size)))
    drawn = bootstrap(found, resamples, seed)
    scores: dict[str, Score] = {}
    for name, value_R in values.items():
        value = float(value_R[0])
        if not math.isfinite(value):
            continue
        if name == "accuracy":  # a share of independent records: its interval needs no draws
            low, high = wilson(value * found.size, found.size)
        else:
            low, high = student(name, value, drawn[name], found.size)
        scores[name] = Score(value, low, high)
    return scores


def to_json(scores: Mapping[str, Score]) -> dict[str, dict[str, float]]:
    """Return scores as plain dictionaries, `{metric: {"value", "low", "high"}}`."""
    return {name: asdict(entry) for name, entry in scores.items()}
