"""What a caller asks a writing model for, put into requests, and the way that each is written."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from tael.errors import UsageError
from tael.model.settings import Settings, Wishes, wished

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tael.engine.loaded import Loaded
    from tael.model.constrain import Match
    from tael.model.generate import Piece, Request, Written
    from tael.model.speculate import Guesser

__all__ = ["Prompt", "Wish", "asked", "pieces", "texts"]

Prompt = str | Sequence[int]
_LOOKUP = "lookup"
_AHEAD = 16  # tokens that a draft may have read beyond the text


class Wish(Wishes, total=False):
    """Settings, and what is no setting of a single text.

    `n` texts a prompt; one seed for all prompts, or one each; a JSON schema or a regular expression
    that the text matches as a whole; `draft`, who guesses ahead: "lookup", or a small model opened.
    """

    n: int
    seed: int | Sequence[int] | None
    schema: Mapping[str, Any] | str | None
    regex: str | None
    draft: "str | Loaded | None"


def asked(loaded: "Loaded", prompts: Prompt | Sequence[Prompt], wish: Wish) -> "list[Request]":
    """Return a request a prompt; UsageError for a wish that cannot be met."""
    from tael.model.generate import Request

    settings = _settings(loaded, wish)
    prompts = _listed(prompts)
    n, seeds = wish.get("n", 1), _seeds(wish.get("seed"), len(prompts))
    if n < 1:
        raise UsageError(f"generate: n must be a whole number from 1, found {n}")
    if settings.stop or any(isinstance(prompt, str) for prompt in prompts):
        loaded.worded()
    watch = _constraint(loaded, settings, wish)
    return [
        Request(_ids(prompt, loaded.tokenizer), settings, seed, n, watch)
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]


def texts(
    loaded: "Loaded", requests: "Sequence[Request]", draft: "str | Loaded | None"
) -> "list[Written]":
    """Write all requests, and return their texts in order."""
    from tael.model.beam import search
    from tael.model.generate import generate

    if not requests:
        return []
    if requests[0].settings.beams > 1:
        return search(loaded.opened(), requests, loaded.speller)
    if draft is None:
        return generate(loaded.opened(), requests, loaded.speller)
    done = []
    for number, request in enumerate(requests):  # each in turn: guesses are for one text
        *_, last = pieces(loaded, request, draft)
        done.append(replace(last.row.finished(), prompt=number))
    return done


def pieces(loaded: "Loaded", request: "Request", draft: "str | Loaded | None") -> "Iterator[Piece]":
    """Write one request, and yield its tokens as they become certain; beams: all at the end."""
    from tael.model.beam import search
    from tael.model.generate import Row, write
    from tael.model.speculate import speculate

    if request.n != 1:
        raise UsageError(f"generate: streams and drafts are of one text, n is {request.n}")
    network = loaded.opened()
    if request.settings.beams > 1:
        if draft is not None:
            raise UsageError("generate: beams take no draft")
        best = search(network, [request], loaded.speller)[0]
        row = Row(network, request, 0, 0, loaded.speller)
        return (row.take(id_) for id_ in best.ids)
    if draft is None:
        return write(network, [request], loaded.speller)
    return speculate(network, request, _guesser(loaded, request, draft), loaded.speller)


def _guesser(loaded: "Loaded", request: "Request", draft: "str | Loaded") -> "Guesser":
    from tael.model.speculate import Draft, Lookup

    if draft == _LOOKUP:
        return Lookup()
    if isinstance(draft, str):
        raise UsageError(f"generate: draft is {_LOOKUP!r} or an opened model, found {draft!r}")
    words = [
        None if one.tokenizer is None else one.tokenizer.get_vocab() for one in (loaded, draft)
    ]
    if words[0] != words[1]:
        raise UsageError(f"{draft.path}: has another vocabulary than {loaded.path}, cannot guess")
    if loaded.opened().config.stacks == "both":
        raise UsageError(f"{loaded.path}: reads a source, which a draft model does not; use lookup")
    capacity = len(request.ids) + request.settings.max_tokens + 2 * _AHEAD
    return Draft(draft.opened(), capacity)


def _constraint(loaded: "Loaded", settings: Settings, wish: Wish) -> "Callable[[], Match] | None":
    schema, regex = wish.get("schema"), wish.get("regex")
    if schema is None and regex is None:
        return None
    from tael.model.constrain import matcher

    loaded.worded()
    assert loaded.speller is not None, "there is one where there is a tokenizer"
    vocab = loaded.opened().config.vocab
    return matcher(loaded.speller, vocab, settings.end, schema=schema, regex=regex)


def _settings(loaded: "Loaded", wish: Wish) -> Settings:
    network = loaded.opened()
    if network.kind not in ("clm", "seq2seq"):
        raise UsageError(
            f"{loaded.path}: does not write, its head is {network.kind!r}; take a causal or "
            "sequence-to-sequence language model"
        )
    own = Wish.__annotations__.keys() - Wishes.__annotations__.keys()
    wishes = cast(Wishes, {name: value for name, value in wish.items() if name not in own})
    settings = wished(loaded.settings or Settings(), wishes)
    if network.kind == "seq2seq" and settings.start is None:
        raise UsageError(
            f"{loaded.path}: does not say what its decoder begins with; put decoder_start_token_id "
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
