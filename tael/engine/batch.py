"""Which records are computed together: neighbours in length, so that little padding is computed.

Order and company change no answer: rows come back in the order in which they were asked.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tael.task.base import Example

__all__ = ["POSITIONS", "ROWS", "cut", "in_batches", "pad"]

ROWS = 64  # most rows at once; more fills no further vector unit and only costs memory
# Most positions at once, padding included. More fill no further vector unit, but leave the caches
# and hold more padding: a text took MiniLM 1.28 times as long with 4096 (bench/forward.py).
POSITIONS = 1024


def cut(
    lengths: Sequence[int] | NDArray[np.int64], *, rows: int = ROWS, positions: int = POSITIONS
) -> list[NDArray[np.int64]]:
    """Return groups of indices, each index once, neighbours in length together, longest first.

    A group holds at most `rows` rows and, padded to its longest, at most `positions` positions; a
    single row longer than that is a group of its own.
    """
    lengths_N = np.asarray(lengths, np.int64)
    order_N = np.argsort(-lengths_N, kind="stable")
    groups: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order_N):
        longest = max(int(lengths_N[order_N[start]]), 1)
        stop = start + max(1, min(rows, positions // longest))
        groups.append(order_N[start:stop])
        start = stop
    return groups


def in_batches(
    examples: Sequence[Example],
    compute: Callable[[list[Example]], NDArray[np.float32]],
    *,
    rows: int = ROWS,
    positions: int = POSITIONS,
) -> NDArray[np.float32]:
    """Compute all examples group by group; return the rows (N, C) in the order of `examples`."""
    groups = cut([len(example) for example in examples], rows=rows, positions=positions)
    parts = [compute([examples[index] for index in group]) for group in groups]
    if not parts:
        return np.empty((0, 0), np.float32)
    out_NC = np.empty((len(examples), parts[0].shape[1]), np.float32)
    for group, part in zip(groups, parts, strict=True):
        out_NC[group] = part
    return out_NC


def pad(
    examples: Sequence[Example],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return ids, mask and segment types, each (B, T) int64, padded to the longest example.

    Padding holds id 0: behind a mask of 0 its value reaches no answer.
    """
    shape = (len(examples), max(len(example) for example in examples))
    ids_BT, mask_BT, types_BT = (np.zeros(shape, np.int64) for _ in range(3))
    for row, example in enumerate(examples):
        ids_BT[row, : len(example)] = example.ids
        mask_BT[row, : len(example)] = 1
        types_BT[row, : len(example)] = example.types
    return ids_BT, mask_BT, types_BT
