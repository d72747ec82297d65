"""Bootstrap: what every metric would have been on other draws of as many records.

Efron 1979, Bootstrap methods: another look at the jackknife. A draw is a count per record, so all
metrics of many draws are a few matrix products; see `tael.task.metrics`.
"""

import math
from collections.abc import Iterator

import numpy as np

from tael.task.metrics import Floats, Outcomes

__all__ = ["bootstrap", "draws", "ends", "wilson"]

_BLOCK = 250_000  # weights held at once: 2 MB stay in the processor's cache
_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def draws(size: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks of weights (R, `size`), `resamples` rows in all: how often each record is drawn.

    The same arguments give the same draws, so two systems can be compared on the same ones.
    """
    rng = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // size)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        chosen = rng.integers(0, size, (count, size)) + size * np.arange(count)[:, None]
        weight = np.bincount(chosen.ravel(), minlength=count * size)
        yield weight.reshape(count, size).astype(np.float64)


def bootstrap(outcomes: Outcomes, resamples: int = 1000, seed: int = 0) -> dict[str, Floats]:
    """Return every metric on `resamples` draws: name → (R,). NaN where undefined."""
    parts = [outcomes.metrics(weight_RN) for weight_RN in draws(outcomes.size, resamples, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def ends(values_R: Floats, share: float = 0.95) -> tuple[float, float]:
    """Return the ends between which the middle `share` of the defined values lie; else NaN."""
    defined_R = values_R[np.isfinite(values_R)]
    if not len(defined_R):
        return math.nan, math.nan
    outside = (1 - share) / 2
    low, high = np.quantile(defined_R, [outside, 1 - outside])
    return float(low), float(high)


def wilson(right: float, size: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson 1927; sound also with no error at all."""
    share, square = right / size, _Z**2 / size
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / size + square / (4 * size)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
