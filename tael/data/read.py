"""Records from files of any listed format, by their endings: streamed, counted, with true places.

A row of a text format is ended by LF, CR LF or CR and by nothing else: U+2028, U+2029 and U+0085
are text. What is malformed stops the reading with its line, or is skipped and counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from tael.data.archive import members
from tael.data.arrow import arrow_records, parquet_records
from tael.data.conll import conll_records
from tael.data.folder import files
from tael.data.json_file import json_records
from tael.data.objects import jsonl_records
from tael.data.plain import txt_records
from tael.data.reading import OnError, Reading, Txt
from tael.data.record import Record
from tael.data.source import Source
from tael.data.table import csv_records, tsv_records
from tael.errors import DataError

__all__ = ["FORMATS", "OnError", "Txt", "input_files", "read", "read_span"]

# Ending → how a file becomes records; a new format is one function and one entry.
FORMATS: dict[str, Callable[[Reading], Iterator[Record]]] = {
    ".csv": csv_records,
    ".tsv": tsv_records,
    ".jsonl": jsonl_records,
    ".ndjson": jsonl_records,
    ".json": json_records,
    ".txt": txt_records,
    ".conll": conll_records,
    ".parquet": parquet_records,
    ".arrow": arrow_records,
    ".feather": arrow_records,
}
_ZIP = ".zip"
_KNOWN = (*FORMATS, _ZIP)


def read(
    paths: Iterable[Path],
    *,
    encoding: str = "auto",
    on_error: OnError = "fail",
    txt: Txt = "line",
    counts: Counter[str] | None = None,
    limit: int | None = None,
) -> Iterator[Record]:
    """Yield the rows of `paths` in order; a record has the file's columns and its place under "@".

    A path is a file, a folder, a pattern such as `data/*.csv`, or a folder saved by Hugging Face
    datasets; text formats may be packed (`.gz`, `.zst`), and all may lie in a `.zip`. Values keep
    their file's types. `txt` says whether a line or a block of lines of a .txt file is a record.
    Rows, blank lines, repairs and skipped rows are added to `counts` by name. `limit` stops after
    so many records without reading on. Raises DataError: no such file, no rows, wrong encoding,
    damaged or hostile archive, malformed row.
    """
    counts = Counter() if counts is None else counts
    records = (
        record
        for path, name in files(paths, _KNOWN, counts).items()
        for source in _sources(Source(path, name), counts)
        for record in _read(Reading(source, counts, encoding, on_error, txt))
    )
    return islice(records, limit)


def read_span(
    path: Path, span: tuple[int, int], *, on_error: OnError, counts: Counter[str]
) -> Iterator[Record]:
    """Yield the rows between two ends of lines of a .jsonl or .txt file in UTF-8.

    Lines are counted from the beginning of `span`, given in bytes; there may be no rows.
    """
    source = Source(path, path.name, span=span)
    for record in FORMATS[source.format](Reading(source, counts, "utf-8", on_error)):
        counts["rows read"] += 1
        yield record


def input_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files that `paths` stand for, in order: folders and patterns looked up, sorted."""
    return list(files(paths, _KNOWN, Counter()))


def _sources(source: Source, counts: Counter[str]) -> list[Source]:
    """Return what is to be read of a file: itself, or the members of an archive, of one format."""
    if source.format != _ZIP or source.packing:
        return [source]
    found = members(source, counts)
    formats = sorted({one.format or "without an ending" for one in found})
    if not found:
        raise DataError(f"{source.full}: no files in this archive.")
    if len(formats) > 1:
        raise DataError(
            f"{source.full}: mixed formats {', '.join(formats)} in one archive. Unpack it, and "
            "name the files."
        )
    return found


def _read(reading: Reading) -> Iterator[Record]:
    source = reading.source
    if source.format not in FORMATS:
        raise DataError(
            f"{source.full}: unknown format {source.format or 'without an ending'}; expected "
            f"{', '.join(FORMATS)}, text also with .gz or .zst, all also in a .zip."
        )
    empty = True
    for record in FORMATS[source.format](reading):
        empty = False
        reading.counts["rows read"] += 1
        yield record
    if empty:
        raise DataError(f"{source.full}: no rows. Expected at least one record; check the file.")
