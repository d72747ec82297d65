"""Figures over several seeds: what is due to the seed, and what to the records it was judged on.

Model: a difference d of seed s on record n is mu + a(s) + b(n) + c(s, n), all random. Its mean over
S seeds has the variance of the seeds, the sample variance of the d(s) over S, and that of the
records, which a bootstrap gives that draws records and holds the seeds. Both are added; c is
counted in each, so the interval is a little too wide rather than too narrow. The degrees of freedom
are Satterthwaite's (1946): few, where the seeds differ most.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tael.errors import UsageError
from tael.evaluate.interval import draws
from tael.task.metrics import LOWER_IS_BETTER, Floats, Outcomes

__all__ = ["Effect", "difference_over_seeds", "mean_over_seeds"]

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
_Measure = Callable[[int, Floats], Floats]  # (seed, weights (R, N) of its records) → (R,)


@dataclass(frozen=True)
class Effect:
    """A mean over seeds with its 95 % interval; `by_seed` holds the value of each.

    `p` is two-sided, that the truth is 0. `seed_error` and `record_error` are the two parts of the
    standard error. With one seed the first is not known, and the interval holds for that seed only.
    """

    metric: str
    value: float
    low: float
    high: float
    p: float
    by_seed: tuple[float, ...]
    seed_error: float | None
    record_error: float
    records: int

    @property
    def proved(self) -> bool:
        """Return whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    @property
    def gain(self) -> float:
        """Return the value, positive where it is an improvement."""
        return -self.value if self.metric in LOWER_IS_BETTER else self.value

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"proved": self.proved}


def difference_over_seeds(
    pairs: Sequence[tuple[Outcomes, Outcomes]],
    metric: str,
    *,
    keys: Sequence[Sequence[str]] | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Effect:
    """Return the mean over seeds of `a − b`, each pair measured on the same records.

    `keys` names the records of each pair, so that one that several seeds share is drawn for all of
    them at once; None: all pairs share their records, in the same order. Raises UsageError for
    pairs that did not answer the same records, or that lack `metric`.
    """
    for a, b in pairs:
        if a.size != b.size or not a.size:
            raise UsageError(
                f"cannot pair answers to {a.size:,} records with answers to {b.size:,}: both must "
                "answer the same records, at least one"
            )

    def measure(number: int, weight_RN: Floats) -> Floats:
        a, b = pairs[number]
        return _named(a, weight_RN, metric) - _named(b, weight_RN, metric)

    places = _places(keys, [a.size for a, _ in pairs])
    return _effect(measure, places, metric, resamples, seed)


def mean_over_seeds(
    found: Sequence[Outcomes],
    metric: str,
    *,
    keys: Sequence[Sequence[str]] | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Effect:
    """Return the mean of `metric` over seeds; `keys` names their records, None: all the same."""
    places = _places(keys, [one.size for one in found])
    return _effect(lambda s, w_RN: _named(found[s], w_RN, metric), places, metric, resamples, seed)


def _named(found: Outcomes, weight_RN: Floats, metric: str) -> Floats:
    values = found.metrics(weight_RN)
    if metric not in values:
        raise UsageError(f"no metric {metric!r} in the answers; they have {', '.join(values)}")
    return values[metric]


def _places(keys: Sequence[Sequence[str]] | None, sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    """Return for each seed where its records stand in the union of all."""
    if keys is None:
        if len(set(sizes)) != 1:
            raise UsageError(f"seeds answered {sizes} records: without keys, expected the same")
        return [np.arange(size) for size in sizes]
    number: dict[str, int] = {}
    return [np.array([number.setdefault(key, len(number)) for key in part]) for part in keys]


def _effect(
    measure: _Measure,
    places: Sequence[NDArray[np.int64]],
    metric: str,
    resamples: int,
    seed: int,
) -> Effect:
    seeds, size = len(places), 1 + max(int(place_N.max()) for place_N in places)
    by_seed = [float(measure(s, np.ones((1, len(places[s]))))[0]) for s in range(seeds)]
    value = float(np.mean(by_seed))
    parts = [
        np.mean([measure(s, weight_RN[:, places[s]]) for s in range(seeds)], axis=0)
        for weight_RN in draws(size, resamples, seed)
    ]
    drawn_R = np.concatenate(parts)
    records = float(np.var(drawn_R[np.isfinite(drawn_R)], ddof=1))
    between = float(np.var(by_seed, ddof=1)) / seeds if seeds > 1 else 0.0
    half, p = _student(value, between, seeds, records, size)
    return Effect(
        metric, value, value - half, value + half, p, tuple(by_seed),
        math.sqrt(between) if seeds > 1 else None, math.sqrt(records), size,
    )  # fmt: skip


def _student(
    value: float, between: float, seeds: int, records: float, size: int
) -> tuple[float, float]:
    """Return half the width of the 95 % interval, and p."""
    from scipy.stats import t

    total = between + records
    if not total:
        return 0.0, 0.0 if value else 1.0
    spread = between**2 / max(seeds - 1, 1) + records**2 / max(size - 1, 1)
    freedom, error = total**2 / spread, math.sqrt(total)
    return float(t.ppf(0.975, freedom)) * error, 2 * float(t.sf(abs(value) / error, freedom))
