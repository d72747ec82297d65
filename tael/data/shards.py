"""Token ids on disk in packed rows, memory-mapped and content-addressed: nothing is done twice.

A shard is a folder: `ids.npy` (all ids, in the order of the rows, uint16 where they fit),
`cuts.npy` (where each piece of a text ends), `rows.npy` (the piece with which each row ends),
`texts.npy` (of which text each piece is) and `shard.json`. Its name is a hash of the corpus, the
tokenizer and the length of a row. Each part of the corpus is tokenised and packed by itself, by
whoever is free, so the shard is the same whatever the number of processes.
"""

import hashlib
import itertools
import json
import logging
import shutil
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tael.data.corpus import Corpus
from tael.data.pack import pack, pieces_of
from tael.data.part import is_whole, read_part, write_part
from tael.data.pool import Map, Tell, silent
from tael.data.texts import texts_of
from tael.data.words import Encoder
from tael.errors import DataError
from tael.files import atomic_folder, write_text

__all__ = ["Shard", "build", "key_of", "open_shard", "tokenise"]

_NAMES = ("ids", "cuts", "rows", "texts")
_AT_ONCE = 1000  # texts encoded in one call
_BLOCK = 1 << 20
_log = logging.getLogger(__name__)


class Shard:
    """Packed rows of token ids, read from disk only where they are used."""

    def __init__(self, folder: Path) -> None:
        try:
            facts: dict[str, Any] = json.loads((folder / "shard.json").read_text("utf-8"))
            opened = [_open(folder / f"{name}.npy", facts["sizes"][name]) for name in _NAMES]
            self._ids, self._cuts, self._rows, self._texts = opened
            self.texts, self.capacity = int(facts["texts"]), int(facts["capacity"])
            sizes = [len(array) for array in opened]
            wanted = [facts["sizes"][name] for name in _NAMES]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder}: not a token shard ({error}). Delete it.") from error
        if sizes != wanted:
            raise DataError(f"{folder}: damaged: {sizes[0]} of {wanted[0]} ids. Delete it.")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> list[NDArray[np.unsignedinteger]]:
        """Return the pieces of a row, without special tokens."""
        first, end = self._pieces(row)
        cuts = [int(self._cuts[first - 1]) if first else 0, *self._cuts[first:end].tolist()]
        return [self._ids[a:b] for a, b in itertools.pairwise(cuts)]

    def texts_of(self, row: int) -> list[int]:
        """Return the numbers of the texts whose pieces a row holds, from 0."""
        first, end = self._pieces(row)
        return [int(text) for text in self._texts[first:end]]

    def edges(self, row: int) -> list[tuple[bool, bool]]:
        """Return, for each piece of a row, whether its text begins with it and ends with it."""
        first, end = self._pieces(row)
        opening, closing = self._outer
        texts = self._texts[first:end]
        at = range(first, end)
        return [(opening[t] == n, closing[t] == n) for t, n in zip(texts, at, strict=True)]

    @cached_property
    def _outer(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first and the last piece of each text.

        Packing takes the longest first and ties in their order: all pieces of a text but the last
        are as long as a row, so the pieces of a text stand in the order of the text.
        """
        texts, at = np.asarray(self._texts), np.arange(len(self._texts))
        opening, closing = np.zeros((2, self.texts), dtype=np.int64)
        closing[texts] = at  # of several the last one stays
        opening[texts[::-1]] = at[::-1]
        return opening, closing

    @property
    def tokens(self) -> int:
        """Tokens of all texts, special ones left out."""
        return len(self._ids)

    @property
    def fill(self) -> float:
        """The share of the rows' places that hold a token, two special ones a piece included."""
        places = len(self) * self.capacity
        return (self.tokens + 2 * len(self._cuts)) / places if places else 0.0

    def _pieces(self, row: int) -> tuple[int, int]:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return int(self._rows[row - 1]) if row else 0, int(self._rows[row])


def key_of(address: str, tokenizer: Tokenizer, capacity: int) -> str:
    """Return the name of the shard of the corpus at `address`."""
    return hashlib.sha256(f"{address} {capacity} {tokenizer.to_str()}".encode()).hexdigest()[:32]


def open_shard(folder: Path) -> Shard | None:
    """Return the shard in `folder`, None where there is none; a damaged one is removed and said."""
    if not (folder / "shard.json").is_file():
        return None
    try:
        sums: dict[str, int] = json.loads((folder / "shard.json").read_text("utf-8"))["crc32"]
        wrong = [f"{n}.npy" for n in _NAMES if _checksum(folder / f"{n}.npy") != sums[n]]
    except (OSError, ValueError, KeyError, TypeError) as error:  # a file is gone or cannot be read
        wrong = [str(getattr(error, "filename", None) or "shard.json")]
    if not wrong:
        return Shard(folder)
    _log.warning("%s: damaged (%s is not what was written): made again", folder, wrong[0])
    shutil.rmtree(folder)
    return None


def build(
    folder: Path,
    corpus: Corpus,
    tokenizer: Tokenizer,
    capacity: int,
    run: Map,
    tell: Tell = silent,
) -> Shard:
    """Tokenise `corpus` and pack it into rows of `capacity` tokens; return the shard in `folder`.

    A text longer than a row is cut into pieces; each takes two places more, for special tokens.
    Where some parts are done already, it goes on with the others.
    """
    parts = folder.with_name(f"{folder.name}.parts")
    source = parts / "tokenizer.json"
    write_text(source, tokenizer.to_str())
    jobs, texts, size = [], 0, 0
    for name, kept in corpus.flags():
        jobs.append((parts / name, corpus.folder / name, kept, texts, source, capacity))
        texts += int(kept.sum())
    total = sum((corpus.folder / name / "texts.npy").stat().st_size for name, _ in corpus.parts)
    tell("tokenise", 0, 0, total)
    for job, _ in zip(jobs, run(tokenise, jobs), strict=True):
        size += (job[1] / "texts.npy").stat().st_size
        tell("tokenise", job[3] + int(job[2].sum()), size, total)
    with atomic_folder(folder) as draft:
        _join(draft, [job[0] for job in jobs], texts, capacity)
    shutil.rmtree(parts)
    return Shard(folder)


def tokenise(
    out: Path, part: Path, kept: NDArray[np.bool_], first: int, tokenizer: Path, capacity: int
) -> None:
    """Write the packed rows of the kept texts of a part to `out`, if that is not done yet.

    `first` is the number of its first kept text.
    """
    if is_whole(out):
        return
    texts, encoder = texts_of(part, kept), _encoder(tokenizer)
    encoded = [ids for batch in _batches(texts) for ids in encoder(batch)]
    lengths = np.array([len(ids) for ids in encoded], np.int64) // encoder.dtype.itemsize
    flat = np.frombuffer(b"".join(encoded), encoder.dtype)
    pieces = pieces_of(lengths, capacity - 2)
    sizes = pieces[:, 2] - pieces[:, 1]
    rows = pack(sizes + 2, capacity)
    order = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    begin = (np.cumsum(lengths) - lengths)[pieces[:, 0]] + pieces[:, 1]
    arrays = {
        "ids": flat[_places(begin[order], sizes[order])],
        "cuts": np.cumsum(sizes[order]),
        "rows": np.cumsum([len(row) for row in rows], dtype=np.int64),
        "texts": pieces[order, 0] + first,
    }
    write_part(out, arrays, {})


@lru_cache(maxsize=1)
def _encoder(path: Path) -> Encoder:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True  # text that looks like a special token stays text
    return Encoder(tokenizer)


def _open(path: Path, size: int) -> NDArray[Any]:
    # An empty file cannot be mapped.
    array: NDArray[Any] = np.load(path, mmap_mode="r" if size else None)
    return array


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE))


