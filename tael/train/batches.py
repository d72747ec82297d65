"""The micro-batches of any step of either stage, found by the number of the step alone.

`micro_batch`, the rows computed at once, may be lowered between two steps, where memory ran out.

Letters: B rows · T positions · N targets.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tael.data.pack import Plan, micro
from tael.data.record import Record, place
from tael.data.shards import Shard
from tael.model.batch import Batch
from tael.recipe.schema import Stage
from tael.task.base import Example, Task
from tael.train.loop import Learner
from tael.train.seeds import mix

__all__ = ["Labelled", "PackedText", "TextLearner", "cut"]

Indices = NDArray[np.int64]


class Labelled:
    """Padded batches of labelled records; rows of like length share a micro-batch."""

    def __init__(
        self,
        task: Task,
        records: Sequence[Record],
        examples: Sequence[Example],
        stage: Stage,
        seed: int,
    ) -> None:
        self._task, self._records, self._examples = task, records, examples
        self._lengths = np.array([len(example) for example in examples], dtype=np.int64)
        # A loss that couples the texts of a step computes its parts itself.
        coupled = getattr(task, "coupled", False)
        self.micro_batch = (
            stage.batch if coupled else min(stage.micro_batch or stage.batch, stage.batch)
        )
        self._plan = Plan(self._lengths, stage.batch, seed, True)
        self.steps_per_epoch: int = self._plan.steps_per_epoch

    def __getitem__(self, step: int) -> list[Batch]:
        """Return the micro-batches of optimiser step `step`, from 0."""
        return [self._task.collate([self._examples[i] for i in part]) for part in self._parts(step)]

    def places(self, step: int, part: int) -> list[str]:
        """Say where the records of a micro-batch stand."""
        return [place(self._records[self._examples[i].of]) for i in self._parts(step)[part]]

    def _parts(self, step: int) -> list[Indices]:
        return list(micro(self._plan[step], self._lengths, self.micro_batch))


class TextLearner(Learner, Protocol):
    """What learns from packed text without labels."""

    def wrap(self, piece: NDArray[np.unsignedinteger], *, begins: bool, ends: bool) -> Indices:
        """Return a piece of a text with its special tokens, two at most."""
        ...

    def batch(
        self, rows: Sequence[Sequence[Indices]], capacity: int, generator: torch.Generator
    ) -> Batch:
        """Return the batch of rows of wrapped pieces; the generator decides all its chance."""
        ...


class PackedText:
    """Rows of several documents each; what is hidden of them is drawn anew at every step.

    One row in a hundred is held out for the dev loss where there are enough.
    """

    def __init__(self, task: TextLearner, shard: Shard, stage: Stage, seed: int) -> None:
        self._task, self._shard, self._seed = task, shard, seed
        self._held_out = len(shard) >= 100
        self.micro_batch = min(stage.micro_batch or stage.batch, stage.batch)
        dev = len(range(50, len(shard), 100)) if self._held_out else 0
        full = np.full(len(shard) - dev, shard.capacity, dtype=np.int64)
        self._plan = Plan(full, stage.batch, seed, False)
        self.steps_per_epoch: int = self._plan.steps_per_epoch

    def __getitem__(self, step: int) -> list[Batch]:
        """Return the micro-batches of optimiser step `step`, from 0.

        The whole step is masked before it is cut, so that the cut does not change the targets.
        """
        return cut(self._batch(self._rows(step), mix(self._seed, step)), self.micro_batch)

    def places(self, step: int, part: int) -> list[str]:
        """Say which texts (from 1, in the order of the files) a micro-batch holds."""
        rows = self._rows(step)[part * self.micro_batch : (part + 1) * self.micro_batch]
        texts = {text for row in rows for text in self._shard.texts_of(row)}
        return [f"pretraining text {text + 1}" for text in sorted(texts)]

    def dev(self) -> list[Batch]:
        """Return the held-out rows, masked the same way each time; empty where rows are few."""
        # Packing sorts by length: every hundredth row is a fair sample of all lengths.
        rows = range(50, len(self._shard), 100) if self._held_out else range(0)
        parts = [rows[i : i + self.micro_batch] for i in range(0, len(rows), self.micro_batch)]
        return [self._batch(part, mix(self._seed, -2, i)) for i, part in enumerate(parts)]

    def _rows(self, step: int) -> list[int]:
        """Return the rows of a step, numbered with those that are held out."""
        train = self._plan[step].tolist()
        # Of every hundred rows the 51st is held out.
        return [i + (i + 49) // 99 if self._held_out else i for i in train]

    def _batch(self, rows: Sequence[int], seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        return self._task.batch([self._row(row) for row in rows], self._shard.capacity, generator)

    def _row(self, row: int) -> list[Indices]:
        pieces = zip(self._shard[row], self._shard.edges(row), strict=True)
        return [self._task.wrap(piece, begins=b, ends=e) for piece, (b, e) in pieces]


def cut(batch: Batch, rows: int) -> list[Batch]:
    """Cut a packed batch into micro-batches of `rows` rows, each with its own targets."""
    total = len(batch.ids_BT)
    if total <= rows:
        return [batch]
    return [_part(batch, start, min(start + rows, total)) for start in range(0, total, rows)]


def _part(batch: Batch, start: int, end: int) -> Batch:
    documents_BT, length = batch.documents_BT[start:end], batch.ids_BT.shape[1]
    part = replace(
        batch,
        ids_BT=batch.ids_BT[start:end],
        documents_BT=documents_BT,
        types_BT=_rows(batch.types_BT, start, end),
        positions_BT=_rows(batch.positions_BT, start, end),
        size=int(documents_BT.amax(1).sum()),
        tokens=int((documents_BT > 0).sum()),
        source=None if batch.source is None else _part(batch.source, start, end),
    )
    if batch.where_N is None or batch.targets is None:
        return part  # what an encoder reads has none
    mine_N = (batch.where_N >= start * length) & (batch.where_N < end * length)
    return replace(
        part, where_N=batch.where_N[mine_N] - start * length, targets=batch.targets[mine_N]
    )


def _rows(tensor_BT: Tensor | None, start: int, end: int) -> Tensor | None:
    return None if tensor_BT is None else tensor_BT[start:end]
