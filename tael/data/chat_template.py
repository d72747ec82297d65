"""Chat templates: a conversation as the text, and as the ids, that a model was trained on.

What people write is kept apart from what the template writes: within messages the spelling of a
control token is broken by a mark before rendering, so that every control token found in the
result is the template's own. The marks are taken out again before the text is cut into tokens.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

from tael.data.lexicon import ROLES, Lexicon
from tael.data.template_limits import run_template
from tael.errors import DataError, UsageError

__all__ = ["Segment", "chat_ids", "encode_segments", "render_chat"]

Segment = tuple[Literal["control", "text"], str]
_MARKS = tuple(map(chr, range(0xE000, 0xE100)))  # private characters; one that no text has is used


def render_chat(
    lexicon: Lexicon,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    reply: bool = False,
    template: str | None = None,
    **more: Any,
) -> str:
    """Return a conversation as text, as the model's chat template writes it.

    `reply` asks for the beginning of the assistant's turn at the end; `template` is the name of
    another template than the usual one; `more` are variables for it. Raises DataError if there is
    no template, or if it refuses the conversation, loops or reaches out of its sandbox.
    """
    source = _source(lexicon, template, tools)
    texts = {f"{role}_token": text for role in ROLES if (text := lexicon.token(role))}
    variables = {**texts, "tools": tools, "documents": None, **more, "messages": messages}
    return run_template(source, {**_plain(variables), "add_generation_prompt": reply})


def chat_ids(
    lexicon: Lexicon,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    reply: bool = False,
    template: str | None = None,
    **more: Any,
) -> list[int]:
    """Return a conversation as ids: `render_chat`, cut into tokens.

    Control tokens are the template's only: "<|im_end|>" in a message is punctuation and letters.
    """
    source = _source(lexicon, template, tools)
    given = _plain({"messages": messages, "tools": tools, "more": more})
    mark = _unused(source, *_strings(given))
    also = _also(lexicon, source)
    controls = (*_controls(lexicon), *also)
    safe = _mapped(given, lambda text: _broken(text, controls, mark))
    text = render_chat(lexicon, safe["messages"], safe["tools"], reply, template, **safe["more"])
    return _ids(lexicon, text.replace(_escaped(mark), mark), mark, also)


def encode_segments(lexicon: Lexicon, segments: Iterable[Segment]) -> list[int]:
    """Return the ids of segments in a row: of "control" with control tokens, of "text" without.

    Text is cut as one from a control token to the next, whatever segments it came in.
    """
    listed = list(segments)
    mark = _unused(*(text for _, text in listed))
    controls = _controls(lexicon)
    parts = [text if kind == "control" else _broken(text, controls, mark) for kind, text in listed]
    return _ids(lexicon, "".join(parts), mark)


def _source(lexicon: Lexicon, name: str | None, tools: Any) -> str:
    templates = lexicon.templates
    if name is None:
        name = "tool_use" if tools and "tool_use" in templates else "default"
    if name not in templates:
        known = ", ".join(sorted(templates)) or "it has none"
        raise DataError(f"chat template {name!r}: the model has no such template; found: {known}.")
    return templates[name]


def _ids(lexicon: Lexicon, text: str, mark: str, also: Iterable[str] = ()) -> list[int]:
    """Cut a text with marks into ids: control tokens first, then what stands between them."""
    added = lexicon.tokenizer.get_added_tokens_decoder()
    ids_of = {token.content: id_ for id_, token in added.items()}
    cut = frozenset(ids_of[text] for text in also)
    ids: list[int] = []
    first = True
    for part, token in _parted(lexicon, text):
        if part:
            ids += _plain_ids(lexicon, part, mark, cut, first)
        first = False
        if token is not None:
            ids.append(ids_of[token])
    return ids


def _parted(lexicon: Lexicon, text: str) -> Iterator[tuple[str, str | None]]:
    """Yield pieces of text, each with the control token that follows it; None after the last."""
    added = lexicon.tokenizer.get_added_tokens_decoder().values()
    flags = {token.content: token for token in added}
    at, bare = 0, False
    for match in _pattern(_controls(lexicon)).finditer(text):
        part = text[at : match.start()]
        part = part.lstrip() if bare else part
        token = flags[match.group()]
        yield part.rstrip() if token.lstrip else part, match.group()
        at, bare = match.end(), token.rstrip
    yield text[at:].lstrip() if bare else text[at:], None


def _plain_ids(
    lexicon: Lexicon, text: str, mark: str, cut: frozenset[int], first: bool
) -> list[int]:
    # Some put a space before a text, but not before what follows a control token.
    tokenizer = lexicon.tokenizer if first or lexicon.later is None else lexicon.later
    whole: list[int] = tokenizer.encode(text.replace(mark, ""), add_special_tokens=False).ids
    if mark not in text or cut.isdisjoint(whole):
        return whole
    # A token like "<think>" is found in any text; where a message spells it, it is cut in two.
    parts = (tokenizer.encode(part, add_special_tokens=False).ids for part in text.split(mark))
    return [id_ for part in parts for id_ in part]


def _controls(lexicon: Lexicon) -> tuple[str, ...]:
    added = lexicon.tokenizer.get_added_tokens_decoder().values()
    return tuple(token.content for token in added if token.special)


def _also(lexicon: Lexicon, source: str) -> tuple[str, ...]:
    """Return the tokens that are not special, but that the template uses as if they were."""
    added = lexicon.tokenizer.get_added_tokens_decoder().values()
    return tuple(
        token.content
        for token in added
        if not token.special and token.content in source and re.search(r"[^\w\s]", token.content)
    )


@lru_cache(maxsize=16)
def _pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    longest = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest)) or "(?!)")


def _unused(*texts: str) -> str:
    """Return a character that stands in none of the texts."""
    for mark in _MARKS:
        if not any(mark in text or _escaped(mark) in text for text in texts):
            return mark
    raise DataError("chat: the messages use every private character (U+E000 to U+E0FF).")


@lru_cache(maxsize=16)
def _spellings(controls: tuple[str, ...]) -> tuple[re.Pattern[str], set[str], set[str], int]:
    """Return what finds the starts of control tokens, and all their beginnings and their ends."""
    starts = re.compile(f"(?={'|'.join(map(re.escape, controls)) or '(?!)'})", re.IGNORECASE)
    lower = [control.lower() for control in controls]
    heads = {control[:size] for control in lower for size in range(1, len(control))}
    tails = {control[size:] for control in lower for size in range(1, len(control))}
    return starts, heads, tails, max(map(len, lower), default=1)


def _escaped(mark: str) -> str:
    """Return the mark as a template's `tojson` may write it."""
    return f"\\u{ord(mark):04x}"


