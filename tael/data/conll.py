"""CoNLL columns: a token and its tag a line, a blank line between sentences."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from tael.data.reading import LONGEST, Reading
from tael.data.record import AT, Record

__all__ = ["conll_records"]

_AHEAD = 1000  # lines by which a file is judged


def conll_records(reading: Reading) -> Iterator[Record]:
    """Yield `tokens` and `tags` a sentence: the first and the last column; others are left out.

    Columns stand apart by tabs, or by spaces where the first lines have no tab. Comments (`# …`)
    and `-DOCSTART-` lines go, counted. A line with other than the file's number of columns makes
    its sentence malformed.
    """
    lines = reading.lines()
    head = list(islice(lines, _AHEAD))
    separator, width = _shape([line for _, line in head])
    if head and width < 2:
        reading.refuse(head[0][0], "expected a token and a tag a line, found one column.")
    if width > 2:
        reading.counts["columns between token and tag left out"] = width - 2
    sentence: list[Sequence[str]] = []
    wrong: list[tuple[int, int]] = []  # (line, columns) in this sentence
    first = size = 0
    for number, line in chain(head, lines, [(0, "")]):
        fields = _fields(line, separator)
        if not line.strip():
            if wrong:
                what = f"expected {width} columns, found {wrong[0][1]}"
                reading.malformed(wrong[0][0], "sentences with a wrong number of columns", what)
            elif sentence:
                tokens, tags = [row[0] for row in sentence], [row[-1] for row in sentence]
                yield {"tokens": tokens, "tags": tags, AT: reading.at(first)}
            sentence, wrong, size = [], [], 0
        elif _is_aside(line, fields, width):
            reading.counts["comment lines"] += 1
        else:
            first = first if sentence else number
            sentence.append(fields)
            size += len(line)
            if size > LONGEST:
                reading.refuse(first, f"sentence of over {LONGEST:,} characters.")
            if len(fields) != width or not fields[0]:
                wrong.append((number, len([field for field in fields if field])))


def _shape(lines: Sequence[str]) -> tuple[str | None, int]:
    """Return the separator (None: runs of spaces) and the number of columns of the first token."""
    content = [line for line in lines if line.strip() and not line.startswith(("# ", "-DOCSTART-"))]
    separator = "\t" if any("\t" in line for line in content) else None
    return separator, len(_fields(content[0], separator)) if content else 0


def _fields(line: str, separator: str | None) -> list[str]:
    return [field.strip() for field in line.rstrip("\n").split(separator)]


def _is_aside(line: str, fields: Sequence[str], width: int) -> bool:
    if line.startswith("-DOCSTART-"):
        return True
    return line.startswith("#") and len(fields) != width
