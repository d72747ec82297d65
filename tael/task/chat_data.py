"""The records of conversations: all that was said, and the assistant's last answer.

OpenAI's, ShareGPT's and Alpaca's shapes become one; what is written in a message stays as it is,
white space too, for code and tables are made of it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tael.data.chat import messages
from tael.data.form import Form, Mend
from tael.data.record import AT, Record, place
from tael.errors import DataError
from tael.recipe.schema import Columns, Recipe

__all__ = ["check", "forms", "guess", "line", "said", "survey"]

_SHAPES = ("messages", "conversations", "instruction")
_PLACES = 3


def forms(columns: Columns) -> tuple[Form, ...]:
    """Return OpenAI's, ShareGPT's and Alpaca's way to write a conversation down."""
    ways = ({"messages": columns.messages}, *({name: name} for name in _SHAPES[1:]))
    return tuple(Form(way, {}, _lay, ("text", "answer")) for way in ways)


def check(split: str, records: Sequence[Record], recipe: Recipe) -> None:
    """Raise DataError for conversations that do not end with the assistant."""
    open_ = [record for record in records if record.get("answer") is None]
    if open_:
        places = ", ".join(place(record) for record in open_[:_PLACES])
        raise DataError(
            f"{split}: {len(open_):,} of {len(records):,} conversations do not end with an answer "
            f"of the assistant, first {places}; remove them, or add their answers"
        )


def survey(splits: Mapping[str, Sequence[Record]], recipe: Recipe) -> dict[str, int]:
    """Return no labels: answers are text."""
    return {}


def line(record: Record) -> str:
    """Return the last exchange in a line."""
    asked = " ".join(said(record["messages"][-1]).split()) if record["messages"] else ""
    return f"{asked[:60]} → {' '.join(said(record['answer']).split())[:60]}"


def guess(records: Sequence[Record]) -> list[str] | None:
    """Return settings where rows hold conversations."""
    if not records or not any(name in records[0] for name in _SHAPES):
        return None
    try:
        for record in records:
            messages(record)
    except DataError:
        return None
    return []


def said(message: Mapping[str, Any]) -> str:
    """Return the text of a message; of a call of tools, the calls."""
    if message.get("content"):
        return str(message["content"])
    return str(message.get("tool_calls", ""))


def _lay(record: Record, mend: Mend, counts: Counter[str]) -> Record:
    laid = messages(record)
    turns = laid["messages"]
    ends = turns[-1]["role"] == "assistant"
    before, answer = (turns[:-1], turns[-1]) if ends else (turns, None)
    if not any(turn["role"] == "user" for turn in before):
        raise DataError(f"{place(record)}: nobody asks anything before the assistant answers.")
    text = "\n".join(f"{turn['role']}: {said(turn)}" for turn in turns)
    found: Record = {**laid, "messages": before, "text": text}
    if AT in record:
        found[AT] = record[AT]
    return found | ({} if answer is None else {"answer": answer})
