"""How well vectors say what belongs together: order, rank of the right one, and the nearer of two.

Letters: N records · R resamples · C candidates.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tael.task.metrics import Numbers
from tael.task.outcomes import Floats, Outcomes, Sums

__all__ = ["Alike", "nearer", "ranks", "retrieved"]

_DEPTHS = (1, 10)


class Alike:
    """Given and computed likeness of each pair: Spearman and Pearson."""

    def __init__(self, truth_N: Floats, cosine_N: Floats) -> None:
        self._numbers = Numbers(truth_N, cosine_N)
        self.size = len(truth_N)

    def metrics(self, weight_RN: Floats) -> dict[str, Floats]:
        """Return spearman and pearson under each row of weights; NaN where undefined."""
        found = self._numbers.metrics(weight_RN)
        return {name: found[name] for name in ("spearman", "pearson")}


def ranks(queries_NE: Floats, candidates_CE: Floats, own_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank (from 1) of each query's own candidate; what is as near counts half before.

    A model that gives the same vector to all would else be right or wrong by the order of rows.
    """
    found = np.empty(len(queries_NE), np.int64)
    for start in range(0, len(queries_NE), 256):  # a block: all at once might not fit memory
        part = slice(start, start + 256)
        cosine_NC = queries_NE[part] @ candidates_CE.T
        own_N1 = np.take_along_axis(cosine_NC, own_N[part, None], axis=1)
        above_N = (cosine_NC > own_N1).sum(axis=1)
        equal_N = (cosine_NC == own_N1).sum(axis=1) - 1
        found[part] = 1 + above_N + (equal_N + 1) // 2
    return found


def retrieved(rank_N: NDArray[np.int64]) -> Outcomes:
    """Return recall@1 and @10, nDCG@10 and the mean reciprocal rank, one right candidate each.

    With one right candidate at rank r, nDCG is 1 / log2(1 + r) (Järvelin & Kekäläinen 2002).
    """
    names = {f"recall@{depth}": (rank_N <= depth).astype(float) for depth in _DEPTHS}
    names["ndcg@10"] = np.where(rank_N <= 10, 1 / np.log2(1 + rank_N), 0.0)
    names["mrr"] = 1 / rank_N
    return _means(names)


def nearer(right: Sequence[bool]) -> Outcomes:
    """Return the share of triples of which the right one of two was the nearer."""
    return _means({"accuracy": np.array(right, float)})


def _means(parts: dict[str, Floats]) -> Outcomes:
    count = np.ones(len(next(iter(parts.values()))))
    return Sums(
        {**parts, "count": count},
        lambda sums: {name: sums[name] / sums["count"] for name in parts},
    )
