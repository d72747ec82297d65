"""How good answers are: how likely the model finds the right ones, and how its own ones end."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tael.task.base import Answer
from tael.task.outcomes import Floats, Outcomes, Sums, ratio

__all__ = ["METRICS", "METRIC_WORDS", "outcomes"]

METRICS = ("perplexity", "stops", "exact_match")
METRIC_WORDS: Mapping[str, str] = {
    "perplexity": "perplexity a token of the answers", "stops": "answers that stop by themselves",
}  # fmt: skip
_MOST = 700.0  # beyond it exp overflows


def outcomes(answers: Sequence[Answer], references: Sequence[Any]) -> Outcomes:
    """Lay answers beside what was said; what no answer tells is no metric of theirs.

    `stops` is the share of answers that the model ended by itself.
    """
    parts: dict[str, list[float]] = {"all": [1.0] * len(answers)}
    if all("told" in answer for answer in answers):
        parts["loss"] = [-float(answer["log_probability"]) for answer in answers]
        parts["told"] = [float(answer["told"]) for answer in answers]
    if all("text" in answer for answer in answers):
        parts["stops"] = [float(answer["finished"]) for answer in answers]
        parts["exact_match"] = [
            float(answer["text"].strip() == str(reference).strip())
            for answer, reference in zip(answers, references, strict=True)
        ]
    return Sums({name: np.array(part, np.float64) for name, part in parts.items()}, _told)


def _told(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    some = next(iter(sums.values()))
    found = {"perplexity": np.full(some.shape, math.nan)}
    if "told" in sums:
        found["perplexity"] = np.exp(np.minimum(_MOST, ratio(sums["loss"], sums["told"])))
    if "stops" in sums:
        found |= {name: ratio(sums[name], sums["all"]) for name in ("stops", "exact_match")}
    return found
