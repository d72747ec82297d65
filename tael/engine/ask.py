"""What a caller asks a writing model for, put into requests: prompts, settings, seeds."""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from tael.errors import UsageError
from tael.model.settings import Settings, Wishes, wished

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tael.engine.loaded import Loaded
    from tael.model.generate import Request

__all__ = ["Prompt", "Wish", "asked"]

Prompt = str | Sequence[int]
_OWN = ("n", "seed")


class Wish(Wishes, total=False):
    """Settings, and what is no setting of a single text.

    `n` texts a prompt; one seed for all prompts, or one each.
    """

    n: int
    seed: int | Sequence[int] | None


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
    return [
        Request(_ids(prompt, loaded.tokenizer), settings, seed, n)
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]


def _settings(loaded: "Loaded", wish: Wish) -> Settings:
    network = loaded.opened()
    if network.kind not in ("clm", "seq2seq"):
        raise UsageError(
            f"{loaded.path}: does not write, its head is {network.kind!r}; take a causal or "
            "sequence-to-sequence language model"
        )
    wishes = cast(Wishes, {name: value for name, value in wish.items() if name not in _OWN})
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
