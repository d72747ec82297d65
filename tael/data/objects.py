"""One JSON object is one record: what is repaired, what is refused; and jsonl, one a line."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from tael.data.reading import Reading
from tael.data.record import AT, Record

__all__ = ["DEEPEST", "Parse", "jsonl_records", "parser", "record_of", "without_surrogates"]

DEEPEST = 100  # brackets inside brackets; what walks a record later must not run out of stack
Parse = Callable[[str], Any]

_DEEP = object()
_SURROGATE = re.compile("[\ud800-\udfff]")
# A string, closed or not (so that no character is looked at twice), or a bracket outside of one.
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def jsonl_records(reading: Reading) -> Iterator[Record]:
    """Yield the object on each line."""
    parse = parser(reading.counts)
    for number, line in reading.lines():
        if not line.strip():
            reading.counts["blank lines"] += 1
            continue
        record = record_of(line, number, parse, reading)
        if record is not None:
            yield record


def record_of(text: str, line: int, parse: Parse, reading: Reading) -> Record | None:
    """Return the object in `text`, which begins on `line`, with its place; None if malformed.

    The last of duplicate keys is kept and lone surrogates become U+FFFD, both counted. Malformed:
    no JSON, no object, NaN and infinities, numbers beyond a double, integers of over 4,300 digits,
    over 100 brackets deep.
    """
    try:
        value = parse(text) if not _too_deep(text) else _DEEP
    except json.JSONDecodeError as error:
        what = f"not valid JSON at column {error.colno} ({error.msg})"
        reading.malformed(line, "not JSON", what)
        return None
    except ValueError as error:  # NaN, infinities, integers of thousands of digits
        reading.malformed(line, "not JSON", f"not valid JSON ({error})")
        return None
    if value is _DEEP:
        what = f"JSON nested too deep, over {DEEPEST} brackets in each other"
        reading.malformed(line, "nested too deep", what)
        return None
    if not isinstance(value, dict) or AT in value:
        found = f"the key {AT!r}" if isinstance(value, dict) else _kind(value)
        what = f"expected an object of columns, found {found}"
        reading.malformed(line, "not an object", what)
        return None
    if "\\u" in text and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        reading.counts["lone surrogates replaced by U+FFFD"] += 1
        value = without_surrogates(value)
    return {**value, AT: reading.at(line)}


def parser(counts: Counter[str]) -> Parse:
    """Return a function from text to its JSON value; it counts duplicate keys."""

    def pairs(items: list[tuple[str, Any]]) -> Record:
        record = dict(items)
        counts["duplicate JSON keys, the last kept"] += len(items) - len(record)
        return record

    def number(text: str) -> float:
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"number {text:.40} out of range")
        return value

    def whole(text: str) -> int:
        try:
            return int(text)
        except ValueError:  # Python's own message tells of its settings
            raise ValueError(f"whole number of {len(text):,} digits") from None

    def constant(text: str) -> NoReturn:
        raise ValueError(f"{text} is not a JSON number")

    decoder = json.JSONDecoder(
        object_pairs_hook=pairs, parse_float=number, parse_int=whole, parse_constant=constant
    )
    return decoder.decode


def without_surrogates(value: Any) -> Any:
    """Return `value` with U+FFFD in the place of each lone surrogate, keys included."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [without_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(one) for key, one in value.items()}
    return value


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= DEEPEST:
        return False  # as good as always: no walk through the text
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth += (match[0] in ("[", "{")) - (match[0] in ("]", "}"))
        if depth > DEEPEST:
            return True
    return False


def _kind(value: Any) -> str:
    kinds = {str: "a string", list: "an array", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
