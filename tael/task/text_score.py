"""Perplexity, bits and choices, as sums over records.

Bits a character, bits a byte and perplexity a word do not depend on how a tokenizer cuts the text;
perplexity a token does, and is comparable only where the tokenizer is the same.

Letters: N records · R resamples.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tael.task.base import Answer
from tael.task.outcomes import Floats, Outcomes, Sums, ratio

__all__ = ["METRICS", "METRIC_WORDS", "outcomes"]

METRICS = ("bits_per_char", "bits_per_byte", "perplexity", "word_perplexity", "accuracy")
METRIC_WORDS: Mapping[str, str] = {
    "bits_per_char": "bits a character", "bits_per_byte": "bits a byte",
    "perplexity": "perplexity a token", "word_perplexity": "perplexity a word",
    "accuracy": "right guesses",
}  # fmt: skip
_SIZES = ("characters", "bytes", "words")
_MOST = 700.0  # beyond it exp overflows


def outcomes(answers: Sequence[Answer], references: Sequence[Any]) -> Outcomes:
    """Lay answers beside references: texts beside their sizes, or choices beside the right one."""
    if answers and "choice" in answers[0]:
        right = [
            float(answer["choice"] == reference["answer"])
            for answer, reference in zip(answers, references, strict=True)
        ]
        return Sums({"right": np.array(right), "all": np.ones(len(right))}, _chosen)
    parts = {name: [reference[name] for reference in references] for name in _SIZES}
    said = {
        "loss": [-answer["log_probability"] for answer in answers],
        "tokens": [answer["tokens"] for answer in answers],
        "foreseen": [answer["foreseen"] for answer in answers],
    }
    return Sums({name: np.array(part, np.float64) for name, part in (parts | said).items()}, _told)


def _chosen(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    return {"accuracy": ratio(sums["right"], sums["all"])}


def _told(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    loss_R = sums["loss"]
    return {
        "bits_per_char": ratio(loss_R, sums["characters"]) / math.log(2),
        "bits_per_byte": ratio(loss_R, sums["bytes"]) / math.log(2),
        "perplexity": np.exp(np.minimum(_MOST, ratio(loss_R, sums["tokens"]))),
        "word_perplexity": np.exp(np.minimum(_MOST, ratio(loss_R, sums["words"]))),
        "accuracy": ratio(sums["foreseen"], sums["tokens"]),
    }
