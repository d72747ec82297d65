"""What a task is, what answers records, and what an encoded record is.

Training, evaluation, export and serving all go through the same `encode` and `decode`, so what is
served is what was measured. A task is one file in this folder; `TASKS` lists them. No task imports
torch before it computes with it: a variant that needs no torch is served without.

Letters: B rows · N records · C classes.
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from tokenizers import Tokenizer

from tael.data.form import Form
from tael.data.record import Record
from tael.data.tokenizer import load_tokenizer
from tael.errors import CheckpointError, UsageError
from tael.files import write_text

if TYPE_CHECKING:
    from torch import Tensor

    from tael.model.batch import Batch
    from tael.model.config import ModelConfig
    from tael.model.head import Head, HeadKind
    from tael.model.network import Network
    from tael.recipe.schema import Columns, Recipe
    from tael.task.outcomes import Outcomes

__all__ = [
    "TASKS", "Answer", "Example", "Group", "Lesson", "Predictor", "Tally", "Task", "TaskClass",
    "find", "load_task", "save_task",
]  # fmt: skip

Answer = dict[str, Any]  # for classification: label, score, scores
Group = Sequence[int] | NDArray[np.int64]  # examples computed together, by their number

TASKS = {
    "chat": "tael.task.chat:Chat",
    "clm": "tael.task.next_token:NextToken",
    "classify": "tael.task.classify:Classify",
    "tag": "tael.task.tag:Tag",
    "embed": "tael.task.embed:Embed",
    "qa": "tael.task.qa:Qa",
    "seq2seq": "tael.task.seq2seq:Seq2Seq",
}
_FILE = "task.json"


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded record, or one window of a long one: ids with special tokens, and the target.

    `of` is the number of its record among those encoded together; the windows of a record follow
    each other. `note` is what decoding needs beside the network's output, such as offsets.
    """

    ids: list[int]
    types: list[int]
    target: Any = None  # in the form the task's `collate` knows; None: the record has no label
    cut: int = 0  # tokens lost to `data.max_tokens`
    of: int = field(default=0, compare=False)
    note: Any = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learned from an example, for a reader: at which positions, and in words."""

    targets: Mapping[int, str]  # position in `ids` → what should be said there
    told: str
    lost: str = ""  # the end of the text that no token is left of
    written: Sequence[int] = ()  # ids that are to be written apart from what is read


@dataclass
class Tally:
    """The loss of what is computed, where somebody wants to know it."""

    loss: float = 0.0
    supervised: float = 0.0

    @property
    def mean(self) -> float:
        """The loss an item; NaN where nothing was supervised."""
        return self.loss / self.supervised if self.supervised else float("nan")


class Predictor(Protocol):
    """Anything that answers records: a variant through a runtime, a baseline, a remote service."""

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record, in order."""
        ...


class TaskClass(Protocol):
    """What is asked of a task's class, before there is a tokenizer; nothing of it imports torch."""

    @property
    def name(self) -> str:
        """What recipes call it."""
        ...

    @property
    def variants(self) -> tuple[str, ...]:
        """Return the variants that can be made of it, the parent first."""
        ...

    def forms(self, columns: "Columns") -> tuple[Form, ...]:
        """Return the ways in which a row may hold a record; the first that fits is taken."""
        ...

    def check(self, split: str, records: Sequence[Record], recipe: "Recipe") -> None:
        """Raise DataError, with every fault and its places, for records that cannot be learned."""
        ...

    def survey(self, splits: Mapping[str, Sequence[Record]], recipe: "Recipe") -> dict[str, int]:
        """Return the labels of train, how often each; raise what `from_records` would."""
        ...

    def metric_names(self, recipe: "Recipe") -> Sequence[str]:
        """Return the names of all metrics, which a price floor may speak of."""
        ...

    def line(self, record: Record) -> str:
        """Return a labelled record in a line for a reader."""
        ...

    def guess(self, records: Sequence[Record]) -> list[str] | None:
        """Return `key=value` settings where rows of a file look like this task's, else None."""
        ...

    def from_records(
        self,
        records: Sequence[Record],
        recipe: "Recipe",
        tokenizer: Tokenizer,
        others: Mapping[str, Sequence[Record]] | None = None,
    ) -> "Task":
        """Return the task that these training records are for; `others` are the other splits."""
        ...

    def from_json(self, raw: Mapping[str, Any], tokenizer: Tokenizer) -> "Task":
        """Return the task that `to_json` described; CheckpointError where that is no such task."""
        ...


