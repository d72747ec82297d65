"""Files cut into stretches of text that are read and cleaned apart, each by whoever is free.

A large .txt or .jsonl file is cut at ends of lines; any other file is read by one process. What
comes out does not depend on who reads what: a stretch gives the same parts anywhere.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from tael.data.clean import clean
from tael.data.encoding import HEAD, detect
from tael.data.part import facts_of, is_whole
from tael.data.read import read, read_span
from tael.data.record import Record
from tael.data.source import ending
from tael.data.texts import write_texts
from tael.errors import DataError
from tael.recipe.schema import Columns, Data

__all__ = ["Piece", "Spooled", "Stretch", "add_counts", "spool", "stretches"]

_BYTES = 4 << 20  # of a file in a stretch: what one process holds at a time
_CHARACTERS = 4 << 20  # of raw text in a part, where a stretch makes several
_LONGEST = 1 << 26  # bytes looked through for the end of a line


@dataclass(frozen=True, slots=True)
class Piece:
    """A file, or the bytes of one from an end of line to another."""

    path: Path
    span: tuple[int, int] | None = None
    columns: Columns | None = None  # of a span: those of the file's first record


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one job reads: its number in the order of all, and the pieces of files."""

    number: int
    pieces: tuple[Piece, ...]
    size: int  # bytes

    @property
    def name(self) -> str:
        """The name of its parts on disk, in the order of the text."""
        return f"{self.number:06d}"


@dataclass(frozen=True, slots=True)
class Spooled:
    """The parts that a stretch became: (name, texts in it), and what was counted."""

    parts: list[tuple[str, int]]
    counts: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)


def stretches(paths: Sequence[Path], data: Data) -> list[Stretch]:
    """Cut the files `paths` into stretches of about 8 MB, small files together."""
    found: list[Stretch] = []
    together: list[Piece] = []
    size = 0

    def close() -> None:
        nonlocal together, size
        if together:
            found.append(Stretch(len(found), tuple(together), size))
        together, size = [], 0

    for path in paths:
        spans = _spans(path, data)
        here = sum(end - start for start, end in spans) if spans else path.stat().st_size
        if spans or size + here > _BYTES:
            close()
        columns = _columns(_first(path, data), data) if spans else None
        for span in spans:
            piece = Piece(path, span, columns)
            found.append(Stretch(len(found), (piece,), span[1] - span[0]))
        if not spans:
            together.append(Piece(path))
            size += here
    close()
    return found


def spool(folder: Path, stretch: Stretch, data: Data) -> Spooled:
    """Write the cleaned texts of `stretch` as parts under `folder`, but those that are there.

    A part that is not what was written any more is made again, and named in the result. Raises
    DataError for what cannot be read, with its true line in the file.
    """
    mark = folder / f"{stretch.name}.json"
    before = _finished(folder, mark)
    if before is not None and not before.damaged:
        return before
    counts, parts = Counter[str](), []
    try:
        for number, batch in enumerate(_batches(_records(stretch, data, counts))):
            name = f"{stretch.name}-{number:06d}"
            texts, more = _part(folder / name, batch, data)
            parts.append((name, texts))
            add_counts(counts, more)
    except DataError:
        _read_from_the_beginning(stretch, data)
        raise
    folder.mkdir(parents=True, exist_ok=True)  # there may be no text in it at all
    draft = mark.with_suffix(".part")
    draft.write_text(json.dumps({"parts": parts, "counts": counts}), "utf-8")
    draft.rename(mark)
    return Spooled(parts, counts, before.damaged if before else [])


def add_counts(total: Counter[str], more: Counter[str]) -> None:
    """Add the counts of one stretch to those of others, in place."""
    for name, number in more.items():
        # Said once for all files, however many rows it touched.
        total[name] = (
            max(total[name], number) if name.startswith("columns ") else total[name] + number
        )


def _finished(folder: Path, mark: Path) -> Spooled | None:
    """Return what a stretch became earlier, with the names of parts that are damaged since."""
    try:
        facts = json.loads(mark.read_text("utf-8"))
    except (FileNotFoundError, ValueError):  # not there, or torn by a power cut
        return None
    parts = [(str(name), int(texts)) for name, texts in facts["parts"]]
    damaged = [name for name, _ in parts if not is_whole(folder / name)]
    return Spooled(parts, Counter(facts["counts"]), damaged)


