"""A linear model over n-grams of the text: TF-IDF, one matrix, one bias, in numpy alone.

What scikit-learn fitted (the sceptic's baseline) or a student learnt from a Transformer answers
here with the same logits: character or word n-grams, sublinear term frequency, inverse document
frequency, length 1, then W and b. A short text costs about a hundred microseconds.

Letters: V n-grams · N texts · C outputs.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tael.data.record import Record
from tael.errors import CheckpointError
from tael.files import write_bytes

__all__ = ["Grams", "LinearModel", "document"]

_SPACES = re.compile(r"\s\s+")
_WORD = re.compile(r"\b\w\w+\b")


def document(record: Record) -> str:
    """Return the text of a record as one string; a second text follows on a line of its own."""
    pair = record.get("text_pair")
    return str(record["text"]) if pair is None else f"{record['text']}\n{pair}"


@dataclass(frozen=True)
class Grams:
    """How a text is cut: `low` to `high` characters, or words of two letters and more."""

    unit: Literal["char", "word"]
    low: int
    high: int

    def __call__(self, text: str) -> list[str]:
        """Return all n-grams of `text`, repeats included, exactly as scikit-learn cuts them."""
        text = text.lower()
        if self.unit == "char":
            text = _SPACES.sub(" ", text)
            return [
                text[start : start + size]
                for size in range(self.low, self.high + 1)
                for start in range(len(text) - size + 1)
            ]
        words = _WORD.findall(text)
        return [
            " ".join(words[start : start + size])
            for size in range(self.low, self.high + 1)
            for start in range(len(words) - size + 1)
        ]


class LinearModel:
    """n-grams → sublinear TF-IDF of length 1 → logits.

    `weight_VC` and `bias_C` may have a single column for `outputs=2`: the logit of the second class
    against the first, whose own is 0, as logistic regression stores it.
    """

    def __init__(
        self,
        grams: Grams,
        vocabulary: Sequence[str],
        idf_V: NDArray[Any],
        weight_VC: NDArray[Any],
        bias_C: NDArray[Any],
        *,
        outputs: int | None = None,
    ) -> None:
        assert weight_VC.shape == (len(vocabulary), len(bias_C)), "a row an n-gram, a bias a column"
        assert idf_V.shape == (len(vocabulary),)
        self.grams = grams
        self.vocabulary = list(vocabulary)
        self.idf_V = np.ascontiguousarray(idf_V, dtype=np.float32)
        self.weight_VC = np.ascontiguousarray(weight_VC, dtype=np.float32)
        self.bias_C = np.ascontiguousarray(bias_C, dtype=np.float32)
        self.outputs = outputs or len(bias_C)
        self._index = {gram: index for index, gram in enumerate(self.vocabulary)}

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return logits (N, C), float32: softmax, sigmoid or the number itself is the task's part.

        A text without a known n-gram gets the bias alone.
        """
        logits_NC = np.tile(self.bias_C, (len(texts), 1))
        for row, text in enumerate(texts):
            index, value = self.vector(text)
            if len(index):
                logits_NC[row] += value @ self.weight_VC[index]
        if self.outputs == logits_NC.shape[1]:
            return logits_NC
        return np.concatenate([np.zeros_like(logits_NC), logits_NC], axis=1)

    def vector(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the numbers of the n-grams known in `text` and their values, of length 1."""
        counts = Counter(map(self._index.get, self.grams(text)))
        counts.pop(None, None)
        size = len(counts)
        index = np.fromiter(counts.keys(), np.int64, size)
        often = np.fromiter(counts.values(), np.float32, size)
        value = (1 + np.log(often)) * self.idf_V[index]
        return index, value / (math.sqrt(float(value @ value)) or 1.0)

    def save(self, folder: Path) -> None:
        """Write `linear.json` (how to cut, the n-grams in order) and `linear.safetensors`."""
        from safetensors.numpy import save

        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "grams": asdict(self.grams),
            "outputs": self.outputs,
            "vocabulary": self.vocabulary,
        }
        text = json.dumps(about, ensure_ascii=False, separators=(",", ":"))
        # surrogatepass: an n-gram of a text with broken Unicode must not stop the whole model.
        write_bytes(folder / "linear.json", text.encode("utf-8", "surrogatepass"))
        tensors = {"idf": self.idf_V, "weight": self.weight_VC, "bias": self.bias_C}
        write_bytes(folder / "linear.safetensors", save(tensors))

    @classmethod
    def load(cls, folder: Path) -> "LinearModel":
        """Read what `save` wrote; raises CheckpointError for files that do not fit together."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            about = json.loads(
                (folder / "linear.json").read_bytes().decode("utf-8", "surrogatepass")
            )
            tensors = load_file(folder / "linear.safetensors")
            grams, words = Grams(**about["grams"]), about["vocabulary"]
            fits = tensors["weight"].shape == (len(words), len(tensors["bias"]))
            if not fits or tensors["idf"].shape != (len(words),):
                raise ValueError(f"weight {tensors['weight'].shape} for {len(words):,} n-grams")
            parts = (tensors["idf"], tensors["weight"], tensors["bias"])
            return cls(grams, words, *parts, outputs=about["outputs"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise CheckpointError(
                f"{folder}: expected a linear model (linear.json, linear.safetensors), "
                f"found {type(error).__name__}: {error}; make the variant again"
            ) from error
