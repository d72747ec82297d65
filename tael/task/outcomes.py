"""Answers beside their references, ready to be measured on any draw of the records.

A bootstrap draw is a count per record. A metric that is a formula of sums over records (entity F1
of hits, guesses and truths; BLEU of matched n-grams; perplexity of losses and tokens) is therefore
known on a thousand draws from one matrix product.

Letters: N records · K sums · R resamples.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Outcomes", "Sums", "figures", "ratio"]

Floats = NDArray[np.float64]


class Outcomes(Protocol):
    """Answers beside their references, ready to be measured under any weights."""

    size: int

    def metrics(self, weight_RN: Floats) -> dict[str, Floats]:
        """Return each metric under each row of weights: name → (R,). NaN where undefined."""
        ...


class Sums:
    """Metrics that are formulas of sums over records.

    `parts` maps a name to one number a record, (N,), or to several, (N, K); `formula` turns the
    weighted sums, (R,) or (R, K) by the same names, into metrics (R,).
    """

    def __init__(
        self,
        parts: Mapping[str, Floats],
        formula: Callable[[Mapping[str, Floats]], dict[str, Floats]],
    ) -> None:
        self._parts = {name: np.asarray(part, np.float64) for name, part in parts.items()}
        self.size = len(next(iter(self._parts.values())))
        self._formula = formula

    def metrics(self, weight_RN: Floats) -> dict[str, Floats]:
        """Return each metric under each row of weights: name → (R,). NaN where undefined."""
        return self._formula({name: weight_RN @ part for name, part in self._parts.items()})


def figures(found: Outcomes) -> dict[str, float]:
    """Return every metric of the records as they are, each once. NaN where undefined."""
    return {name: float(v_R[0]) for name, v_R in found.metrics(np.ones((1, found.size))).items()}


def ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; 0 where there is nothing to divide by."""
    return np.asarray(np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0))
