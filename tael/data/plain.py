"""Plain text: a line or a block of lines is a record, alone or beside its label after a tab."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Literal

from tael.data.reading import LONGEST, Reading
from tael.data.record import AT, Record

__all__ = ["txt_records"]

_AHEAD = 1000  # lines by which a file is judged
_LONG_LABEL = 64  # characters

Side = Literal["first", "last"]


def txt_records(reading: Reading) -> Iterator[Record]:
    """Yield a record a line; `txt="block"`: a run of lines that are not blank; `"file"`: all.

    Where every one of the first lines is `label<TAB>text` or `text<TAB>label` with few labels, a
    line is `label` and `text`, which is counted; else, and for blocks, it is `text`.
    """
    ways = {"line": _lines, "block": _blocks, "file": _whole}
    return ways[reading.txt](reading)


def _lines(reading: Reading) -> Iterator[Record]:
    lines = reading.lines()
    head = list(islice(lines, _AHEAD))
    # Only the head of a file tells whether its lines have labels; a part is of a file without.
    marked = [] if reading.source.span else [line for _, line in head if line.strip()]
    side = _label_side(marked)
    if side is not None:
        shape = "label<TAB>text" if side == "first" else "text<TAB>label"
        reading.counts[f"files of {shape} lines"] += 1
    for number, line in chain(head, lines):
        line = line.rstrip("\n")
        if not line.strip():
            reading.counts["blank lines"] += 1
        elif side is None:
            yield {"text": line, AT: reading.at(number)}
        elif "\t" in line:
            label, text = _parted(line, side)
            yield {"label": label, "text": text, AT: reading.at(number)}
        else:
            what = f"expected {shape} as in the lines before, found no tab"
            reading.malformed(number, "no tab", what)


def _whole(reading: Reading) -> Iterator[Record]:
    lines, size = [], 0
    for _, line in reading.lines():
        lines.append(line)
        size += len(line)
        if size > LONGEST:
            reading.refuse(1, f"file of over {LONGEST:,} characters; give it as lines or blocks.")
    if size:
        yield {"text": "".join(lines), AT: reading.at(1)}


def _blocks(reading: Reading) -> Iterator[Record]:
    block: list[str] = []
    first = size = 0
    for number, line in chain(reading.lines(), [(0, "\n")]):
        if line.strip():
            first = first if block else number
            block.append(line.rstrip("\n"))
            size += len(line)
            if size > LONGEST:
                reading.refuse(first, f"block of over {LONGEST:,} characters without a blank line.")
        elif block:
            yield {"text": "\n".join(block), AT: reading.at(first)}
            block, size = [], 0


def _parted(line: str, side: Side) -> tuple[str, str]:
    """Return (label, text); tabs inside the text stay."""
    if side == "first":
        label, _, text = line.partition("\t")
    else:
        text, _, label = line.rpartition("\t")
    return label.strip(), text


def _label_side(lines: Sequence[str]) -> Side | None:
    """Tell where the label of `lines` stands: a tab in each, and on that side few, short fields.

    Where both sides would do, one that differs at all, then the one with fewer different fields,
    the shorter one, the first.
    """
    if not lines or not all("\t" in line for line in lines):
        return None
    sides: tuple[Side, Side] = ("first", "last")
    fields = {side: [_parted(line.rstrip("\n"), side)[0] for line in lines] for side in sides}
    likely = []
    for side, labels in fields.items():
        classes = set(labels)
        if len(classes) <= max(2, len(labels) // 5) and 0 < max(map(len, classes)) <= _LONG_LABEL:
            size = sum(map(len, labels))
            likely.append((len(classes) == 1, len(classes), size, side != "first", side))
    return min(likely)[-1] if likely else None
