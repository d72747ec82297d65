"""The records of rewriting: a text that is read, and the text to be written, once or several times.

Questions with a context are read too, `question` and `context` as one text, so that one model can
learn from answers and translations together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tael.data.form import Form, Mend, string
from tael.data.record import Record, place
from tael.errors import DataError
from tael.recipe.schema import Columns, Recipe

__all__ = ["check", "forms", "guess", "line", "survey", "targets_of"]

_PLACES = 3  # named of a fault
_PAIRS = (
    ("source", "target"), ("src", "tgt"), ("input", "output"), ("document", "summary"),
    ("dialogue", "summary"), ("article", "highlights"), ("原文", "译文"), ("正文", "摘要"),
)  # fmt: skip
_MOST_REFERENCES = 9


def forms(columns: Columns) -> tuple[Form, ...]:
    """Return the ways to write a record down.

    A target may be a list of references, or stand in columns `target1`, `target2`, … of its name.
    """
    several = {"source": columns.source, "target": f"{columns.target}1"}
    asked = {"question": columns.question, "context": columns.context}

    def lay_several(record: Record, mend: Mend, counts: Counter[str]) -> Record:
        others = [f"{columns.target}{n}" for n in range(2, _MOST_REFERENCES + 1)]
        given = [record["target"], *(record.pop(name) for name in others if name in record)]
        return _lay(record | {"target": given}, mend, counts)

    return (
        Form(several, {}, lay_several, ("text",), near=False),
        Form(asked, {"answers": columns.answers}, _lay_question, ("text", "source", "target")),
        Form({"source": columns.source}, {"target": columns.target}, _lay, ("text",), near=False),
    )


def check(split: str, records: Sequence[Record], recipe: Recipe) -> None:
    """Raise DataError for records without anything to read, or to be written."""
    for role, empty in (
        ("source", [record for record in records if not record.get("source")]),
        ("target", [record for record in records if not any(targets_of(record))]),
    ):
        if empty:
            places = ", ".join(place(record) for record in empty[:_PLACES])
            raise DataError(
                f"{split}: {len(empty):,} of {len(records):,} records have no {role}, first "
                f"{places}; remove them, or say which column holds it: data.columns.{role}=NAME"
            )


def survey(splits: Mapping[str, Sequence[Record]], recipe: Recipe) -> dict[str, int]:
    """Return no labels: what is written is text."""
    return {}


def line(record: Record) -> str:
    """Return a record in a line."""
    source, target = (" ".join(text.split()) for text in (record["source"], targets_of(record)[0]))
    return f"{source[:60]} → {target[:60]}"


def guess(records: Sequence[Record]) -> list[str] | None:
    """Return settings where the columns are called as those of pairs mostly are."""
    if not records:
        return None
    names = set(records[0])
    for source, target in _PAIRS:
        if {source, target} <= names and isinstance(records[0][target], str):
            return [f"data.columns.source={source}", f"data.columns.target={target}"]
    return None


def targets_of(record: Record) -> list[str]:
    """Return what may be written, the first of which is learned; one empty text where unknown."""
    found = record.get("target")
    if isinstance(found, list):
        return [str(one) for one in found] or [""]
    return ["" if found is None else str(found)]


def _lay(record: Record, mend: Mend, counts: Counter[str]) -> Record:
    source = mend(string(record["source"], record, "source"))
    laid: Record = record | {"source": source, "text": source}
    if "target" in record:
        given: Any = record["target"]
        each = given if isinstance(given, list) else [given]
        laid["target"] = [mend(string(one, record, "target")) for one in each]
        # Known by both: units are learned from both, and a source may be written in two ways.
        laid["text"] = f"{source}\n{targets_of(laid)[0]}"
    return laid


def _lay_question(record: Record, mend: Mend, counts: Counter[str]) -> Record:
    question = string(record["question"], record, "question")
    context = string(record["context"], record, "context")
    laid = record | {"source": f"{question}\n{context}"}
    if "answers" in record:
        laid["target"] = _answers(record)
    return _lay(laid, mend, counts)


def _answers(record: Record) -> list[str]:
    """Return the texts of answers in any of the ways that question sets hold them."""
    given = record["answers"]
    if isinstance(given, Mapping):
        given = given.get("text", [])
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        raise DataError(f"{place(record)}: answers must be a list, found {given!r:.40}.")
    texts = [one.get("text") if isinstance(one, Mapping) else one for one in given]
    return [string(text, record, "answers") for text in texts]
