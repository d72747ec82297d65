"""Bootstrap: what every metric would have been on other draws of as many records.

Efron 1979, Bootstrap methods: another look at the jackknife. A draw is a count per record, so all
metrics of many draws are a few matrix products; see `tael.task.metrics`.

The draws give a metric's standard error; the interval is Student's on a scale where the metric has
no bounds, brought back (DiCiccio and Efron 1996, Bootstrap confidence intervals, on why the scale
matters), and at least as wide as the middle 95 % of the draws. Those alone are too narrow near a
bound: over known populations of 150 records they held the truth for the area under ROC 90 times in
100, these 93 to 96 times.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from tael.task.metrics import Floats, Outcomes

__all__ = ["bootstrap", "draws", "ends", "student", "wilson"]

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


def student(metric: str, value: float, drawn_R: Floats, size: int) -> tuple[float, float]:
    """Return the 95 % interval of a metric from its draws, on the scale that suits it.

    Shares and areas are taken to the log-odds, correlations to Fisher's z, errors to the logarithm,
    R² to that of 1 − R². Where the value is at its bound, so that the draws have no spread, a share
    gets Wilson's interval over the `size` records. The calibration error is biased upwards, in the
    draws once more than in the value; so its interval is mirrored, which takes the bias out.
    """
    from scipy.stats import t

    if metric == "ece":
        low, high = ends(drawn_R)
        low, high = 2 * value - high, 2 * value - low
        return max(0.0, min(low, value)), max(high, value)
    scale = _SCALES.get(metric)
    if scale is None:  # nothing is known of its bounds
        low, high = ends(drawn_R)
        return min(low, value), max(high, value)
    outwards, back, slope = scale
    error = float(np.std(drawn_R[np.isfinite(drawn_R)], ddof=1))
    if not math.isfinite(error) or not slope(value) > 0:
        return _at_bound(metric, value, size)
    middle, half = outwards(value), float(t.ppf(0.975, max(size - 1, 1))) * error / slope(value)
    first, last = sorted((back(middle - half), back(middle + half)))
    low, high = ends(drawn_R)
    return min(first, low), max(last, high)


def wilson(right: float, size: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson 1927; sound also with no error at all."""
    share, square = right / size, _Z**2 / size
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / size + square / (4 * size)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def _at_bound(metric: str, value: float, size: int) -> tuple[float, float]:
    low, high = wilson(value * size, size) if 0 <= value <= 1 else (value, value)
    if metric in _CORRELATIONS:
        low, high = (2 * low - 1, 1.0) if value > 0 else (-1.0, value)
    if metric in _ERRORS or metric == "r2":
        return value, value
    return low, high


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-max(min(x, 700.0), -700.0)))


# Each scale: from the metric outwards, back, and the derivative of back at the metric's value.
_Scale = tuple[Callable[[float], float], Callable[[float], float], Callable[[float], float]]
_LOG_ODDS: _Scale = (lambda p: math.log(p / (1 - p)), _logistic, lambda p: p * (1 - p))
_FISHER: _Scale = (math.atanh, math.tanh, lambda r: 1 - r * r)
_LOG: _Scale = (math.log, lambda x: math.exp(min(x, 700.0)), lambda x: x)
_LOG_REST: _Scale = (
    lambda x: math.log(1 - x),
    lambda x: 1 - math.exp(min(x, 700.0)),
    lambda x: 1 - x,
)
_CORRELATIONS = ("mcc", "pearson", "spearman")
_ERRORS = ("mse", "rmse", "mae", "perplexity", "bits_per_char", "bits_per_byte")
_SCALES: dict[str, _Scale] = (
    dict.fromkeys(
        (
            "accuracy", "f1", "f1_weighted", "f1_micro", "precision", "precision_weighted",
            "recall", "recall_weighted", "auroc", "exact_match", "rouge1", "rouge2", "rougeL",
        ),
        _LOG_ODDS,
    )
    | dict.fromkeys(_CORRELATIONS, _FISHER)
    | dict.fromkeys(_ERRORS, _LOG)
    | {"r2": _LOG_REST}
)  # fmt: skip
