"""Text for learning without labels, larger than memory: cleaned, each once, on disk in parts.

Reading and cleaning is cut into stretches (`stretch.py`) that any number of processes share. A
part that is whole is never made again, so a corpus that was interrupted goes on. What grows with
the number of texts is one byte a text in memory, and 28 on disk beside the text itself.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tael.data.alike import drop_near
from tael.data.dedup import normalised
from tael.data.leak import LEFT_OUT
from tael.data.part import facts_of, is_whole, read_part, write_part
from tael.data.pool import Inline, Map, Tell, silent
from tael.data.read import input_files
from tael.data.record import Record
from tael.data.repeats import drop_exact, drop_known
from tael.data.stretch import add_counts, spool, stretches
from tael.data.texts import digests_of, texts_of, write_texts
from tael.files import sha256
from tael.recipe.schema import Data

__all__ = ["Corpus", "address_of", "given", "read_corpus"]

_VERSION = 1  # of the parts: another one is another address
_CHARACTERS = 4 << 20  # of given texts in a part
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    """Cleaned texts on disk, and which of them are kept."""

    folder: Path
    parts: list[tuple[str, int]]  # name, texts
    counts: Counter[str]
    texts: int  # kept
    characters: int  # of the kept texts

    def flags(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Yield the name of each part, and which of its texts are kept."""
        kept, start = read_part(self.folder / "kept")["kept"], 0
        for name, texts in self.parts:
            yield name, kept[start : start + texts]
            start += texts

    def every(self, step: int) -> Iterator[str]:
        """Yield every `step`-th text, from the first."""
        passed = 0
        for name, kept in self.flags():
            wanted = np.flatnonzero(kept)[-passed % step :: step]
            passed += int(kept.sum())
            if len(wanted):
                chosen = np.zeros(len(kept), np.bool_)
                chosen[wanted] = True
                yield from texts_of(self.folder / name, chosen)

    def __iter__(self) -> Iterator[str]:
        return self.every(1)


def address_of(files: Sequence[Path], data: Data, held_out: Iterable[Record]) -> str:
    """Return the name of a corpus: it changes with a byte of a file, a rule or a held-out text."""
    with ThreadPoolExecutor() as threads:
        contents = list(threads.map(sha256, files))
    wanted = {"clean", "columns", "encoding", "on_error", "txt"}
    rules = data.model_dump_json(include=wanted)
    known = hashlib.sha256(_known(held_out).tobytes()).hexdigest()
    endings = ["".join(path.suffixes[-2:]) for path in files]
    facts = json.dumps([_VERSION, contents, endings, rules, known])
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def read_corpus(
    folder: Path,
    paths: Sequence[Path],
    data: Data,
    held_out: Iterable[Record],
    run: Map,
    tell: Tell = silent,
) -> Corpus:
    """Read, clean and deduplicate the texts of `paths` into `folder`; go on where some are there.

    The text column is `data.columns.text`, or the only column where a file has one. A text that
    stands in `held_out`, but for case, width, spaces and punctuation, is left out. Parts that are
    damaged are made again and logged. Raises DataError for what cannot be read.
    """
    work = stretches(input_files(paths), data)
    counts, parts, damaged = Counter[str](), list[tuple[str, int]](), list[str]()
    done, total = 0, sum(stretch.size for stretch in work)
    tell("clean", 0, 0, total)
    results = run(spool, [(folder, stretch, data) for stretch in work])
    for stretch, made in zip(work, results, strict=True):
        add_counts(counts, made.counts)
        parts += made.parts
        damaged += made.damaged
        done += stretch.size
        tell("clean", sum(texts for _, texts in parts), done, total)
    for name in damaged:
        _log.warning("%s was damaged: made again", folder / name)
    again = bool(damaged)
    return _kept(folder, parts, counts, data, held_out, run=run, tell=tell, again=again)


def given(folder: Path, texts: Iterable[str], data: Data, held_out: Iterable[Record]) -> Corpus:
    """Write texts that are clean already; only what stands in `held_out` is left out."""
    parts: list[tuple[str, int]] = []
    rest = iter(texts)
    while batch := _batch(rest):
        name = f"{len(parts):06d}"
        if not is_whole(folder / name):
            write_texts(folder / name, batch, Counter())
        parts.append((name, len(batch)))
    off = data.model_copy(update={"clean": data.clean.model_copy(update={"dedup": "off"})})
    return _kept(folder, parts, Counter(), off, held_out, run=Inline(), tell=silent)


def _kept(
    folder: Path,
    parts: list[tuple[str, int]],
    counts: Counter[str],
    data: Data,
    held_out: Iterable[Record],
    *,
    run: Map,
    tell: Tell,
    again: bool = False,
) -> Corpus:
    """Decide which texts are kept, once for all parts are there."""
    if again or not is_whole(folder / "kept"):
        found = Counter[str]()
        kept = np.ones(sum(texts for _, texts in parts), np.bool_)

        def digests() -> Iterator[NDArray[np.uint64]]:
            return (np.load(folder / name / "digests.npy") for name, _ in parts)

        if data.clean.dedup != "off":
            found["exact duplicates removed"] = drop_exact(digests, kept)
        if data.clean.dedup == "near":
            threshold = data.clean.near_threshold
            drop_near(folder, parts, kept, threshold, found, run=run, tell=tell)
        found[LEFT_OUT] = drop_known(digests, kept, _known(held_out))
        made = {"counts": found, "characters": _characters(folder, parts, kept)}
        write_part(folder / "kept", {"kept": kept}, made)
    facts = facts_of(folder / "kept")
    texts = int(np.load(folder / "kept" / "kept.npy").sum())
    total = Counter(counts)
    total.update({step: number for step, number in facts["counts"].items() if number})
    return Corpus(folder, parts, total, texts, facts["characters"])


def _characters(folder: Path, parts: Iterable[tuple[str, int]], kept: NDArray[np.bool_]) -> int:
    total = start = 0
    for name, texts in parts:
        sizes = np.load(folder / name / "characters.npy")
        total += int(sizes[kept[start : start + texts]].sum())
        start += texts
    return total


def _known(held_out: Iterable[Record]) -> NDArray[np.uint64]:
    """Return the digests of the held-out texts, each of a pair by itself, (n, 2)."""
    keys = {
        normalised({"text": record[role]})
        for record in held_out
        for role in ("text", "text_pair")
        if record.get(role)
    }
    return digests_of(iter(sorted(keys)))


def _batch(texts: Iterator[str]) -> list[str]:
    batch: list[str] = []
    size = 0
    while size < _CHARACTERS and (text := next(texts, None)) is not None:
        batch.append(text)
        size += len(text)
    return batch
