"""The answers that were most wrong, with their text and place: where a person should look first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tael.data.record import place
from tael.evaluate.answered import Split
from tael.task.metrics import Kind, split_labels

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


def worst(part: Split, kind: Kind, most: int = 20) -> list[Mistake]:
    """Return the `most` worst mistakes, the worst first; none where all is right."""
    found = [
        Mistake(place(record), _text(record), truth, said, badness)
        for answer, reference, record in zip(
            part.answers, part.references, part.records, strict=True
        )
        for truth, said, badness in [_judge(answer, reference, kind)]
        if badness > 0
    ]
    return sorted(found, key=lambda mistake: -mistake.badness)[:most]


def _judge(answer: dict[str, Any], reference: Any, kind: Kind) -> tuple[str, str, float]:
    if kind == "regression":
        value = float(answer["value"])
        return f"{float(reference):g}", f"{value:.4g}", abs(value - float(reference))
    if kind == "multi":
        truth, said = split_labels(reference), list(answer["labels"])
        return " | ".join(truth) or "none", " | ".join(said) or "none", len({*truth} ^ {*said})
    label, truth_label = str(answer["label"]), str(reference)
    score = float(answer.get("scores", {}).get(label, answer.get("score", 1.0)))
    return truth_label, label, 0.0 if label == truth_label else score


def _text(record: dict[str, Any]) -> str:
    parts: Sequence[Any] = [record.get("text"), record.get("text_pair")]
    text = " ⏎ ".join(" ".join(str(part).split()) for part in parts if part is not None)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
