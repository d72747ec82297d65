"""JSON files: an array of objects, objects one after the other, or `{"data": [...]}` as in SQuAD.

The file is cut into its elements by brackets and quotes alone, each of which is then parsed by
itself: memory is that of one element, and a broken element costs no other.
"""

import re
from collections.abc import Iterator

from tael.data.objects import Parse, parser, record_of
from tael.data.reading import LONGEST, Reading
from tael.data.record import Record
from tael.data.squad import questions

__all__ = ["json_records"]

_SPACE = re.compile(r"[ \t\r\n]*+")
_IN_STRING = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_IN_BRACKETS = re.compile(r'[^"\[\]{}]*+')
# JSON's own white space only: with \s, a U+2028 would neither be stepped over nor belong to a word.
_IN_WORD = re.compile(r'[^"\[\]{},: \t\r\n]*+')


def json_records(reading: Reading) -> Iterator[Record]:
    """Yield the objects of the file; articles of paragraphs become a record a question."""
    scan, parse = _Scanner(reading), parser(reading.counts)
    while sign := scan.peek():
        if sign == "[":
            yield from _elements(scan, parse, reading)
        elif sign == "{":
            yield from _object(scan, parse, reading)
        else:
            expected = "expected an array of objects"
            reading.refuse(scan.line, f"{expected}, found {sign!r}. Mend the file.")


def _elements(scan: "_Scanner", parse: Parse, reading: Reading) -> Iterator[Record]:
    opened = scan.line
    scan.take()
    while (sign := scan.peek()) not in ("]", ""):
        line = scan.line
        if sign in ",:}":
            reading.malformed(line, "not JSON", f"expected a value, found {sign!r}")
            scan.take()
            continue
        record = record_of(scan.value(), line, parse, reading)
        if record is not None and isinstance(record.get("paragraphs"), list):
            yield from questions(record, line, reading)
        elif record is not None:
            yield record
        if scan.peek() == ",":
            scan.take()
            if scan.peek() == "]":
                reading.malformed(scan.line, "not JSON", "a comma stands before the last bracket")
        elif scan.peek() not in ("]", ""):
            what = f"expected a comma or ], found {scan.peek()!r}"
            reading.malformed(scan.line, "not JSON", what)
    if not sign:
        reading.malformed(opened, "not JSON", "the array that opens here is never closed")
    scan.take()


def _object(scan: "_Scanner", parse: Parse, reading: Reading) -> Iterator[Record]:
    """Yield the elements of an object's `data`, or the object itself where it has no such array."""
    opened, members, size, streamed = scan.line, list[str](), 0, False
    scan.take()
    while scan.peek() == '"':
        key = scan.value()
        if scan.peek() != ":":
            reading.refuse(scan.line, f"not valid JSON: expected a colon after {key:.40}.")
        scan.take()
        if key == '"data"' and scan.peek() == "[":
            streamed = True
            yield from _elements(scan, parse, reading)
        else:
            members.append(f"{key}: {scan.value() if scan.peek() not in ',:]}' else ''}")
            size += len(members[-1])
        if size > LONGEST:
            reading.refuse(opened, f"object of over {LONGEST:,} characters; expected an array.")
        if scan.peek() != ",":
            break
        scan.take()
    if scan.peek() != "}":
        found = repr(scan.peek()) if scan.peek() else "the end of the file"
        reading.refuse(
            scan.line,
            f"not valid JSON: the object that opens on line {opened} goes on with {found}. Mend "
            "the file; where it holds one object a line, name it .jsonl.",
        )
    scan.take()
    if streamed:
        reading.counts["JSON keys beside data left out"] += len(members)
        return
    record = record_of("{" + ", ".join(members) + "}", opened, parse, reading)
    if record is not None:
        yield record


class _Scanner:
    """A place in the text of a file that comes in pieces."""

    def __init__(self, reading: Reading) -> None:
        self.line = 1
        self._reading, self._pieces = reading, reading.pieces()
        self._text, self._at = "", 0

    def peek(self) -> str:
        """Return the next sign that is no white space; "" at the end of the file."""
        while True:
            start, self._at = self._at, _end(_SPACE, self._text, self._at)
            self.line += self._text.count("\n", start, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            self._text, self._at = next(self._pieces, ""), 0
            if not self._text:
                return ""

    def take(self) -> None:
        """Step over the sign that `peek` showed."""
        self._at += 1

    def value(self) -> str:
        """Return the text of the value that begins here, to its last bracket or quote.

        A bare word ends before what cannot belong to it; the end of the file ends anything.
        """
        parts: list[str] = []
        size = depth = 0
        quoted = False
        pos = self._at
        while True:
            inside = _IN_STRING if quoted else _IN_BRACKETS if depth else _IN_WORD
            pos = _end(inside, self._text, pos)
            sign = self._text[pos : pos + 1]
            if sign in ("", "\\"):  # the text goes on in the next piece
                parts.append(self._text[self._at : pos])
                size += len(parts[-1])
                if size > LONGEST:
                    self._reading.refuse(self.line, f"value of over {LONGEST:,} characters.")
                piece = next(self._pieces, "")
                self._text, self._at, pos = sign + piece if piece else "", 0, 0
                if not piece:
                    break
                continue
            if sign == '"':
                quoted = not quoted
            elif sign in "[{":
                depth += 1
            elif depth:
                depth -= 1
            else:
                break
            pos += 1
            if not quoted and not depth:
                break
        value = "".join((*parts, self._text[self._at : pos]))
        self._at = pos
        self.line += value.count("\n")
        return value


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    assert match, "every pattern here matches the empty text"
    return match.end()
