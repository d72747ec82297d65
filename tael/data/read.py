"""Records from files: csv, tsv, jsonl and txt, each also as .gz, streamed, with true line numbers.

A row is ended by LF, CR LF or CR and by nothing else: U+2028, U+2029 and U+0085 are text. What is
malformed stops the reading with its line, or is skipped and counted (`on_error="skip"`).
"""

import csv
import gzip
import io
import json
import logging
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn, cast

from tael.data.encoding import HEAD, detect, locate
from tael.data.record import AT, Record
from tael.errors import DataError

__all__ = ["FORMATS", "OnError", "read"]

OnError = Literal["fail", "skip"]
Lines = Iterator[tuple[int, str]]  # (line number from 1, the line with its "\n")

_log = logging.getLogger(__name__)
_LONGEST = 1 << 24  # characters in one line or one quoted field: memory stays bounded
_AHEAD = 1000  # lines a .txt file is judged by
_SURROGATE = re.compile("[\ud800-\udfff]")


def read(
    paths: Iterable[Path],
    *,
    encoding: str = "auto",
    on_error: OnError = "fail",
    counts: Counter[str] | None = None,
    limit: int | None = None,
) -> Iterator[Record]:
    """Yield the rows of `paths` in order; a record has the file's columns and its place under "@".

    csv and jsonl values keep their file's types. A txt line is `label` and `text` where every line
    is `label<TAB>text` with few labels, else `text`. Rows, blank lines, repairs and skipped rows
    are added to `counts` by name. `limit` stops after so many records without reading on.
    Raises DataError: no such file, no rows, wrong encoding, damaged gzip, malformed row.
    """
    counts = Counter() if counts is None else counts
    records = chain.from_iterable(_read_file(path, encoding, on_error, counts) for path in paths)
    return islice(records, limit)


def _read_file(
    path: Path, encoding: str, on_error: OnError, counts: Counter[str]
) -> Iterator[Record]:
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    suffix = name.suffix.lower()
    if suffix not in FORMATS:
        raise DataError(
            f"{path}: unknown format {suffix or 'without a suffix'}; "
            f"expected {', '.join(FORMATS)}, each also with .gz."
        )
    bad = _Bad(path, on_error, counts)
    codec = _codec(path, encoding)
    if codec not in ("utf-8", "utf-8-sig"):
        _log.info("%s is read as %s", path, codec)
        counts[f"files read as {codec}"] += 1
    empty = True
    # Universal newlines: LF, CR LF and CR.
    with _opened(path) as file, io.TextIOWrapper(file, codec, bad.on_undecodable) as text:
        for record in FORMATS[suffix](_lines(text, codec, bad), bad):
            empty = False
            counts["rows read"] += 1
            yield record
    if empty:
        raise DataError(f"{path}: no rows. Expected at least one record; check the file.")


class _Bad:
    """What to do with a malformed row of one file: raise with its place, or count it."""

    def __init__(self, path: Path, on_error: OnError, counts: Counter[str]) -> None:
        self.path, self.skip, self.counts = path, on_error == "skip", counts
        self.on_undecodable = "replace" if self.skip else "strict"

    def __call__(self, line: int, reason: str, what: str) -> None:
        if not self.skip:
            self.stop(line, what)
        self.counts[f"rows skipped: {reason}"] += 1

    def stop(self, line: int, what: str) -> NoReturn:
        raise DataError(f"{self.path}:{line}: {what}. Mend it, or set data.on_error=skip.")

    def at(self, line: int) -> str:
        return f"{self.path.name}:{line}"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked where it ends in .gz; errors while reading name the file."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except gzip.BadGzipFile as error:
        raise DataError(f"{path}: not a gzip file. Rename it without .gz, or pack it.") from error
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged ({error}). Fetch it again.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _codec(path: Path, encoding: str) -> str:
    with _opened(path) as file:
        head = file.read(HEAD)
    if encoding == "auto":
        return detect(head, path)
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)
    except LookupError as error:
        raise DataError(
            f"data.encoding: unknown encoding {encoding!r}; for example utf-8, gb18030, big5."
        ) from error
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


def _lines(text: io.TextIOWrapper, codec: str, bad: _Bad) -> Lines:
    """Yield the lines with their numbers; undecodable bytes and endless lines are malformed."""
    number = 0
    try:
        while line := text.readline(_LONGEST):
            number += 1
            if len(line) == _LONGEST and not line.endswith("\n"):
                raise DataError(f"{bad.path}:{number}: line of over {_LONGEST:,} characters.")
            if "\0" in line:
                bad.counts["NUL characters removed"] += line.count("\0")
                line = line.replace("\0", "")
            if bad.skip and "\ufffd" in line:
                bad.counts["lines with U+FFFD for undecodable or unknown characters"] += 1
            yield number, line
    except UnicodeDecodeError as error:
        with _opened(bad.path) as again:
            offset, at = locate(again, codec)
        raise DataError(
            f"{bad.path}: byte {offset} (line {at}) is not {codec}. "
            "Set data.encoding to the file's encoding, for example gb18030."
        ) from error


def _csv(lines: Lines, bad: _Bad) -> Iterator[Record]:
    return _table(lines, bad, None)


def _tsv(lines: Lines, bad: _Bad) -> Iterator[Record]:
    return _table(lines, bad, "\t")


