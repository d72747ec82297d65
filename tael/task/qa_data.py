"""Records of question answering: a context, a question and the answers, checked and in words."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tael.data.form import Form, Mend, string
from tael.data.record import Record, place
from tael.errors import DataError
from tael.recipe.schema import Columns, Recipe
from tael.task.answers import given_answers, spans_in

__all__ = ["check", "forms", "guess", "line", "survey"]

_PLACES = 3  # named of each fault


def forms(columns: Columns) -> tuple[Form, ...]:
    """Return the form of a question about a context; the answers are only learned from."""
    given = {"context": columns.context, "question": columns.question}
    # Several questions about one context are no copies of each other, however long it is.
    made = ("text", "text_pair")
    return (Form(given, {"answers": columns.answers}, _lay, made=made, near=False),)


def _lay(record: Record, mend: Mend, counts: Counter[str]) -> Record:
    context = string(record["context"], record, "context")
    question = string(record["question"], record, "question")
    laid = record | {"context": context, "question": question}
    if "answers" in record:
        answers = given_answers(record)
        laid["answers"] = answers and [
            {"text": answer.text, "start": answer.start} for answer in answers
        ]
        spans_in(context, answers or [], counts)
    # What a record is known by, and learned from without answers.
    return laid | {"text": question, "text_pair": context}


def check(split: str, records: Sequence[Record], recipe: Recipe) -> None:
    """Raise DataError for records without a question, a context or a list of answers."""
    faults: dict[str, list[Record]] = {}
    for record in records:
        for role in ("question", "context"):
            if not record[role].strip():
                faults.setdefault(f"no {role}", []).append(record)
        if record.get("answers") is None:
            faults.setdefault("no list of answers", []).append(record)
    if faults:
        told = [
            f"{len(rows)} with {fault} ({', '.join(map(place, rows[:_PLACES]))})"
            for fault, rows in faults.items()
        ]
        raise DataError(
            f"{split}: of {len(records)} records, {'; '.join(told)}. Correct or remove these rows."
        )


def survey(splits: Mapping[str, Sequence[Record]], recipe: Recipe) -> dict[str, int]:
    """Return {}: there are no labels; DataError where no answer of train can be learned."""
    if not any(spans_in(one["context"], given_answers(one) or []) for one in splits["train"]):
        raise DataError(
            f"train: none of {len(splits['train'])} records has an answer that stands in its "
            "context; is `data.columns.answers` the right column?"
        )
    return {}


def line(record: Record) -> str:
    """Return the question and its first answer."""
    answers = given_answers(record)
    told = "?" if answers is None else answers[0].text if answers else "–"
    return f"{record['question']}  →  {told}"


def guess(records: Sequence[Record]) -> list[str] | None:
    """Return settings for rows of SQuAD and its kin; rows of one title stay in one split."""
    if not records or not {"context", "question", "answers"} <= set(records[0]):
        return None
    return ["data.group=title"] if "title" in records[0] else []
