"""Documents packed into rows, as every objective on text without labels reads them.

Letters: B rows · T positions.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tael.model.batch import Batch, Layout
from tael.task.marks import Ids

__all__ = ["packed"]


def packed(rows: Sequence[Sequence[Ids]], pad: int, size: int | None = None) -> Batch:
    """Lay documents out in rows as long as the longest, without targets.

    Positions restart at every document. `size`: the documents, where a row's are not all its own.
    """
    lengths = [sum(map(len, row)) for row in rows]
    shape = (len(rows), max(lengths))
    ids_BT = np.full(shape, pad, dtype=np.int64)
    documents_BT = np.zeros(shape, dtype=np.int32)
    positions_BT = np.zeros(shape, dtype=np.int64)
    for b, row in enumerate(rows):
        start = 0
        for number, document in enumerate(row, 1):
            end = start + len(document)
            ids_BT[b, start:end] = document
            documents_BT[b, start:end] = number
            positions_BT[b, start:end] = np.arange(len(document))
            start = end
    return Batch(
        torch.from_numpy(ids_BT),
        torch.from_numpy(documents_BT),
        positions_BT=torch.from_numpy(positions_BT),
        size=sum(map(len, rows)) if size is None else size,
        tokens=sum(lengths),
        layout=_layout(rows, lengths),
    )


def _layout(rows: Sequence[Sequence[Ids]], lengths: Sequence[int]) -> Layout:
    if any(len(row) > 1 for row in rows):
        return "packed"
    return "full" if min(lengths) == max(lengths) else "padded"
