"""What a task is, what answers records, and what an encoded record is.

Training, evaluation, export and serving all go through the same `encode` and `decode`, so what is
served is what was measured. A task is one file in this folder; `TASKS` lists them. No task imports
torch before it computes with it: a variant that needs no torch is served without.

Letters: B rows · N records · C classes.
"""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tael.data.record import Record
from tael.data.tokenizer import load_tokenizer
from tael.errors import CheckpointError, UsageError
from tael.files import write_text

if TYPE_CHECKING:
    from torch import Tensor

    from tael.model.batch import Batch
    from tael.model.config import ModelConfig
    from tael.model.head import Head
    from tael.model.network import Network

__all__ = [
    "TASKS", "Answer", "Example", "Predictor", "Task", "find", "load_task", "save_task",
]  # fmt: skip

Answer = dict[str, Any]  # for classification: label, score, scores

TASKS = {"classify": "tael.task.classify:Classify"}
_FILE = "task.json"


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


class Task(Protocol):
    """From records to numbers and back; `metric` is the first of its metrics."""

    name: str
    metric: str

    def repaired(self, record: Record) -> Record:
        """Return a record from outside with its texts repaired as the training texts were."""
        ...

    def encode(self, record: Record) -> Example:
        """Return one record as ids; DataError where it cannot be one."""
        ...

    def encode_many(self, records: Sequence[Record]) -> list[Example]:
        """Return many records as ids, in order."""
        ...

    def collate(self, examples: Sequence[Example]) -> "Batch":
        """Pad examples to one batch; its targets are None unless every example has one."""
        ...

    def head(self, config: "ModelConfig") -> "Head":
        """Build the head that answers this task; its weights are not yet initialised."""
        ...

    def logits(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return raw scores (N, C)."""
        ...

    def loss(self, logits: "Tensor", batch: "Batch") -> "Tensor":
        """Return the loss summed over the supervised items, weights included, in float32."""
        ...

    def supervised(self, batch: "Batch") -> float:
        """Return what that sum is divided by: the number of items, or their total weight."""
        ...

    def decode(self, logits: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each row of (N, C)."""
        ...

    def references(self, records: Sequence[Record]) -> list[Any]:
        """Return the true answers, in the form that `metrics` compares with."""
        ...

    def metrics(self, answers: Sequence[Answer], references: Sequence[Any]) -> dict[str, float]:
        """Return every metric of this task."""
        ...

    def request_model(self) -> type[BaseModel]:
        """Return what one record of a request looks like."""
        ...

    def response_model(self) -> type[BaseModel]:
        """Return what one answer looks like."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs, beside the tokenizer, to answer in the same way."""
        ...


def find(name: str) -> Any:
    """Return the task class registered as `name`, imported on first use; UsageError if unknown."""
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"unknown task {name!r}; {hint}known: {', '.join(sorted(TASKS))}")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)


def save_task(task: Task, folder: Path) -> None:
    """Write `task.json` beside the weights (or whatever else answers)."""
    raw = {"task": task.name, **task.to_json()}
    write_text(folder / _FILE, json.dumps(raw, indent=2, ensure_ascii=False) + "\n")


def load_task(folder: Path) -> Task:
    """Open `task.json` and the tokenizer beside it; CheckpointError where they are unusable."""
    path = folder / _FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        name = raw.pop("task")
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); a model that tael trained has it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a task: {error!r}") from error
    task: Task = find(name).from_json(raw, load_tokenizer(folder))
    return task