def _table(lines: Lines, bad: _Bad, delimiter: str | None) -> Iterator[Record]:
    rows = _rows(lines, bad, delimiter)
    _, header = next(rows, (1, []))
    names = _names(header, bad)
    for line, row in rows:
        if len(row) == len(names):
            yield {**dict(zip(names, row, strict=True)), AT: bad.at(line)}
        else:
            others = [] if bad.skip else _ragged(rows, len(names))
            places = ", ".join(f"line {at} ({size})" for at, size in [(line, len(row)), *others])
            bad(line, "wrong number of fields", f"expected {len(names)} fields, found {places}")


def _ragged(rows: Iterable[tuple[int, list[str]]], width: int) -> list[tuple[int, int]]:
    """Return (line, fields) of some more ragged rows, so that one message shows the pattern."""
    ahead = islice(rows, 10 * _AHEAD)
    return list(islice(((at, len(row)) for at, row in ahead if len(row) != width), 4))


def _names(header: Sequence[str], bad: _Bad) -> list[str]:
    names = [name.strip() or f"column {n}" for n, name in enumerate(header, 1)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(
            f"{bad.path}:1: duplicate column {', '.join(map(repr, twice))} in the header "
            f"{', '.join(names)}. Rename one of them."
        )
    if AT in names:
        raise DataError(f"{bad.path}:1: a column may not be named {AT!r}. Rename it.")
    return names


def _rows(lines: Lines, bad: _Bad, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which the row starts, fields), without blank lines.

    After a malformed row reading goes on at the line after its first one, so a quote that is never
    closed costs its own line and not the rest of the file.
    """
    csv.field_size_limit(_LONGEST)
    first = next(lines, None)
    if first is None:
        return
    if delimiter is None:
        delimiter = max(",;\t", key=first[1].count)
    pending = chain([first], lines)
    while True:
        row_lines: list[tuple[int, str]] = []
        reader = csv.reader(_recorded(pending, row_lines), delimiter=delimiter, strict=True)
        try:
            for row in reader:
                start = row_lines[0][0]
                row_lines.clear()
                if row:
                    yield start, row
                else:
                    bad.counts["blank lines"] += 1
            return
        except csv.Error as error:
            start = row_lines[0][0]
            bad(start, "quotes", _quote_problem(start, str(error)))
            pending = chain(row_lines[1:], pending)


def _recorded(lines: Lines, seen: list[tuple[int, str]]) -> Iterator[str]:
    for number, line in lines:
        seen.append((number, line))
        yield line


def _quote_problem(line: int, reason: str) -> str:
    if "unexpected end" in reason or "larger than" in reason:
        return f"the quote that opens in the row of line {line} is never closed"
    return f'a quote stands inside a quoted field of the row of line {line}; double it ("")'


def _jsonl(lines: Lines, bad: _Bad) -> Iterator[Record]:
    parse = _parser(bad.counts)
    for number, line in lines:
        if not line.strip():
            bad.counts["blank lines"] += 1
            continue
        try:
            value = parse(line)
        except json.JSONDecodeError as error:
            bad(number, "not JSON", f"not valid JSON at column {error.colno} ({error.msg})")
        except ValueError as error:  # NaN, infinities, integers of thousands of digits
            bad(number, "not JSON", f"not valid JSON ({error})")
        except RecursionError:
            bad(number, "nested too deep", "JSON nested too deep")
        else:
            if not isinstance(value, dict) or AT in value:
                found = f"the key {AT!r}" if isinstance(value, dict) else _kind(value)
                bad(number, "not an object", f"expected an object of columns, found {found}")
                continue
            if "\\u" in line and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
                bad.counts["lone surrogates replaced by U+FFFD"] += 1
                value = _without_surrogates(value)
            yield {**value, AT: bad.at(number)}


def _parser(counts: Counter[str]) -> Callable[[str], Any]:
    def pairs(items: list[tuple[str, Any]]) -> Record:
        record = dict(items)
        counts["duplicate JSON keys, the last kept"] += len(items) - len(record)
        return record

    def number(text: str) -> float:
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"number {text} out of range")
        return value

    def constant(text: str) -> NoReturn:
        raise ValueError(f"{text} is not a JSON number")

    decoder = json.JSONDecoder(object_pairs_hook=pairs, parse_float=number, parse_constant=constant)
    return decoder.decode


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(one) for key, one in value.items()}
    return value


def _kind(value: Any) -> str:
    kinds = {str: "a string", list: "an array", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _txt(lines: Lines, bad: _Bad) -> Iterator[Record]:
    head = list(islice(lines, _AHEAD))
    labelled = _is_labelled(head)
    for number, line in chain(head, lines):
        line = line.rstrip("\n")
        if not line.strip():
            bad.counts["blank lines"] += 1
        elif not labelled:
            yield {"text": line, AT: bad.at(number)}
        elif "\t" in line:
            label, _, text = line.partition("\t")
            yield {"label": label.strip(), "text": text, AT: bad.at(number)}
        else:
            bad(number, "no tab", "expected label<TAB>text as in the lines before, found no tab")


def _is_labelled(head: Sequence[tuple[int, str]]) -> bool:
    """Tell `label<TAB>text` from plain text: a tab in every line, and few, short first fields."""
    fields = [line.partition("\t") for _, line in head if line.strip()]
    if not fields or not all(tab for _, tab, _ in fields):
        return False
    labels = {label.strip() for label, _, _ in fields}
    return len(labels) <= max(2, len(fields) // 5) and max(map(len, labels)) <= 64


# Suffix → how its lines become records; a new format is one function and one entry.
FORMATS: dict[str, Callable[[Lines, _Bad], Iterator[Record]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".txt": _txt,
}
