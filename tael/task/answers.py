"""The answers of a record of extractive question answering: read, and held against the context.

An answer that does not stand where the file says is looked for near by; one that stands nowhere can
be scored against but not learned. Both are counted.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tael.data.record import Record, place
from tael.errors import DataError

__all__ = ["MOVED", "NOWHERE", "Given", "given_answers", "spans_in", "voted"]

MOVED = "answers found elsewhere than the file says"
NOWHERE = "answers that do not stand in their context: scored, not learned"
_STARTS = ("start", "answer_start")  # ours, and SQuAD's


@dataclass(frozen=True, slots=True)
class Given:
    """An answer as the data have it: its text, and the character where it begins, if told."""

    text: str
    start: int | None = None


def given_answers(record: Record) -> list[Given] | None:
    """Return the answers of a record: none where there is none in the text; None: not labelled.

    A list of texts or of {text, start} (or answer_start), or {text: […], answer_start: […]}, or one
    text. Raises DataError for anything else.
    """
    raw = record.get("answers")
    if raw is None:
        return None
    if isinstance(raw, Mapping):
        starts = next((raw[name] for name in _STARTS if name in raw), None)
        texts = raw.get("text")
        if not isinstance(texts, list) or not (starts is None or len(starts) == len(texts)):
            raise _wrong(record, raw)
        raw = [
            {"text": text, "start": None if starts is None else starts[n]}
            for n, text in enumerate(texts)
        ]
    each = [raw] if isinstance(raw, str) else raw
    if not isinstance(each, list):
        raise _wrong(record, raw)
    return [_given(record, one) for one in each]


def _given(record: Record, one: Any) -> Given:
    if isinstance(one, str):
        return Given(one)
    if not isinstance(one, Mapping) or not isinstance(one.get("text"), str):
        raise _wrong(record, one)
    start = next((one[name] for name in _STARTS if name in one), None)
    whole = isinstance(start, int) and not isinstance(start, bool) and start >= 0
    return Given(one["text"], start if whole else None)


def _wrong(record: Record, found: Any) -> DataError:
    return DataError(
        f"{place(record)}: answers must be a list of {{text, start}}, found {found!r:.60}; "
        "is `data.columns.answers` the right column?"
    )


def spans_in(
    context: str, answers: list[Given], counts: Counter[str] | None = None
) -> list[tuple[int, int]]:
    """Return where the answers stand, (start, end) in characters.

    One that is not at its start is taken where it stands nearest to it; one that stands nowhere is
    left out.
    """
    found = []
    for answer in answers:
        at = _nearest(context, answer)
        if at is None:
            _count(counts, NOWHERE)
            continue
        if answer.start is not None and at != answer.start:
            _count(counts, MOVED)
        found.append((at, at + len(answer.text)))
    return found


def voted(spans: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the span that most annotators gave, the first of several; None where there is none."""
    return Counter(spans).most_common(1)[0][0] if spans else None


def _nearest(context: str, answer: Given) -> int | None:
    if not answer.text.strip():
        return None
    wanted = answer.start or 0
    if context.startswith(answer.text, wanted):
        return wanted
    before = context.rfind(answer.text, 0, wanted + len(answer.text))
    after = context.find(answer.text, wanted)
    places = [at for at in (before, after) if at >= 0]
    return min(places, key=lambda at: abs(at - wanted), default=None)


def _count(counts: Counter[str] | None, what: str) -> None:
    if counts is not None:
        counts[what] += 1
