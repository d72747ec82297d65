"""Would more data help? The same learner on a quarter, a half and all of the training records."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from tael.data.record import Record
from tael.evaluate.baseline import fit_tfidf
from tael.evaluate.seeds import Effect, difference_over_seeds, mean_over_seeds
from tael.model.linear import LinearModel
from tael.task.base import Answer
from tael.task.metrics import Kind, Outcomes, outcomes

__all__ = ["SHARES", "Learning", "Point", "baseline_learning", "learning_curve", "subset"]

SHARES = (0.25, 0.5, 1.0)
_SEEDS = 3  # draws of each part: one alone may be lucky
_LEAST = 8  # training records from which on parts of them can be learnt from


@dataclass(frozen=True)
class Point:
    """The score on the judged records after learning from `rows` training records."""

    share: float
    rows: int
    score: Effect


@dataclass(frozen=True)
class Learning:
    """The points of one learner, and what the last doubling of the data gained."""

    system: str
    metric: str
    points: tuple[Point, ...]
    doubling: Effect  # all minus a half

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def learning_curve(
    system: str,
    metric: str,
    answered: Sequence[tuple[float, int, Sequence[Outcomes]]],
    *,
    resamples: int = 500,
    seed: int = 0,
) -> Learning:
    """Return the curve through (share, rows, outcomes of each seed); the last two are a doubling.

    A point with one outcome beside several counts for each of them: it does not depend on the draw.
    """
    points = tuple(
        Point(share, rows, mean_over_seeds(found, metric, resamples=resamples, seed=seed))
        for share, rows, found in answered
    )
    half, whole = answered[-2][2], answered[-1][2]
    pairs = [(whole[min(at, len(whole) - 1)], one) for at, one in enumerate(half)]
    doubling = difference_over_seeds(pairs, metric, resamples=resamples, seed=seed)
    return Learning(system, metric, points, doubling)


def baseline_learning(
    baseline: LinearModel,
    answer: Callable[[LinearModel], Sequence[Answer]],
    train: Sequence[Record],
    dev: Sequence[Record],
    references: Sequence[Any],
    *,
    kind: Kind,
    labels: Sequence[str],
    metric: str,
    seed: int,
    resamples: int = 500,
) -> Learning | None:
    """Return the curve of the TF-IDF baseline; None where train has fewer than 8 records.

    `baseline` has learnt from all of `train`; its n-grams are kept for the parts, of which each is
    drawn three times. `answer` gives a model's answers to the judged records.
    """
    if len(train) < _LEAST:
        return None

    def judged(model: LinearModel) -> Outcomes:
        return outcomes(kind, answer(model), references, labels)

    answered: list[tuple[float, int, Sequence[Outcomes]]] = []
    for share in SHARES[:-1]:
        parts = [subset(train, share, seed + draw) for draw in range(_SEEDS)]
        fitted = [fit_tfidf(part, dev, kind, labels, grams=[baseline.grams]) for part in parts]
        answered.append((share, len(parts[0]), [judged(model) for model in fitted]))
    answered.append((1.0, len(train), [judged(baseline)]))
    return learning_curve("tfidf", metric, answered, resamples=resamples, seed=seed)


def subset(train: Sequence[Record], share: float, seed: int) -> list[Record]:
    """Return a random part of the records in their order; at least two."""
    count = max(2, round(share * len(train)))
    chosen = Random(f"{seed} {share}").sample(range(len(train)), count)
    return [train[at] for at in sorted(chosen)]
