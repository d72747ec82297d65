"""What is learned from a conversation: what the assistant says, and that it ends.

What the model reads is rendered by the function that renders it when it serves, and what is learned
is whatever the template writes behind that. So the two cannot differ; where a template writes an
earlier answer in another way than it served it, that answer is a lesson of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tael.data.chat_template import chat_ids
from tael.data.lexicon import Lexicon
from tael.errors import DataError

__all__ = ["TurnLesson", "lessons", "prompt_ids"]

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class TurnLesson:
    """The ids that are read, the places of earlier answers among them, and those to be said."""

    prompt: list[int]
    earlier: list[int]  # positions in `prompt` whose token the assistant said
    reply: list[int]  # with the token that ends it


def prompt_ids(lexicon: Lexicon, messages: Messages, tools: Any = None) -> list[int]:
    """Return what the model reads before it answers: in training, evaluation and service."""
    return chat_ids(lexicon, messages, tools, reply=True)


def lessons(
    lexicon: Lexicon, messages: Messages, answer: Mapping[str, Any], end: int, tools: Any = None
) -> list[TurnLesson]:
    """Return the last answer's lesson first, then those of earlier answers that need their own.

    Raises DataError where the template does not write an answer behind the prompt, or no end token
    behind the answer: the model could not learn to stop.
    """
    last = _turn(lexicon, messages, answer, end, tools)
    apart: list[TurnLesson] = []
    earlier: list[int] = []
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        turn = _turn(lexicon, messages[:at], message, end, tools)
        whole = [*turn.prompt, *turn.reply]
        if last.prompt[: len(whole)] == whole:
            earlier += range(len(whole) - len(turn.reply), len(whole))
        else:
            apart.append(turn)
    return [TurnLesson(last.prompt, earlier, last.reply), *apart]


def _turn(
    lexicon: Lexicon, messages: Messages, answer: Mapping[str, Any], end: int, tools: Any
) -> TurnLesson:
    prompt = prompt_ids(lexicon, messages, tools)
    whole = chat_ids(lexicon, [*messages, answer], tools)
    if whole[: len(prompt)] != prompt:
        raise DataError(
            "the chat template writes an answered conversation in another way than the prompt it "
            "is answered from; the model would learn what it is never asked"
        )
    behind = whole[len(prompt) :]
    if end not in behind:
        raise DataError(
            f"the chat template puts no end token ({lexicon.tokenizer.id_to_token(end)}) behind "
            "the answer, so the model could not learn to stop"
        )
    reply = behind[: behind.index(end) + 1]
    kept = _own(lexicon, reply, str(answer.get("content") or ""))
    return TurnLesson([*prompt, *reply[: len(reply) - len(kept)]], [], kept)


def _own(lexicon: Lexicon, reply: list[int], content: str) -> list[int]:
    """Return the part of a reply that the assistant wrote: not what a template puts before it."""
    wanted = content.strip()
    if not wanted:
        return reply
    for skip in range(len(reply)):
        if lexicon.tokenizer.decode(reply[skip:-1]).strip() == wanted:
            return reply[skip:]
    return reply
