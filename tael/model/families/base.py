"""What a family of checkpoints says of itself: how its config and its tensors map to ours.

Names of tensors are relative to the body, which stands under `prefix` where a head stands on it; a
name that begins with "/" is the file's own. "^": it lies transposed; "~": with one dimension of 1
more, before the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tael.errors import CheckpointError
from tael.model.config import ModelConfig, Rescale
from tael.model.head import HeadKind

__all__ = [
    "Family", "Names", "Raw", "activation_name", "listed", "locals_from", "our_activation",
    "rescale_from", "rope_parameters", "rotary_of_two", "sizes_from",
]  # fmt: skip

Raw = dict[str, Any]
Names = dict[str, str | Sequence[str]]


@dataclass(frozen=True)
class Family:
    """A checkpoint family, as `model_type` of its `config.json` names it.

    `layout` maps each of our modules (or parameters) to theirs, whose rows stacked in this order
    are ours. `derived` are patterns of tensors that are known from others and are never read;
    `copies` maps what repeats a tensor to that one: read in its place where that is absent.
    `write` makes a `config.json` for networks that were not opened from one.
    """

    model_type: str
    architectures: Mapping[HeadKind, str]
    read: Callable[[Raw], ModelConfig]
    layout: Callable[[ModelConfig, HeadKind], Names]
    prefix: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)  # old part of a name: today's
    derived: Sequence[str] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    write: Callable[[ModelConfig], Raw] | None = None


def sizes_from(raw: Raw, keys: Mapping[str, str], only: Mapping[str, Any]) -> dict[str, Any]:
    """Return ours by theirs, as far as `raw` says; CheckpointError with all problems.

    Sizes must be there; what is in `only` must have that value where it is said.
    """
    problems = [
        f"{key} {raw[key]!r} is not supported, only {value!r}"
        for key, value in only.items()
        if raw.get(key) is not None and raw[key] != value
    ]
    said = {our: raw[their] for our, their in keys.items() if raw.get(their) is not None}
    needed = ("vocab", "hidden", "layers", "heads", "ffn")
    problems += [f"{keys[our]} is missing" for our in needed if our in keys and our not in said]
    if problems:
        raise CheckpointError("; ".join(problems))
    if "activation" in said:
        said["activation"] = our_activation(said["activation"])
    return said


def our_activation(name: str) -> str:
    """Return our name of an activation that a config file names."""
    return _ACTIVATIONS.get(name, name)


_ACTIVATIONS = {
    "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh",
    "swish": "silu", "gelu_python": "gelu",
}  # fmt: skip


def activation_name(ours: str) -> str:
    """Return what config files call one of our activations."""
    return {"gelu_tanh": "gelu_new"}.get(ours, ours)


def rescale_from(raw: Raw) -> dict[str, Any]:
    """Return `rotary_base` and `rescale` from `rope_parameters`, or the older `rope_scaling`."""
    said: Raw = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    base = float(said.get("rope_theta") or raw.get("rope_theta") or 10_000.0)
    kind = said.get("rope_type", said.get("type", "default"))
    if kind == "default":
        return {"rotary_base": base}
    if kind not in ("linear", "dynamic", "llama3"):
        known = "default, linear, dynamic, llama3"
        raise CheckpointError(f"rope_type {kind!r} is not supported, only {known}")
    more = {}
    if kind == "llama3":
        more = {
            "low": said["low_freq_factor"],
            "high": said["high_freq_factor"],
            "original": said["original_max_position_embeddings"],
        }
    return {"rotary_base": base, "rescale": Rescale(kind, float(said["factor"]), **more)}


def rope_parameters(config: ModelConfig) -> Raw:
    """Return what `rescale_from` reads."""
    said: Raw = {"rope_type": "default", "rope_theta": config.rotary_base}
    if config.rescale is None:
        return said
    said |= {"rope_type": config.rescale.kind, "factor": config.rescale.factor}
    if config.rescale.kind == "llama3":
        said |= {
            "low_freq_factor": config.rescale.low, "high_freq_factor": config.rescale.high,
            "original_max_position_embeddings": config.rescale.original,
        }  # fmt: skip
    return said


def rotary_of_two(far: Raw, near: Raw) -> dict[str, Any]:
    """Return the fields for rotary positions that local layers have otherwise: `near`."""
    local = rescale_from({"rope_parameters": near})
    if "rescale" in local:
        raise CheckpointError(f"positions of local layers cannot be rescaled, found {near}")
    base = {"rotary_base_local": local["rotary_base"]}
    return rescale_from({"rope_parameters": far}) | base


def locals_from(raw: Raw, layers: int, whole: range) -> tuple[bool, ...]:
    """Say which layers are local: as `layer_types` has it, else all that are not in `whole`."""
    full, local = "full_attention", "sliding_attention"
    kinds = raw.get("layer_types") or [full if n in whole else local for n in range(layers)]
    unknown = [kind for kind in kinds if kind not in (full, local)]
    if unknown:
        raise CheckpointError(f"layer_types: {unknown[0]!r} is neither {full} nor {local}")
    return tuple(kind == local for kind in kinds)


def listed(scopes: Sequence[tuple[str, str, Names]]) -> Names:
    """Join (ours, theirs, parts) to one table; a name that begins with "/" stays as it is."""
    table: Names = {}
    for ours, theirs, parts in scopes:
        for our, names in parts.items():
            each = [names] if isinstance(names, str) else names
            table[f"{ours}{our}"] = [_under(theirs, name) for name in each]
    return table


def _under(scope: str, name: str) -> str:
    if name.startswith("/"):
        return name
    return f"^{scope}{name[1:]}" if name.startswith("^") else f"{scope}{name}"
