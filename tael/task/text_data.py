"""The records of language modelling: texts, pairs of sentences, and questions with choices.

A text is learned from and measured. Pairs (BLiMP's `sentence_good`, `sentence_bad`) and choices
(`question`, `choices`, `answer`) are only judged: which of them is the likeliest?
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tael.data.form import Form, Mend, string
from tael.data.record import Record, place
from tael.errors import DataError
from tael.recipe.schema import Columns, Recipe

__all__ = ["check", "choices_of", "forms", "guess", "is_judged", "line", "size_of", "survey"]

_PAIR = ("sentence_good", "sentence_bad")  # Warstadt et al. 2020, BLiMP, arXiv:1912.00582


def forms(columns: Columns) -> tuple[Form, ...]:
    """Return the ways to write a record down; those that are judged are known by their columns."""
    pair = {role: role for role in _PAIR}
    return (
        Form(pair, {}, _lay_pair, ("text", "choices", "answer")),
        Form({"choices": "choices"}, {"answer": "answer"}, _lay_choices, ("text",)),
        Form({"text": columns.text}, {}, _lay_text),
    )


def check(split: str, records: Sequence[Record], recipe: Recipe) -> None:
    """Raise DataError where train holds what can only be judged."""
    judged = [record for record in records if is_judged(record)]
    if split == "train" and judged:
        raise DataError(
            f"{place(judged[0])}: pairs and choices are judged, not learned from; give them to "
            "`tael evaluate RUN --data FILE`, and texts to data.train"
        )


def survey(splits: Mapping[str, Sequence[Record]], recipe: Recipe) -> dict[str, int]:
    """Return no labels: the texts are their own."""
    return {}


def line(record: Record) -> str:
    """Return a record in a line."""
    return " ".join(str(record["text"]).split())[:80]


def guess(records: Sequence[Record]) -> list[str] | None:
    """Return no settings: a file of texts alone may be meant for any task."""
    return None


def is_judged(record: Record) -> bool:
    """Whether a record asks which of several texts is the likeliest."""
    return "choices" in record


def choices_of(record: Record) -> tuple[str, list[str]]:
    """Return what stands before each choice, and the choices.

    A sentence of a pair stands in a line of its own: what begins and ends it counts too.
    """
    if record.get("question") is None:
        return "\n", [f"{choice}\n" for choice in record["choices"]]
    return str(record["question"]), [f" {choice}" for choice in record["choices"]]


def size_of(record: Record) -> dict[str, int]:
    """Return the characters, bytes (UTF-8) and words of a record's text.

    The end of a text counts as one more character and byte: the line end that it stands for. A
    Chinese character is a word, since who cuts Chinese into words decides the figure.
    """
    text, end = str(record["text"]), 0 if record.get("goes_on") else 1
    han = sum("\u3400" <= character <= "\u9fff" for character in text)
    apart = "".join(" " if "\u3400" <= character <= "\u9fff" else character for character in text)
    size = len(text.encode("utf-8", "surrogatepass"))
    return {
        "characters": len(text) + end,
        "bytes": size + end,
        "words": max(1, len(apart.split()) + han),
    }


def _lay_text(record: Record, mend: Mend, counts: Counter[str]) -> Record:
    record["text"] = mend(string(record["text"], record, "text"))
    return record


def _lay_pair(record: Record, mend: Mend, counts: Counter[str]) -> Record:
    pair = [mend(string(record.pop(role), record, role)) for role in _PAIR]
    return record | {"text": pair[0], "choices": pair, "answer": 0}


def _lay_choices(record: Record, mend: Mend, counts: Counter[str]) -> Record:
    given = record["choices"]
    if not isinstance(given, list) or len(given) < 2:
        raise DataError(f"{place(record)}: choices must be a list of at least two texts.")
    choices = [mend(string(one, record, "choices")) for one in given]
    question = mend(string(record.get("question"), record, "question"))
    laid: Record = record | {"text": question, "question": question, "choices": choices}
    if "answer" in record:
        laid["answer"] = _number_of(record["answer"], choices, record)
    return laid


def _number_of(answer: Any, choices: Sequence[str], record: Record) -> int:
    """Return which choice is right, by its number from 0, its letter or its text."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    if isinstance(answer, str):
        if answer in choices:
            return list(choices).index(answer)
        letter = ord(answer.strip().upper()) - ord("A") if len(answer.strip()) == 1 else -1
        if 0 <= letter < len(choices):
            return letter
    raise DataError(
        f"{place(record)}: answer {answer!r:.40} is none of the {len(choices)} choices: expected a "
        "number from 0, a letter or the text of one."
    )
