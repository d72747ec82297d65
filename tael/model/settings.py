"""How a text is to be written: what a request asks for, over what the model's own files say.

`generation_config.json` (or an old `config.json`) names the ids that end a text and start a
decoder, and how its makers sample; the names are transformers', ours stand in `_KEYS`.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from tael.errors import CheckpointError, UsageError

__all__ = ["Settings", "Wishes", "model_settings", "wished"]

_log = logging.getLogger(__name__)
_DEFAULT_TOKENS = 256


@dataclass(frozen=True)
class Settings:
    """How one text is written; UsageError with all problems where a value is out of range.

    The likeliest token is taken where `temperature` is 0. Else logits are divided by it, and a
    token is drawn from the `top_k` likeliest, of these from the smallest set with a share of
    `top_p`, of these from those at least `min_p` times as likely as the likeliest.
    """

    max_tokens: int = _DEFAULT_TOKENS
    min_tokens: int = 0  # before these are written no end token is
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0  # prompt and text; Keskar et al. 2019, arXiv:1909.05858, 4.1
    presence_penalty: float = 0.0  # taken off once from each token that the text has
    frequency_penalty: float = 0.0  # taken off as often as the text has it
    no_repeat_ngram: int = 0  # so many tokens in a row never come twice
    stop: tuple[str, ...] = ()  # the text ends before the first of these
    stop_ids: tuple[int, ...] = ()  # tokens that end the text as if the model had
    logprobs: int | None = None  # of each token and so many likeliest; None: of none
    beams: int = 1
    length_penalty: float = 1.0  # a beam's score is divided by its length to this power
    early_stopping: bool | Literal["never"] = False

    end: tuple[int, ...] = ()  # the model's end tokens
    start: int | None = None  # what a decoder that reads a source begins with
    min_length: int = 0  # as min_tokens, prompt (or decoder start) counted
    forced_first: int | None = None  # after a decoder start of one token
    forced_last: tuple[int, ...] = ()  # what is written in the last place there is
    banned: tuple[tuple[int, ...], ...] = ()  # runs of tokens that are never written

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be {words}, found {getattr(self, name)!r}"
            for name, words, holds in _RANGES
            if (value := getattr(self, name)) is not None and not (_number(value) and holds(value))
        ]
        if any(not text for text in self.stop):
            problems.append("a stop string must have a character")
        if self.early_stopping not in (True, False, "never"):
            problems.append(f"early_stopping must be true, false or never: {self.early_stopping!r}")
        if (
            not problems
            and self.beams > 1
            and (self.temperature or self.logprobs is not None or self.stop)
        ):
            problems.append("beams take neither temperature, stop strings nor logprobs")
        if problems:
            raise UsageError("generate: " + "; ".join(problems))

    @property
    def ruled(self) -> bool:
        """Whether anything but the scores decides what may come next."""
        return bool(
            self.repetition_penalty != 1.0 or self.presence_penalty or self.frequency_penalty
            or self.no_repeat_ngram or self.min_tokens or self.min_length or self.banned
            or self.forced_first is not None or self.forced_last
        )  # fmt: skip


class Wishes(TypedDict, total=False):
    """What a caller may ask for, by the names of `Settings`; what is left out stays the model's."""

    max_tokens: int | None
    min_tokens: int
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    no_repeat_ngram: int | None
    stop: str | tuple[str, ...] | list[str]
    stop_ids: tuple[int, ...] | list[int]
    logprobs: int | None
    beams: int | None
    length_penalty: float | None
    early_stopping: bool | Literal["never"] | None


def wished(own: Settings, wishes: Wishes) -> Settings:
    """Return the model's settings with a caller's over them; None leaves the model's."""
    said: dict[str, Any] = {name: value for name, value in wishes.items() if value is not None}
    unknown = set(said) - {field.name for field in fields(Settings)}
    if unknown:
        known = ", ".join(Wishes.__annotations__)
        raise UsageError(f"generate: unknown {', '.join(sorted(unknown))}; known: {known}")
    if isinstance(said.get("stop"), str):
        said["stop"] = (said["stop"],)
    for name in ("stop", "stop_ids"):
        if name in said:
            said[name] = tuple(said[name])
    if said.get("temperature", 0) > 0 or said.get("stop") or "logprobs" in said:
        said.setdefault("beams", 1)  # asked to sample: the model's beams are not what is meant
    elif said.get("beams", 1) > 1 or (own.beams > 1 and "beams" not in said):
        said.setdefault("temperature", 0.0)
    return replace(own, **said)


