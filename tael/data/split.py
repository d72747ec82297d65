"""Which split a record belongs to: decided by its text alone, for ever.

A hash of the normalised text and the seed gives each record a fixed point in [0, 1); shares are
intervals. So adding rows never moves old ones, order plays no part, and copies of a text (also in
other width, case or punctuation) cannot stand on two sides. Within each label the shares hold as
far as chance allows: a rank within the label would hold them exactly, and move old rows.
"""

import hashlib
from collections.abc import Iterable

from tael.data.dedup import normalised
from tael.data.record import Record

__all__ = ["split"]


def split(
    records: Iterable[Record], shares: tuple[float, float, float], seed: int
) -> dict[str, list[Record]]:
    """Return `train`, `dev` and `test`, each in the order of `records`, near the given shares."""
    out: dict[str, list[Record]] = {"train": [], "dev": [], "test": []}
    for record in records:
        point = _point(normalised(record), seed)
        # Test first: whoever changes only train's and dev's shares keeps the same test set.
        if point < shares[2]:
            out["test"].append(record)
        elif point < shares[2] + shares[1]:
            out["dev"].append(record)
        else:
            out["train"].append(record)
    return out


def _point(text: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
