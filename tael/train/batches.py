"""The micro-batches of any step of either stage, found by the number of the step alone.

Letters: B rows · T positions · N targets.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tael.data.pack import Plan, micro, pack
from tael.data.record import Record, place
from tael.data.shards import Shard
from tael.model.batch import Batch
from tael.recipe.schema import Stage
from tael.task.base import Example, Task
from tael.task.mlm import MaskedLM
from tael.train.seeds import mix

__all__ = ["Labelled", "PackedText", "chunks", "cut"]

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
        self._rows = stage.micro_batch or stage.batch
        self._plan = Plan(self._lengths, stage.batch, seed, True)
        self.steps_per_epoch: int = self._plan.steps_per_epoch

    def __getitem__(self, step: int) -> list[Batch]:
        """Return the micro-batches of optimiser step `step`, from 0."""
        return [self._task.collate([self._examples[i] for i in part]) for part in self._parts(step)]

    def places(self, step: int, part: int) -> list[str]:
        """Say where the records of a micro-batch stand."""
        return [place(self._records[i]) for i in self._parts(step)[part]]

    def _parts(self, step: int) -> list[Indices]:
        return list(micro(self._plan[step], self._lengths, self._rows))


class PackedText:
    """Rows of several documents each, masked anew at every step.

    The documents of a shard longer than a row are cut into chunks, nothing is lost. One row in a
    hundred is held out for the dev loss where there are enough.
    """

    def __init__(
        self, task: MaskedLM, shard: Shard, capacity: int, stage: Stage, seed: int
    ) -> None:
        self._task, self._shard, self._capacity, self._seed = task, shard, capacity, seed
        self._chunks = chunks(np.asarray(shard.lengths, dtype=np.int64), capacity - 2)
        lengths = self._chunks[:, 2] - self._chunks[:, 1] + 2  # [CLS] and [SEP]
        rows = pack(lengths, capacity)
        # Packing sorts by length: every hundredth row is a fair sample of all lengths.
        self._dev = rows[50::100] if len(rows) >= 100 else []
        self._train = [row for i, row in enumerate(rows) if i % 100 != 50 or not self._dev]
        self.fill = float(lengths.sum()) / (len(rows) * capacity)
        self._micro = stage.micro_batch or stage.batch
        full = np.full(len(self._train), capacity, dtype=np.int64)
        self._plan = Plan(full, stage.batch, seed, False)
        self.steps_per_epoch: int = self._plan.steps_per_epoch

    def __getitem__(self, step: int) -> list[Batch]:
        """Return the micro-batches of optimiser step `step`, from 0.

        The whole step is masked before it is cut, so that the cut does not change the targets.
        """
        rows = [self._train[i] for i in self._plan[step]]
        return cut(self._batch(rows, mix(self._seed, step)), self._micro)

    def places(self, step: int, part: int) -> list[str]:
        """Say which texts (from 1, in the order of the files) a micro-batch holds."""
        rows = self._plan[step][part * self._micro : (part + 1) * self._micro]
        texts = {int(self._chunks[i, 0]) for row in rows for i in self._train[row]}
        return [f"pretraining text {text + 1}" for text in sorted(texts)]

    def dev(self) -> list[Batch]:
        """Return the held-out rows, masked the same way each time; empty where rows are few."""
        parts = [self._dev[i : i + self._micro] for i in range(0, len(self._dev), self._micro)]
        return [self._batch(part, mix(self._seed, -2, i)) for i, part in enumerate(parts)]

    def _batch(self, rows: Sequence[Indices], seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        ids = [[self._ids(i) for i in row] for row in rows]
        return self._task.batch(ids, self._capacity, generator)

    def _ids(self, chunk: np.int64) -> NDArray[np.int64]:
        document, start, end = self._chunks[chunk]
        specials = self._task.specials
        text = np.asarray(self._shard[int(document)][start:end], dtype=np.int64)
        return np.concatenate([[specials.cls], text, [specials.sep]])


def chunks(lengths: Indices, size: int) -> Indices:
    """Cut documents into pieces of at most `size` tokens: rows of document, start, end.

    Empty documents give no piece.
    """
    pieces = [
        (document, start, min(start + size, int(length)))
        for document, length in enumerate(lengths)
        for start in range(0, int(length), size)
    ]
    return np.array(pieces, dtype=np.int64).reshape(-1, 3)


def cut(batch: Batch, rows: int) -> list[Batch]:
    """Cut a packed batch into micro-batches of `rows` rows, each with its own targets."""
    total, length = batch.ids_BT.shape
    if total <= rows:
        return [batch]
    assert batch.where_N is not None
    assert batch.targets is not None
    parts = []
    for start in range(0, total, rows):
        end = min(start + rows, total)
        mine_N = (batch.where_N >= start * length) & (batch.where_N < end * length)
        documents_BT = batch.documents_BT[start:end]
        parts.append(
            replace(
                batch,
                ids_BT=batch.ids_BT[start:end],
                documents_BT=documents_BT,
                types_BT=_rows(batch.types_BT, start, end),
                positions_BT=_rows(batch.positions_BT, start, end),
                where_N=batch.where_N[mine_N] - start * length,
                targets=batch.targets[mine_N],
                size=int(documents_BT.amax(1).sum()),
                tokens=int((documents_BT > 0).sum()),
            )
        )
    return parts


def _rows(tensor_BT: Tensor | None, start: int, end: int) -> Tensor | None:
    return None if tensor_BT is None else tensor_BT[start:end]