class Task(Protocol):
    """From records to numbers and back: a task that is learned, or has been.

    Its class is a `TaskClass`. `metric` is the first of its metrics, `metric_words` are names for a
    reader where they are the task's own. `labels` are what the classes of the head are called,
    empty where it has none; `problem_type` is transformers' word for `config.json`. `baseline` is
    the one of `baselines` that the first sentence of a report compares with.
    """

    metric: str
    tokenizer: Tokenizer
    max_tokens: int

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def variants(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def baseline(self) -> str | None: ...  # noqa: D102
    @property
    def metric_words(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def labels(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def problem_type(self) -> str | None: ...  # noqa: D102
    @property
    def head_kind(self) -> "HeadKind": ...  # noqa: D102
    @property
    def forms(self) -> Callable[["Columns"], tuple[Form, ...]]: ...  # noqa: D102

    def repaired(self, record: Record) -> Record:
        """Return a record from outside with its texts repaired as the training texts were."""
        ...

    def encode(self, record: Record) -> Example:
        """Return one record as ids, its first window; DataError where it cannot be one."""
        ...

    def encode_many(self, records: Sequence[Record]) -> list[Example]:
        """Return many records as ids, in order; long ones may be several windows, see `of`."""
        ...

    def collate(self, examples: Sequence[Example]) -> "Batch":
        """Pad examples to one batch; its targets are None unless every example has one."""
        ...

    def head(self, config: "ModelConfig") -> "Head":
        """Build the head that answers this task; its weights are not yet initialised."""
        ...

    def logits(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return raw scores: (N, C) for classification, whatever `loss` reads for others."""
        ...

    def loss(self, logits: "Tensor", batch: "Batch") -> "Tensor":
        """Return the loss summed over the supervised items, weights included, in float32."""
        ...

    def objective(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return `loss` of a batch, computed as cheaply as training may."""
        ...

    def supervised(self, batch: "Batch") -> float:
        """Return what that sum is divided by: the number of items, or their total weight."""
        ...

    def outputs(
        self,
        network: "Network",
        examples: Sequence[Example],
        groups: Sequence[Group],
        tally: Tally | None = None,
    ) -> Sequence[Any]:
        """Return what `decode` reads of each example; `groups` are computed together.

        `tally` gets the loss on the way. `tael.task.answer.read_off` does it for logits.
        """
        ...

    def decode(self, outputs: Sequence[Any], examples: Sequence[Example]) -> list[Answer]:
        """Return one answer a record, from the outputs of its examples."""
        ...

    def references(self, records: Sequence[Record]) -> list[Any]:
        """Return the true answers, in the form that `outcomes` compares with."""
        ...

    def check_known(self, split: str, records: Sequence[Record]) -> None:
        """Raise DataError for records without a reference, or one that the model cannot give."""
        ...

    def outcomes(self, answers: Sequence[Answer], references: Sequence[Any]) -> "Outcomes":
        """Lay answers beside references, to be measured on any draw of the records."""
        ...

    def metrics(self, answers: Sequence[Answer], references: Sequence[Any]) -> dict[str, float]:
        """Return every metric of this task."""
        ...

    def mistake(self, answer: Answer, reference: Any) -> tuple[str, str, float]:
        """Return the truth and the answer in words, and how wrong it is; 0 for a right one."""
        ...

    def baselines(self, train: Sequence[Record], dev: Sequence[Record]) -> Mapping[str, Predictor]:
        """Return what a sceptic would try first, fitted, by name; {} where there is nothing."""
        ...

    def lesson(self, record: Record, example: Example) -> Lesson:
        """Return what is learned from an example of `record`."""
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


def find(name: str) -> TaskClass:
    """Return the task class registered as `name`, imported on first use; UsageError if unknown."""
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"unknown task {name!r}; {hint}known: {', '.join(sorted(TASKS))}")
    module, _, attribute = TASKS[name].partition(":")
    found: TaskClass = getattr(import_module(module), attribute)
    return found


def save_task(task: Task, folder: Path) -> None:
    """Write `task.json` beside the weights (or whatever else answers)."""
    raw = {"task": task.name, **task.to_json()}
    write_text(folder / _FILE, json.dumps(raw, indent=2, ensure_ascii=False) + "\n")
    if isinstance(task, _Beside):
        task.save_beside(folder)


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
    if isinstance(task, _Beside):
        task.open_beside(folder)
    return task


@runtime_checkable
class _Beside(Protocol):
    """A task that keeps more beside the weights than `task.json`."""

    def save_beside(self, folder: Path) -> None: ...

    def open_beside(self, folder: Path) -> None: ...