def _broken(text: str, controls: tuple[str, ...], mark: str) -> str:
    """Put the mark into every control token that a text spells, whole or up to its borders.

    Templates change letters' case and strip spaces, so neither counts; a token may be begun by
    the text and ended by the template, or the other way round.
    """
    starts, heads, tails, longest = _spellings(controls)
    body = text.strip()
    cuts = {match.start() + 1 for match in starts.finditer(body)}
    for size in range(1, min(longest, len(body) + 1)):
        if body[-size:].lower() in heads:
            cuts.add(len(body) - size + 1)
        if body[:size].lower() in tails:
            cuts.add(size - 1)
    edges = [0, *sorted(cuts), len(body)]
    pieces = mark.join(body[one:two] for one, two in pairwise(edges))
    start = text.find(body)
    return text[:start] + pieces + text[start + len(body) :]


def _plain(value: Any) -> Any:
    """Return plain data as it is: a template that got an object could use its methods."""
    return _mapped(value, str)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return `value` with every text in it changed; UsageError if it holds more than plain data."""
    if isinstance(value, str):
        return change(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_mapped(key, change): _mapped(one, change) for key, one in value.items()}
    if isinstance(value, Sequence):
        return [_mapped(one, change) for one in value]
    raise UsageError(f"chat: a template reads texts, numbers, lists and mappings, found {value!r}.")


def _strings(value: Any) -> list[str]:
    found: list[str] = []
    _mapped(value, lambda text: found.append(text) or text)  # type: ignore[func-returns-value]
    return found
