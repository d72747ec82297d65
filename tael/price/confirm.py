"""Proof on test that a choice made on dev keeps the floor: a paired bootstrap, one-sided 95 %."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tael.price.floor import Floor

__all__ = ["Proof", "Resampled", "more_rows", "of_rows", "prove"]

# A metric of the rows drawn: (R, N) row numbers → (R,) values of the two systems.
Resampled = Callable[[NDArray[np.int64]], tuple[NDArray[np.float64], NDArray[np.float64]]]

_BLOCK = 2_000_000  # row numbers held at once: 16 MB, however many test rows there are
_Z = 1.6448536269514722  # 95 % quantile of the normal distribution, one side


@dataclass(frozen=True)
class Proof:
    """What test says: the margin over the floor, its lower bound, and whether that is enough.

    `more` is how many further test rows would about settle it; 0 where it is proved, None where
    the margin itself is not above the floor, so that more rows alone promise nothing.
    """

    value: float
    base: float
    margin: float
    lower: float
    proved: bool
    rows: int
    more: int | None


def prove(
    measure: Resampled, rows: int, floor: Floor, *, resamples: int = 1000, seed: int = 0
) -> Proof:
    """Bootstrap the margin of the choice over the floor on `rows` test rows.

    Choice and parent are measured on the *same* drawn rows, so what they have in common cancels and
    the bound is far tighter than the difference of two intervals. Proved: the 5 % quantile of the
    margin is at or above zero.
    """
    value, base = (float(part[0]) for part in measure(np.arange(rows)[None, :]))
    generator = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // rows)
    margins: list[float] = []
    while len(margins) < resamples:
        count = min(at_once, resamples - len(margins))
        values_R, bases_R = measure(generator.integers(0, rows, size=(count, rows)))
        pairs = zip(values_R.tolist(), bases_R.tolist(), strict=True)
        margins += [floor.margin(one, other) for one, other in pairs]
    margins_R = np.array(margins)
    margins_R = margins_R[np.isfinite(margins_R)]  # a draw without some class has no AUROC
    margin = floor.margin(value, base)
    lower = float(np.quantile(margins_R, 0.05)) if len(margins_R) else -math.inf
    proved = lower >= -1e-12
    more = 0 if proved else more_rows(margin, float(np.std(margins_R)), rows)
    return Proof(value, base, margin, lower, proved, rows, more)


def more_rows(margin: float, deviation: float, rows: int) -> int | None:
    """Return how many rows beyond `rows` would about lift the lower bound to the floor.

    The bound is margin − 1.645 · deviation and the deviation shrinks with the root of the rows.
    None where the margin is not above zero.
    """
    if margin <= 0:
        return None
    needed = math.ceil(rows * (_Z * deviation / margin) ** 2)
    return max(needed - rows, 1)


def of_rows(scores: Sequence[float], base_scores: Sequence[float]) -> Resampled:
    """Return the measure of a metric that is a mean over rows, such as accuracy: no loop at all."""
    scores_N, bases_N = np.asarray(scores, np.float64), np.asarray(base_scores, np.float64)

    def measure(drawn_RN: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return scores_N[drawn_RN].mean(axis=1), bases_N[drawn_RN].mean(axis=1)

    return measure
