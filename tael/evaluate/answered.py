"""One split as a system answered it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tael.data.record import Record
from tael.task.base import Answer

__all__ = ["Split"]


@dataclass(frozen=True)
class Split:
    """Answers, references and records in the same order."""

    answers: Sequence[Answer]
    references: Sequence[Any]
    records: Sequence[Record]
