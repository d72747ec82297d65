"""What a task is, what answers records, and what an encoded record is.

Training, evaluation, export and serving all go through the same `encode` and `decode`, so what is
served is what was measured. A task is one file in this folder; `TASKS` lists them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tael.data.record import Record

__all__ = ["Answer", "Example", "Predictor"]

Answer = dict[str, Any]  # for classification: label, score, scores


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded record: token ids with special tokens, segment ids, the target, and its cost."""

    ids: list[int]
    types: list[int]
    target: Any = None  # class index, 0/1 list, number; None where the record has no label
    cut: int = 0  # tokens lost to `data.max_tokens`

    def __len__(self) -> int:
        return len(self.ids)


class Predictor(Protocol):
    """Anything that answers records: a variant through a runtime, a baseline, a remote service."""

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record, in order."""
        ...
