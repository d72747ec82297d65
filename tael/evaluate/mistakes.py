"""The answers that were most wrong, with their text and place: where a person should look first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tael.data.record import place
from tael.evaluate.answered import Split
from tael.evaluate.evidence import Judge

__all__ = ["Mistake", "worst"]

_LONGEST = 240  # characters of a text that are shown


@dataclass(frozen=True)
class Mistake:
    """One wrong answer; `badness` orders them: confidence in it, labels wrong, or the error."""

    place: str
    text: str
    truth: str
    answer: str
    badness: float


def worst(part: Split, judge: Judge, most: int = 20) -> list[Mistake]:
    """Return the `most` worst mistakes, the worst first; none where all is right.

    `judge` gives the truth and the answer in words, and how wrong the answer is.
    """
    found = [
        Mistake(place(record), _text(record), truth, said, badness)
        for answer, reference, record in zip(
            part.answers, part.references, part.records, strict=True
        )
        for truth, said, badness in [judge(answer, reference)]
        if badness > 0
    ]
    return sorted(found, key=lambda mistake: -mistake.badness)[:most]


def _text(record: dict[str, Any]) -> str:
    parts: Sequence[Any] = [record.get("text"), record.get("text_pair")]
    text = " ⏎ ".join(" ".join(str(part).split()) for part in parts if part is not None)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
