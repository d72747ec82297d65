"""A part of a corpus on disk: texts, where they end, how long they are, and their digests."""

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tael.data.dedup import normalised
from tael.data.part import read_part, write_part

__all__ = ["digests_of", "text_at", "texts_of", "write_texts"]


def write_texts(folder: Path, texts: Sequence[str], counts: Counter[str]) -> None:
    """Write a part; `counts` are kept with it."""
    encoded = [_bytes(text) for text in texts]
    arrays: dict[str, NDArray[Any]] = {
        "texts": np.frombuffer(b"".join(encoded), np.uint8),
        "ends": np.cumsum([len(one) for one in encoded], dtype=np.int64),
        "characters": np.array([len(text) for text in texts], np.int32),
        "digests": digests_of(normalised({"text": text}) for text in texts),
    }
    write_part(folder, arrays, {"texts": len(texts), "counts": counts})


def texts_of(part: Path, kept: NDArray[np.bool_]) -> list[str]:
    """Return the kept texts of the part in a folder; DataError where it is damaged."""
    arrays = read_part(part)
    ends = arrays["ends"]
    starts = np.concatenate([[0], ends[:-1]])
    spans = zip(starts[kept].tolist(), ends[kept].tolist(), strict=True)
    return _cut(arrays["texts"].data, spans)


def text_at(part: Path, places: Sequence[int]) -> list[str]:
    """Return single texts of a part, read from where they stand, unchecked."""
    whole = np.load(part / "texts.npy", mmap_mode="r").data
    ends = np.load(part / "ends.npy", mmap_mode="r")
    return _cut(whole, ((int(ends[n - 1]) if n else 0, int(ends[n])) for n in places))


def digests_of(keys: Iterator[str]) -> NDArray[np.uint64]:
    """Return 16 bytes for each normal form, (N, 2)."""
    digests = b"".join(blake2b(_bytes(key), digest_size=16).digest() for key in keys)
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def _cut(whole: memoryview, spans: Any) -> list[str]:
    return [str(whole[start:end], "utf-8", "surrogatepass") for start, end in spans]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