def _places(begin: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return begin, begin + 1, ... of each piece, one after another."""
    shift = begin - (np.cumsum(sizes) - sizes)
    places: NDArray[np.int64] = np.repeat(shift, sizes) + np.arange(int(sizes.sum()))
    return places


def _join(draft: Path, parts: Sequence[Path], texts: int, capacity: int) -> None:
    """Write the parts one behind the other, a part in memory at a time."""
    sizes = dict.fromkeys(_NAMES, 0)
    kinds: dict[str, np.dtype[Any]] = dict.fromkeys(_NAMES, np.dtype(np.int64))
    for part in parts:
        for name in _NAMES:
            array = np.load(part / f"{name}.npy", mmap_mode="r")
            sizes[name] += len(array)
            kinds[name] = array.dtype
    files = {name: (draft / f"{name}.npy").open("wb") for name in _NAMES}
    for name, file in files.items():
        head = {"descr": kinds[name].str, "fortran_order": False, "shape": (sizes[name],)}
        np.lib.format.write_array_header_1_0(file, head)
    ids = pieces = 0
    for part in parts:
        arrays = read_part(part)
        arrays["cuts"] += ids
        arrays["rows"] += pieces
        ids, pieces = ids + len(arrays["ids"]), pieces + len(arrays["cuts"])
        for name, file in files.items():
            file.write(arrays[name].tobytes())
    for file in files.values():
        file.close()
    sums = {name: _checksum(draft / f"{name}.npy") for name in _NAMES}
    facts = {"texts": texts, "capacity": capacity, "sizes": sizes, "crc32": sums}
    write_text(draft / "shard.json", json.dumps(facts, indent=2) + "\n")


def _checksum(path: Path) -> int:
    found = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found = zlib.crc32(block, found)
    except OSError:
        return -1
    return found
