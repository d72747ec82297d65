"""Words with their places in a text, and spans of it: read in every common format, and checked.

A place counts characters of the text as it was written, the end being the first one behind. Words
are where a tag can stand: a Chinese or Japanese character, a run of letters or of digits, any other
sign; or the tokens that the data bring.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tael.data.record import Record, place
from tael.errors import DataError

__all__ = ["Place", "Span", "joined", "read_spans", "token_list", "words_of"]

Place = tuple[int, int]
Span = dict[str, Any]  # type, start, end

# Written without spaces between words: Han, kana, bopomofo, iteration marks.
_CJK = "\u3005-\u3007\u3040-\u312f\u31a0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_CJK}]|[^\W\d_{_CJK}]+|\d+|\S")
_IS_CJK = re.compile(rf"[{_CJK}]")
_TYPE_KEYS = ("type", "label", "entity", "entity_group", "tag")
_START_KEYS = ("start", "start_offset", "begin", "start_idx")
_END_KEYS = ("end", "end_offset", "stop", "end_idx")
_TEXT_KEYS = ("text", "word", "surface")


def words_of(text: str) -> list[Place]:
    """Return where the words of a text stand, in order; white space is in none."""
    return [match.span() for match in _WORD.finditer(text)]


def joined(tokens: Sequence[str]) -> tuple[str, list[Place]]:
    """Return the text of tokens and where each stands; no space beside Chinese or Japanese."""
    text, places = "", []
    for token in tokens:
        if text and token and not (_IS_CJK.match(text[-1]) or _IS_CJK.match(token[0])):
            text += " "
        places.append((len(text), len(text) + len(token)))
        text += token
    return text, places


def token_list(value: Any, record: Record, role: str) -> list[str]:
    """Return a list of strings; a string counts as many with spaces between."""
    if isinstance(value, str):
        return _parsed(value, record, role) if value.startswith("[") else value.split()
    if not isinstance(value, list) or not all(isinstance(one, str | int) for one in value):
        raise DataError(f"{place(record)}: {role} must be a list of strings, found {value!r:.60}")
    return [str(one) for one in value]


def read_spans(value: Any, record: Record, text: str, counts: Counter[str]) -> list[Span]:
    """Return the spans in order; DataError, with the place, for one that is not in the text.

    Forms: a list of {type, start, end} (also under other common names, and with the words, by which
    an end that is the last character is told from one behind it); a list of [start, end, type]; and
    CLUENER's {type: {words: [[first, last], …]}}.
    """
    if isinstance(value, str):
        value = _parsed(value, record, "spans") if value.strip() else []
    if isinstance(value, Mapping):
        raw = [
            (kind, at, words)
            for kind, found in value.items()
            for words, places in _items(found, record)
            for at in places
        ]
        spans = [_inclusive(kind, at, words, record, text) for kind, at, words in raw]
    elif isinstance(value, list):
        spans = [_listed(one, record, text, counts) for one in value]
    elif value is None:
        spans = []
    else:
        raise _wrong(record, value)
    ordered = sorted(spans, key=lambda span: (span["start"], span["end"], span["type"]))
    overlaps = sum(a["end"] > b["start"] for a, b in itertools.pairwise(ordered))
    counts["spans that overlap another: of two the longer is learned"] += overlaps
    return ordered


def _parsed(value: str, record: Record, role: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise DataError(f"{place(record)}: {role} is no JSON: {value:.60}") from error


def _items(found: Any, record: Record) -> list[tuple[str, Any]]:
    if not isinstance(found, Mapping):
        raise _wrong(record, found)
    return list(found.items())


def _inclusive(kind: str, at: Any, words: str, record: Record, text: str) -> Span:
    if not (isinstance(at, list) and len(at) == 2 and all(_is_place(one) for one in at)):
        raise _wrong(record, at)
    start, end = at[0], at[1] + 1
    if text[start:end] != words:
        raise DataError(
            f"{place(record)}: {kind} {words!r:.40} does not stand at {at}, there is "
            f"{text[start:end]!r:.40}"
        )
    return {"type": kind, "start": start, "end": end}


def _listed(one: Any, record: Record, text: str, counts: Counter[str]) -> Span:
    if isinstance(one, list) and len(one) == 3:
        one = {"start": one[0], "end": one[1], "type": one[2]}
    if not isinstance(one, Mapping):
        raise _wrong(record, one)
    named = (_TYPE_KEYS, _START_KEYS, _END_KEYS, _TEXT_KEYS)
    kind, start, end, words = (_first(one, keys) for keys in named)
    if not isinstance(kind, str) or not _is_place(start) or not _is_place(end):
        raise _wrong(record, one)
    if isinstance(words, str) and text[start:end] != words:
        if text[start : end + 1] != words:
            raise DataError(
                f"{place(record)}: {kind} {words!r:.40} does not stand at {start}, {end}, there is "
                f"{text[start:end]!r:.40}"
            )
        counts["spans whose end is the last character, not the one behind"] += 1
        end += 1
    if not 0 <= start < end <= len(text):
        raise DataError(
            f"{place(record)}: the span {start} to {end} is not in a text of {len(text)} characters"
        )
    return {"type": kind, "start": start, "end": end}


def _first(one: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((one[key] for key in keys if key in one), None)


def _is_place(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _wrong(record: Record, found: Any) -> DataError:
    return DataError(
        f"{place(record)}: spans must be a list of {{type, start, end}} or of [start, end, type], "
        f"or {{type: {{words: [[first, last]]}}}}; found {found!r:.60}"
    )
