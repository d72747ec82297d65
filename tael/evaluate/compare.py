"""Is one system better than another? Both answered the same records, so compare them in pairs."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from tael.errors import UsageError
from tael.evaluate.interval import draws, ends
from tael.task.metrics import LOWER_IS_BETTER, Floats, Outcomes

__all__ = ["Paired", "mcnemar", "paired", "rows_needed"]

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Paired:
    """The difference `a − b` of a metric on the same records, and how sure it is.

    `low` and `high` end its 95 % interval; `lower_one_sided` is its one-sided 95 % lower bound; `p`
    is two-sided: McNemar's for accuracy, the bootstrap's otherwise. `rows` were compared.
    """

    metric: str
    difference: float
    low: float
    high: float
    lower_one_sided: float
    p: float
    rows: int

    @property
    def proved(self) -> bool:
        """Return whether the interval leaves out zero and the test agrees: one is better."""
        return (self.low > 0 or self.high < 0) and self.p < 0.05

    @property
    def gain(self) -> float:
        """Return the difference, positive where `a` is the better one."""
        return -self.difference if self.metric in LOWER_IS_BETTER else self.difference


@runtime_checkable
class _WithHits(Protocol):
    right_N: Floats


def paired(
    a: Outcomes, b: Outcomes, metric: str, *, resamples: int = 1000, seed: int = 0
) -> Paired:
    """Compare `a` with `b` by a paired bootstrap: both are measured on the same drawn records.

    What the two have in common cancels, so this sees far smaller differences than two intervals
    laid side by side. Raises UsageError when they did not answer as many records, or lack `metric`.
    """
    if a.size != b.size or not a.size:
        raise UsageError(
            f"cannot compare answers to {a.size:,} records with answers to {b.size:,}: both "
            "systems must answer the same records, at least one"
        )
    once = np.ones((1, a.size))
    ones, others = a.metrics(once), b.metrics(once)
    if metric not in ones or metric not in others:
        both = ", ".join(sorted(ones.keys() & others.keys()))
        raise UsageError(f"no metric {metric!r} in both systems' answers; they share {both}")
    parts = [
        a.metrics(w_RN)[metric] - b.metrics(w_RN)[metric] for w_RN in draws(a.size, resamples, seed)
    ]
    drawn_R = np.concatenate(parts)
    drawn_R = drawn_R[np.isfinite(drawn_R)]
    difference = float(ones[metric][0] - others[metric][0])
    low, high = _wider(difference, drawn_R, 0.95)
    p = _two_sided(drawn_R)
    if metric == "accuracy" and isinstance(a, _WithHits) and isinstance(b, _WithHits):
        p = mcnemar(a.right_N, b.right_N)
    lower = _wider(difference, drawn_R, 0.90)[0]
    return Paired(metric, difference, low, high, lower, p, a.size)


def mcnemar(right_a_N: Floats, right_b_N: Floats) -> float:
    """Return the exact two-sided p of McNemar 1947: only records that one alone got right count."""
    from scipy.stats import binom

    only_a = int(((right_a_N > 0) & (right_b_N == 0)).sum())
    only_b = int(((right_b_N > 0) & (right_a_N == 0)).sum())
    if only_a == only_b:
        return 1.0
    return min(1.0, 2 * float(binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))


def rows_needed(found: Paired) -> int | None:
    """Return about how many records in all would prove this difference; None where it is 0.

    The interval shrinks with the root of the number of records, and the deviations that p stands
    for grow with it; the more careful of the two counts, to two digits. This presumes that the
    difference seen is the true one.
    """
    from scipy.stats import norm

    distance = abs(found.difference)
    deviation = (found.high - found.low) / (2 * _Z)
    if not distance or not math.isfinite(deviation) or not found.p < 1:
        return None
    reached = min(distance / deviation if deviation else math.inf, float(norm.isf(found.p / 2)))
    needed = found.rows * max(1.0, (_Z / reached) ** 2)
    unit: int = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return max(found.rows, math.ceil(needed / unit) * unit)


def _wider(difference: float, drawn_R: Floats, share: float) -> tuple[float, float]:
    """Return the ends of the draws or the normal interval with their spread, whichever is wider.

    Over known populations the former held the truth 91 to 94 times in 100 at 150 records, the
    latter does better for shares and worse for areas; the wider of both holds it 94 to 96 times.
    """
    from scipy.stats import norm

    low, high = ends(drawn_R, share)
    if math.isnan(low):
        return low, high
    half = float(norm.ppf((1 + share) / 2)) * float(np.std(drawn_R))
    return min(low, difference - half), max(high, difference + half)


def _two_sided(drawn_R: Floats) -> float:
    """Return twice the share of draws on the rarer side of zero; never 0, never above 1."""
    if not len(drawn_R):
        return math.nan
    rarer = min(int((drawn_R <= 0).sum()), int((drawn_R >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(drawn_R) + 1))