def _part(
    folder: Path, batch: list[tuple[Columns, Record]], data: Data
) -> tuple[int, Counter[str]]:
    """Clean and write a batch, where that is not done yet; return its texts and counts."""
    if not is_whole(folder):
        counts = Counter[str]()
        texts = [
            record["text"]
            for columns, some in groupby(batch, key=itemgetter(0))
            for record in clean(
                (record for _, record in some), columns, data.clean, counts, labelled=False
            )
        ]
        write_texts(folder, texts, counts)
    facts = facts_of(folder)
    return int(facts["texts"]), Counter(facts["counts"])


def _read_from_the_beginning(stretch: Stretch, data: Data) -> None:
    """Raise the error of a stretch that was cut from a file, with lines counted from its head."""
    for piece in stretch.pieces:
        if piece.span is not None:
            records, columns = _read(Piece(piece.path), data, Counter())
            for _ in clean(records, columns, data.clean, Counter(), labelled=False):
                pass


def _records(
    stretch: Stretch, data: Data, counts: Counter[str]
) -> Iterator[tuple[Columns, Record]]:
    for piece in stretch.pieces:
        records, columns = _read(piece, data, counts)
        for record in records:
            yield columns, record


def _read(piece: Piece, data: Data, counts: Counter[str]) -> tuple[Iterator[Record], Columns]:
    """Return the records of a piece, and the columns of a text without a label."""
    if piece.span is not None:
        assert piece.columns is not None, "a span is of a file whose columns are known"
        records = read_span(piece.path, piece.span, on_error=data.on_error, counts=counts)
        return records, piece.columns
    records = read(
        [piece.path], encoding=data.encoding, on_error=data.on_error, txt=data.txt, counts=counts
    )
    first = next(records, {})
    return (record for part in ([first], records) for record in part), _columns(first, data)


def _columns(first: Record, data: Data) -> Columns:
    """Return where the text stands: `data.columns.text`, `text`, or the only column."""
    names = [name for name in first if name != "@"]
    text, label = data.columns.text, data.columns.label
    if text not in names and (len(names) == 1 or "text" in names):
        text = "text" if "text" in names else names[0]
        return Columns(text=text)
    return Columns(text=text, label=label)


def _first(path: Path, data: Data) -> Record:
    """Return the first record of a file; {} where it has none that can be read."""
    records = read([path], encoding=data.encoding, on_error=data.on_error, limit=1)
    return next(records, {})


def _spans(path: Path, data: Data) -> list[tuple[int, int]]:
    """Return where to cut a large file of lines in UTF-8; nothing for any other."""
    size = path.stat().st_size
    kind, packing = ending(path.name)
    lines = kind in (".jsonl", ".ndjson") or (kind == ".txt" and data.txt == "line")
    if size <= _BYTES or not lines or packing:
        return []
    with path.open("rb") as file:
        head = file.read(HEAD)
        encoding = detect(head, str(path)) if data.encoding == "auto" else data.encoding
        if encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig"):
            return []
        cuts = _cuts(file, size)
    if kind == ".txt" and "label" in _first(path, data):
        return []  # the label of a line is found by looking at the whole file's head
    return list(pairwise(cuts))


def _cuts(file: BinaryIO, size: int) -> list[int]:
    """Return the bytes at which stretches begin and end, each just after an LF."""
    cuts = [0]
    for about in range(_BYTES, size, _BYTES):
        if about <= cuts[-1]:
            continue
        file.seek(about)
        line = file.readline(_LONGEST)
        if not line.endswith(b"\n"):
            break
        cuts.append(file.tell())
    return cuts if cuts[-1] == size else [*cuts, size]


def _batches(records: Iterator[tuple[Columns, Record]]) -> Iterator[list[tuple[Columns, Record]]]:
    """Yield records in lists of about 4 million characters of raw text."""
    batch: list[tuple[Columns, Record]] = []
    size = 0
    for columns, record in records:
        batch.append((columns, record))
        text = record.get(columns.text)
        size += len(text) if isinstance(text, str) else 0
        if size >= _CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
