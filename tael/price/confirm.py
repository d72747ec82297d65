"""Proof on test that a choice made on dev keeps the floor: a paired bootstrap, one-sided 95 %."""

import math
from dataclasses import dataclass

import numpy as np

from tael.evaluate.interval import draws
from tael.price.floor import Floor
from tael.task.metrics import Outcomes

__all__ = ["Proof", "more_rows", "prove"]

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
    choice: Outcomes, parent: Outcomes, floor: Floor, *, resamples: int = 1000, seed: int = 0
) -> Proof:
    """Bootstrap the margin of `choice` over the floor, which may hang on `parent`.

    Both are measured on the *same* drawn rows, so what they have in common cancels and the bound is
    far tighter than the difference of two intervals. Proved: the 5 % quantile of the margin is at
    or above zero. A floor of a share of the parent needs this and not `evaluate.compare.paired`,
    whose difference is to the whole of it.
    """
    whole_1N = np.ones((1, choice.size))
    value, base = (float(one.metrics(whole_1N)[floor.metric][0]) for one in (choice, parent))
    margins: list[float] = []
    for weight_RN in draws(choice.size, resamples, seed):
        values_R, bases_R = (one.metrics(weight_RN)[floor.metric] for one in (choice, parent))
        pairs = zip(values_R.tolist(), bases_R.tolist(), strict=True)
        margins += [floor.margin(one, other) for one, other in pairs]
    margins_R = np.array(margins)
    margins_R = margins_R[np.isfinite(margins_R)]  # a draw without some class has no AUROC
    margin = floor.margin(value, base)
    lower = float(np.quantile(margins_R, 0.05)) if len(margins_R) else -math.inf
    proved = lower >= -1e-12
    more = 0 if proved else more_rows(margin, float(np.std(margins_R)), choice.size)
    return Proof(value, base, margin, lower, proved, choice.size, more)


def more_rows(margin: float, deviation: float, rows: int) -> int | None:
    """Return how many rows beyond `rows` would about lift the lower bound to the floor.

    The bound is margin − 1.645 · deviation and the deviation shrinks with the root of the rows.
    None where the margin is not above zero.
    """
    if not margin > 0 or not math.isfinite(deviation):
        return None
    needed = math.ceil(rows * (_Z * deviation / margin) ** 2)
    return max(needed - rows, 1)
