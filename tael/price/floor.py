"""The quality floor: one line of text, and what it asks of a number."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tael.errors import UsageError
from tael.recipe.schema import Recipe
from tael.task.base import find
from tael.task.metrics import LOWER_IS_BETTER

__all__ = ["Floor", "check_floor", "parse_floor"]

_NUMBER = r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_FORM = re.compile(rf"\s*([\w.@-]+)\s*(>=|<=|≥|≤)\s*{_NUMBER}\s*(%)?\s*(?:[*×]\s*(base))?\s*")


@dataclass(frozen=True)
class Floor:
    """`metric >= share * base` (`of_base`) or `metric >= share`; `<=` for errors such as mse."""

    metric: str
    share: float
    of_base: bool
    higher: bool = True

    def __str__(self) -> str:
        sign = ">=" if self.higher else "<="
        return f"{self.metric} {sign} {self.share:g}{' * base' if self.of_base else ''}"

    def threshold(self, base: float) -> float:
        """Return the number that must be reached where the parent scores `base`."""
        if not self.of_base:
            return self.share
        # Equal to share * base where base is positive; below a negative base (R² can be) that
        # product would ask for more than the parent itself has.
        return base - (1 - self.share) * abs(base)

    def margin(self, value: float, base: float) -> float:
        """Return how far `value` is on the good side of the floor; negative below it."""
        return (value - self.threshold(base)) * (1 if self.higher else -1)

    def keeps(self, value: float, base: float) -> bool:
        """Say whether `value` keeps the floor where the parent scores `base`."""
        # 0.98 * 0.9 is 0.8820000000000001 in binary: a score of exactly 0.882 must keep it.
        return self.margin(value, base) >= -1e-12

    def better(self, one: float, other: float) -> bool:
        """Say whether `one` is strictly better than `other` in the floor's metric."""
        return one > other if self.higher else one < other


def check_floor(text: str, recipe: Recipe) -> None:
    """Raise UsageError where `text` is no floor, or one of a metric that the task lacks."""
    parse_floor(text, find(recipe.task).metric_names(recipe))


def parse_floor(text: str, metrics: Iterable[str]) -> Floor:
    """Read `METRIC >= 0.98 * base` or `METRIC >= 0.9`; `metrics` are the names that exist.

    Raises UsageError with the two forms, with the nearest known metric, or where the sign asks for
    worse models.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise UsageError(
            f"price.floor: {text!r} is not a floor; write `accuracy >= 0.98 * base` "
            "or `accuracy >= 0.9`"
        )
    metric, sign, number, percent, base = form.groups()
    known = sorted(metrics)
    if metric not in known:
        near = difflib.get_close_matches(metric, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"price.floor: unknown metric {metric!r}; {hint}known: {', '.join(known)}")
    higher = sign in (">=", "≥")
    if higher == (metric in LOWER_IS_BETTER):
        better, right = ("higher", ">=") if metric not in LOWER_IS_BETTER else ("lower", "<=")
        raise UsageError(
            f"price.floor: {text!r} asks for worse models: {metric} is better the {better} it is; "
            f"write `{metric} {right} {number}{percent or ''}{' * base' if base else ''}`"
        )
    share = float(number) / (100 if percent else 1)
    return Floor(metric, share, base is not None, higher)
