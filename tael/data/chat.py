"""Conversations of every common shape as `messages`: OpenAI's, ShareGPT's, Alpaca's.

A message is `{"role", "content"}` with a role of system, user, assistant or tool; calls of tools
stand under `tool_calls` as OpenAI writes them. Reading leaves records as they are; a task that
talks applies this.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from tael.data.reading import OnError
from tael.data.record import AT, Record, place
from tael.errors import DataError

__all__ = ["Shape", "conversations", "messages", "shape"]

Shape = Literal["openai", "sharegpt", "alpaca"]

_ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "model": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
_COLUMNS: dict[Shape, tuple[str, ...]] = {
    "openai": ("messages", "system"),
    "sharegpt": ("conversations", "system"),
    "alpaca": ("instruction", "input", "output", "system", "history"),
}


def shape(record: Record) -> Shape | None:
    """Tell from its columns which kind of conversation a record is; None: it is none."""
    if "messages" in record:
        return "openai"
    if "conversations" in record:
        return "sharegpt"
    return "alpaca" if "instruction" in record else None


def messages(record: Record) -> Record:
    """Return `record` with `messages` in the place of the columns that held its conversation.

    An answer that is missing leaves the conversation open: its last message is the user's. The
    columns `chosen` and `rejected` of a preference become lists of messages too; all others stay.
    Raises DataError with the record's place: no conversation, an unknown role, a message without
    text.
    """
    kind = shape(record)
    if kind is None:
        found = ", ".join(name for name in record if name != AT)
        raise DataError(
            f"{place(record)}: no conversation: expected a column messages, conversations or "
            f"instruction, found {found}."
        )
    rest = {name: value for name, value in record.items() if name not in _COLUMNS[kind]}
    system = [] if not record.get("system") else [_message("system", record["system"], record)]
    turns = _alpaca(record) if kind == "alpaca" else _turns(record[_COLUMNS[kind][0]], record)
    if not turns:
        raise DataError(f"{place(record)}: an empty conversation.")
    for name in ("chosen", "rejected"):
        if name in rest:
            rest[name] = _preferred(rest[name], record)
    return {"messages": system + turns, **rest}


def conversations(
    records: Iterable[Record], on_error: OnError, counts: Counter[str]
) -> Iterator[Record]:
    """Yield `messages` of each record; under `skip` count those that hold none, else raise."""
    for record in records:
        try:
            yield messages(record)
        except DataError:
            if on_error == "fail":
                raise
            counts["rows skipped: no conversation"] += 1


def _turns(value: Any, record: Record) -> list[Record]:
    if not isinstance(value, list):
        raise DataError(f"{place(record)}: a conversation must be a list of messages.")
    return [_turn(one, record) for one in value]


def _turn(value: Any, record: Record) -> Record:
    if not isinstance(value, dict):
        raise DataError(f"{place(record)}: a message must be an object, found {value!r:.40}.")
    if "from" in value:
        return _message(value["from"], value.get("value"), record)
    extra = {key: one for key, one in value.items() if key not in ("role", "content")}
    content = value.get("content")
    if content is None and extra.get("tool_calls"):
        content = ""
    return _message(value.get("role"), content, record) | extra


def _message(role: Any, content: Any, record: Record) -> Record:
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        raise DataError(
            f"{place(record)}: unknown role {role!r:.40}; expected one of {', '.join(_ROLES)}."
        )
    if isinstance(content, list):  # OpenAI's parts
        content = "".join(_part(part, record) for part in content)
    if not isinstance(content, str):
        raise DataError(f"{place(record)}: the {role}'s message has no text: {content!r:.40}.")
    if role == "function_call":
        return {"role": known, "content": "", "tool_calls": _calls(content, record)}
    return {"role": known, "content": content}


def _part(part: Any, record: Record) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise DataError(f"{place(record)}: only parts of type text can be read, found {kind!r:.40}.")


def _calls(content: str, record: Record) -> list[Record]:
    """Return ShareGPT's call, a JSON object or a list of them, as OpenAI's tool calls."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(isinstance(one, dict) and "name" in one for one in calls):
        raise DataError(f"{place(record)}: a function call must be JSON with a name: {content:.40}")
    return [
        {
            "type": "function",
            "function": {"name": one["name"], "arguments": one.get("arguments", {})},
        }
        for one in calls
    ]


def _alpaca(record: Record) -> list[Record]:
    turns = []
    for pair in record.get("history") or ():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DataError(f"{place(record)}: history must be a list of [question, answer].")
        turns += [_message("user", pair[0], record), _message("assistant", pair[1], record)]
    asked = [record["instruction"], record.get("input") or ""]
    if not all(isinstance(one, str) for one in asked):
        raise DataError(f"{place(record)}: instruction and input must be text.")
    turns.append(_message("user", "\n".join(filter(None, asked)), record))
    if record.get("output") is not None:
        turns.append(_message("assistant", record["output"], record))
    return turns


def _preferred(value: Any, record: Record) -> list[Record]:
    if isinstance(value, str):
        return [_message("assistant", value, record)]
    return _turns(value if isinstance(value, list) else [value], record)
