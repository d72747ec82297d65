"""Tables as text, csv and tsv: a header, then rows of as many fields, with true line numbers."""

import csv
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from tael.data.reading import LONGEST, Lines, Reading
from tael.data.record import AT, Record
from tael.errors import DataError

__all__ = ["csv_records", "tsv_records", "unique"]

_AHEAD = 10_000  # rows looked through for more of the same fault


def csv_records(reading: Reading) -> Iterator[Record]:
    """Yield the rows of a table; its delimiter is the header's: comma, semicolon or tab."""
    return _table(reading, None)


def tsv_records(reading: Reading) -> Iterator[Record]:
    """Yield the rows of a table whose fields are separated by tabs."""
    return _table(reading, "\t")


def unique(names: Sequence[str], place: str) -> list[str]:
    """Return the column names of a table; raise DataError where one stands twice or is `@`."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        header = " ".join(", ".join(names).split())  # a name in quotes may hold line ends
        raise DataError(
            f"{place}: duplicate column {', '.join(map(repr, twice[:4])):.200} in the header "
            f"{header:.400}. Rename one of them."
        )
    if AT in names:
        raise DataError(f"{place}: a column may not be named {AT!r}. Rename it.")
    return list(names)


def _table(reading: Reading, delimiter: str | None) -> Iterator[Record]:
    rows = _rows(reading.lines(), reading, delimiter)
    line, header = next(rows, (1, []))
    given = [name.strip() or f"column {n}" for n, name in enumerate(header, 1)]
    names = unique(given, f"{reading.source.full}:{line}")
    for line, row in rows:
        if len(row) == len(names):
            yield {**dict(zip(names, row, strict=True)), AT: reading.at(line)}
        else:
            others = [] if reading.skip else _ragged(rows, len(names))
            places = ", ".join(f"line {at} ({size})" for at, size in [(line, len(row)), *others])
            what = f"expected {len(names)} fields, found {places}"
            reading.malformed(line, "wrong number of fields", what)


def _ragged(rows: Iterable[tuple[int, list[str]]], width: int) -> list[tuple[int, int]]:
    """Return (line, fields) of some more ragged rows, so that one message shows the pattern."""
    ahead = islice(rows, _AHEAD)
    return list(islice(((at, len(row)) for at, row in ahead if len(row) != width), 4))


def _rows(lines: Lines, reading: Reading, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which the row starts, fields), without blank lines.

    After a malformed row reading goes on at the line after its first one, so a quote that is never
    closed costs its own line and not the rest of the file.
    """
    csv.field_size_limit(LONGEST)
    first = next(lines, None)
    if first is None:
        return
    if delimiter is None:
        delimiter = max(",;\t", key=first[1].count)
    again = deque([first])  # lines to be read before those that follow
    while True:
        row_lines: list[tuple[int, str]] = []
        reader = csv.reader(_recorded(again, lines, row_lines), delimiter=delimiter, strict=True)
        try:
            for row in reader:
                start = row_lines[0][0]
                row_lines.clear()
                if row:
                    yield start, row
                else:
                    reading.counts["blank lines"] += 1
            return
        except csv.Error as error:
            start = row_lines[0][0]
            reading.malformed(start, "quotes", _quote_problem(start, str(error)))
            again.extendleft(reversed(row_lines[1:]))


def _recorded(
    again: deque[tuple[int, str]], lines: Lines, seen: list[tuple[int, str]]
) -> Iterator[str]:
    while numbered := again.popleft() if again else next(lines, None):
        seen.append(numbered)
        yield numbered[1]


def _quote_problem(line: int, reason: str) -> str:
    if "unexpected end" in reason or "larger than" in reason:
        return f"the quote that opens in the row of line {line} is never closed"
    return f'a quote stands inside a quoted field of the row of line {line}; double it ("")'
