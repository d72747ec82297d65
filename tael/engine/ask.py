"""What a caller asks a writing model for, put into requests, and the way that each is written."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from tael.errors import UsageError
from tael.model.settings import Settings, Wishes, wished

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tael.model.constrain import Match
    from tael.model.generate import Piece, Request, Written
    from tael.model.network import Network
    from tael.model.speculate import Guesser

__all__ = ["Prompt", "Wish", "Writer", "asked", "pieces", "texts"]

Prompt = str | Sequence[int]
_LOOKUP = "lookup"
_AHEAD = 16  # tokens that a draft may have read beyond the text


class Writer(Protocol):
    """An opened model, as far as writing needs it: `tael.load` gives one."""

    path: Path

    @property
    def settings(self) -> Settings | None:
        """How its makers let it write."""

    @property
    def tokenizer(self) -> "Tokenizer | None":
        """What turns text into ids."""

    @property
    def speller(self) -> "Tokenizer | None":
        """What turns written ids into text."""

    def opened(self) -> "Network":
        """Return the network; UsageError where there is none."""

    def worded(self) -> "Tokenizer":
        """Return the tokenizer; UsageError where there is none."""


class Wish(Wishes, total=False):
    """Settings, and what is no setting of a single text.

    `n` texts a prompt; one seed for all prompts, or one each; a JSON schema or a regular expression
    that the text matches as a whole; `draft`, who guesses ahead: "lookup", or a small model opened.
    """

    n: int
    seed: int | Sequence[int] | None
    schema: Mapping[str, Any] | str | None
    regex: str | None
    draft: "str | Writer | None"


def asked(writer: Writer, prompts: Prompt | Sequence[Prompt], wish: Wish) -> "list[Request]":
    """Return a request a prompt; UsageError for a wish that cannot be met."""
    from tael.model.generate import Request

    settings = _settings(writer, wish)
    prompts = _listed(prompts)
    n, seeds = wish.get("n", 1), _seeds(wish.get("seed"), len(prompts))
    if n < 1:
        raise UsageError(f"generate: n must be a whole number from 1, found {n}")
    if settings.stop or any(isinstance(prompt, str) for prompt in prompts):
        writer.worded()
    watch = _constraint(writer, settings, wish)
    return [
        Request(_ids(prompt, writer.tokenizer), settings, seed, n, watch)
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]


def texts(
    writer: Writer, requests: "Sequence[Request]", draft: "str | Writer | None"
) -> "list[Written]":
    """Write all requests, and return their texts in order."""
    from tael.model.beam import search
    from tael.model.generate import generate

    if not requests:
        return []
    if draft is None and requests[0].settings.beams > 1:
        return search(writer.opened(), requests, writer.speller)
    if draft is None:
        return generate(writer.opened(), requests, writer.speller)
    done = []
    for number, request in enumerate(requests):  # each in turn: guesses are for one text
        *_, last = pieces(writer, request, draft)
        done.append(replace(last.row.finished(), prompt=number))
    return done


def pieces(writer: Writer, request: "Request", draft: "str | Writer | None") -> "Iterator[Piece]":
    """Write one request, and yield its tokens as they become certain; beams: all at the end."""
    from tael.model.beam import search
    from tael.model.generate import Row, write
    from tael.model.speculate import speculate

    if request.n != 1:
        raise UsageError(f"generate: streams and drafts are of one text, n is {request.n}")
    network = writer.opened()
    if request.settings.beams > 1:
        if draft is not None:
            raise UsageError("generate: beams take no draft")
        best = search(network, [request], writer.speller)[0]
        row = Row(network, request, 0, 0, writer.speller)
        return (row.take(id_) for id_ in best.ids)
    if draft is None:
        return write(network, [request], writer.speller)
    return speculate(network, request, _guesser(writer, request, draft), writer.speller)


def _guesser(writer: Writer, request: "Request", draft: "str | Writer") -> "Guesser":
    from tael.model.speculate import Draft, Lookup

    if draft == _LOOKUP:
        return Lookup()
    if isinstance(draft, str):
        raise UsageError(f"generate: draft is {_LOOKUP!r} or an opened model, found {draft!r}")
    words = [
        None if one.tokenizer is None else one.tokenizer.get_vocab() for one in (writer, draft)
    ]
    if words[0] != words[1]:
        raise UsageError(f"{draft.path}: has another vocabulary than {writer.path}, cannot guess")
    if writer.opened().config.stacks == "both":
        raise UsageError(f"{writer.path}: reads a source, which a draft model does not; use lookup")
    capacity = len(request.ids) + request.settings.max_tokens + 2 * _AHEAD
    return Draft(draft.opened(), capacity)


def _constraint(writer: Writer, settings: Settings, wish: Wish) -> "Callable[[], Match] | None":
    schema, regex = wish.get("schema"), wish.get("regex")
    if schema is None and regex is None:
        return None
    from tael.model.constrain import matcher

    writer.worded()
    assert writer.speller is not None, "there is one where there is a tokenizer"
    vocab = writer.opened().config.vocab
    return matcher(writer.speller, vocab, settings.end, schema=schema, regex=regex)


def _settings(writer: Writer, wish: Wish) -> Settings:
    network = writer.opened()
    if network.kind not in ("clm", "seq2seq"):
        raise UsageError(
            f"{writer.path}: does not write, its head is {network.kind!r}; take a causal or "
            "sequence-to-sequence language model"
        )
    own = Wish.__annotations__.keys() - Wishes.__annotations__.keys()
    wishes = cast(Wishes, {name: value for name, value in wish.items() if name not in own})
    settings = wished(writer.settings or Settings(), wishes)
    if network.kind == "seq2seq" and settings.start is None:
        raise UsageError(
            f"{writer.path}: does not say what its decoder begins with; put decoder_start_token_id "
            "into its generation_config.json"
        )
    return settings


def _listed(prompts: Any) -> list[Prompt]:
    """Return a list of prompts from one or many; a tensor of two axes is a row a prompt."""
    if hasattr(prompts, "tolist"):
        prompts = prompts.tolist()
    if isinstance(prompts, str) or (prompts and all(isinstance(id_, int) for id_ in prompts)):
        return [prompts]
    return [one.tolist() if hasattr(one, "tolist") else one for one in prompts]


def _seeds(seed: int | Sequence[int] | None, count: int) -> list[int]:
    if seed is None:
        return [secrets.randbits(32) for _ in range(count)]
    if isinstance(seed, int):
        return [seed] * count
    if len(seed) != count:
        raise UsageError(f"generate: {count} prompts need one seed or one each, found {len(seed)}")
    return list(seed)


def _ids(prompt: Prompt, tokenizer: "Tokenizer | None") -> list[int]:
    if not isinstance(prompt, str):
        return list(prompt)
    assert tokenizer is not None, "texts were refused without one"
    ids: list[int] = tokenizer.encode(prompt).ids
    return ids
