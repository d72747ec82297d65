"""Which of very many texts repeat an earlier one: found by digests on disk, in bounded memory.

The digests are looked through once for each share of them, so that what is sorted at a time does
not grow with the number of texts.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kept", "drop_exact", "drop_known"]

Digests = Callable[[], Iterator[NDArray[np.uint64]]]  # yields (n, 2), part after part
Kept = NDArray[np.bool_]

_AT_ONCE = 1 << 18  # digests sorted together: 6 MB, and a few times as much for their order


def drop_exact(digests: Digests, kept: Kept) -> int:
    """Unset `kept` in place for each text whose digest an earlier one has; return how many."""
    shares = np.uint64(max(1, -(-len(kept) // _AT_ONCE)))
    for share in range(int(shares)):
        keys, places, start = [], [], 0
        for part in digests():
            mine = np.flatnonzero(part[:, 0] % shares == np.uint64(share))
            keys.append(part[mine])
            places.append(mine + start)
            start += len(part)
        key, place = np.concatenate(keys), np.concatenate(places)
        order = np.lexsort((place, key[:, 1], key[:, 0]))
        key = key[order]
        again = (key[1:] == key[:-1]).all(axis=1)
        kept[place[order][1:][again]] = False
    return int(len(kept) - kept.sum())


def drop_known(digests: Digests, kept: Kept, known: NDArray[np.uint64]) -> int:
    """Unset `kept` in place for each kept text with a digest of `known`, (n, 2); say how many."""
    before, start = int(kept.sum()), 0
    kinds = np.dtype([("high", "<u8"), ("low", "<u8")])
    wanted = np.ascontiguousarray(known, "<u8").view(kinds).ravel()
    for part in digests():
        found = np.isin(np.ascontiguousarray(part, "<u8").view(kinds).ravel(), wanted)
        kept[start : start + len(part)] &= ~found
        start += len(part)
    return before - int(kept.sum())
