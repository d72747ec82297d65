"""Token ids on disk, memory-mapped and content-addressed: nothing is tokenised twice.

A shard is a folder: `ids.npy` (all ids in one row, uint16 where they fit), `offsets.npy`
(where each text begins, one more than texts) and `shard.json`. Its name is a hash of the texts and
of the key of what encoded them, so an existing folder is the right one.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tael.errors import DataError
from tael.files import atomic_folder, write_text

__all__ = ["Encode", "Shard", "build"]

Encode = Callable[[list[str]], list[list[int]]]

_AT_ONCE = 1000  # texts encoded in one call


class Shard:
    """Token ids of many texts, read from disk only where they are used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._ids: NDArray[np.unsignedinteger] = np.load(folder / "ids.npy", mmap_mode="r")
            self._offsets: NDArray[np.int64] = np.load(folder / "offsets.npy", mmap_mode="r")
            tokens = json.loads((folder / "shard.json").read_text())["tokens"]
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{folder}: not a token shard ({error}). Delete it.") from error
        if len(self._ids) != tokens or self._offsets[-1] != tokens:
            raise DataError(f"{folder}: damaged: {len(self._ids)} of {tokens} ids. Delete it.")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.unsignedinteger]:
        if not 0 <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        return self._ids[self._offsets[index] : self._offsets[index + 1]]

    def __iter__(self) -> Iterator[NDArray[np.unsignedinteger]]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return np.diff(self._offsets)

    @property
    def tokens(self) -> int:
        """Tokens of all texts."""
        return len(self._ids)


def build(folder: Path, texts: Iterable[str], encode: Encode, key: str) -> Shard:
    """Return the shard of `texts` under `folder`; encode them only if it is not there yet.

    `key` names the encoder: it must change when `encode` would give other ids (the tokenizer's
    hash and the maximal length, for example). `encode` gets up to 1,000 texts a call.
    """
    texts = texts if isinstance(texts, Sequence) else list(texts)
    home = folder / _address(texts, key)
    if not (home / "shard.json").is_file():
        with atomic_folder(home) as draft:
            _write(draft, texts, encode, key)
    return Shard(home)


def _address(texts: Iterable[str], key: str) -> str:
    digest = hashlib.sha256(key.encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))  # ["ab"] is not ["a", "b"]
        digest.update(encoded)
    return digest.hexdigest()[:32]


def _write(draft: Path, texts: Sequence[str], encode: Encode, key: str) -> None:
    offsets = [0]
    largest = 0
    with (draft / "ids.raw").open("wb") as file:
        for batch in _batches(texts):
            encoded = encode(batch)
            if len(encoded) != len(batch):
                raise ValueError(f"encode gave {len(encoded)} results for {len(batch)} texts")
            for ids in encoded:
                row = np.asarray(ids, np.uint32)
                largest = max(largest, int(row.max(initial=0)))
                offsets.append(offsets[-1] + len(row))
                file.write(row.tobytes())
    _narrow(draft / "ids.raw", draft / "ids.npy", offsets[-1], largest)
    np.save(draft / "offsets.npy", np.asarray(offsets, np.int64))
    facts = {"texts": len(texts), "tokens": offsets[-1], "largest": largest, "key": key}
    write_text(draft / "shard.json", json.dumps(facts, indent=2) + "\n")


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    return iter(lambda: list(islice(rest, _AT_ONCE)), [])


def _narrow(raw: Path, out: Path, tokens: int, largest: int) -> None:
    """Turn the raw uint32 ids into an .npy file of the smallest type that holds them."""
    kind = np.uint16 if largest < 1 << 16 else np.uint32
    if tokens == 0:  # an empty file cannot be mapped
        np.save(out, np.empty(0, kind))
    else:
        ids = np.lib.format.open_memmap(out, mode="w+", dtype=kind, shape=(tokens,))
        wide = np.memmap(raw, np.uint32, "r")
        for start in range(0, tokens, 1 << 22):
            ids[start : start + (1 << 22)] = wide[start : start + (1 << 22)]
        ids.flush()
    raw.unlink()