def model_settings(folder: Path, raw: Mapping[str, Any]) -> Settings:
    """Return how a folder's model writes by its own files; CheckpointError where they misfit.

    `raw` is its `config.json`, which says it for folders without `generation_config.json`.
    """
    path = folder / "generation_config.json"
    said: Mapping[str, Any] = raw
    if path.is_file():
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: not JSON: {error}") from error
        if not isinstance(said, dict):
            raise CheckpointError(f"{path}: expected an object, found {type(said).__name__}")
        _warn_of_unknown(path, said)
    else:
        path = folder / "config.json"
    try:
        return _read(said, both=bool(raw.get("is_encoder_decoder")))
    except (UsageError, TypeError, ValueError) as error:
        why = str(error).removeprefix("generate: ")
        raise CheckpointError(f"{path}: {why}; mend it, or take the file away") from error


_KEYS = {
    "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
    "repetition_penalty": "repetition_penalty", "no_repeat_ngram_size": "no_repeat_ngram",
    "num_beams": "beams", "length_penalty": "length_penalty", "early_stopping": "early_stopping",
    "min_length": "min_length", "min_new_tokens": "min_tokens", "max_new_tokens": "max_tokens",
    "decoder_start_token_id": "start", "forced_bos_token_id": "forced_first",
}  # fmt: skip
# These would change the text, and their values by default do not.
_NOT_FOLLOWED = {
    "encoder_no_repeat_ngram_size": (0,), "encoder_repetition_penalty": (1.0,),
    "typical_p": (1.0,), "epsilon_cutoff": (0.0,), "eta_cutoff": (0.0,), "top_h": (),
    "num_beam_groups": (1,), "diversity_penalty": (0.0,), "penalty_alpha": (0,),
    "exponential_decay_length_penalty": (), "sequence_bias": (), "guidance_scale": (1, 1.0),
    "begin_suppress_tokens": (), "watermarking_config": (), "dola_layers": (),
}  # fmt: skip


def _read(said: Mapping[str, Any], *, both: bool) -> Settings:
    own = {ours: said[theirs] for theirs, ours in _KEYS.items() if said.get(theirs) is not None}
    if own.get("top_k") == 0:
        del own["top_k"]
    Settings(**own)  # says what is out of range before anything is made of it
    if own.get("beams", 1) > 1 or not said.get("do_sample"):
        # These are how to sample, and they are written down by many who do not.
        own = {
            name: value for name, value in own.items() if name not in ("top_k", "top_p", "min_p")
        }
    else:
        own["temperature"] = said.get("temperature", 1.0)
    own["end"] = _ids(said.get("eos_token_id"))
    own["forced_last"] = _ids(said.get("forced_eos_token_id"))
    runs = said.get("bad_words_ids") or []
    single = _ids(said.get("suppress_tokens"))
    # A ban on the end token alone would keep texts from ever ending; transformers drops it too.
    banned = [tuple(map(int, run)) for run in runs if run not in ([one] for one in own["end"])]
    own["banned"] = (*banned, *((one,) for one in single))
    if both and own.get("start") is None:
        own["start"] = said.get("bos_token_id")
    if both and "max_tokens" not in own and isinstance(said.get("max_length"), int):
        own["max_tokens"] = max(1, said["max_length"] - 1)  # the decoder's start is counted there
    return Settings(**own)


def _warn_of_unknown(path: Path, said: Mapping[str, Any]) -> None:
    for name, harmless in _NOT_FOLLOWED.items():
        if said.get(name) is not None and said[name] not in harmless:
            _log.warning("%s: %s=%r is not followed", path, name, said[name])


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(int(one) for one in value) if isinstance(value, list) else (int(value),)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(least: int) -> Any:
    return lambda value: isinstance(value, int) and value >= least


_RANGES: tuple[tuple[str, str, Any], ...] = (
    ("max_tokens", "a whole number from 1", _whole(1)),
    ("min_tokens", "a whole number from 0", _whole(0)),
    ("temperature", "a number from 0 to 100", lambda value: 0 <= value <= 100),
    ("top_k", "a whole number from 1", _whole(1)),
    ("top_p", "above 0 and at most 1", lambda value: 0 < value <= 1),
    ("min_p", "from 0 to 1", lambda value: 0 <= value <= 1),
    ("repetition_penalty", "above 0", lambda value: 0 < value < float("inf")),
    ("presence_penalty", "from -100 to 100", lambda value: -100 <= value <= 100),
    ("frequency_penalty", "from -100 to 100", lambda value: -100 <= value <= 100),
    ("no_repeat_ngram", "a whole number from 0", _whole(0)),
    ("logprobs", "a whole number from 0", _whole(0)),
    ("beams", "a whole number from 1", _whole(1)),
    ("length_penalty", "a number", lambda value: abs(value) <= 100),
    ("min_length", "a whole number from 0", _whole(0)),
)
