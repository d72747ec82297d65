"""Checkpoint families: how each one's names and config map to the one Transformer; for weights.

One file a family; `find` gives the one that a `config.json` names.
"""

from dataclasses import asdict, replace
from importlib import import_module
from typing import TYPE_CHECKING

from tael.errors import CheckpointError

if TYPE_CHECKING:
    from tael.model.config import ModelConfig
    from tael.model.families.base import Family, Raw

__all__ = ["FAMILIES", "find", "saying"]

FAMILIES = {  # model_type of a config.json: the file here that holds its Family, and its name there
    "bart": "bart:FAMILY",
    "albert": "albert:FAMILY",
    "bert": "bert:FAMILY",
    "distilbert": "distilbert:FAMILY",
    "electra": "electra:FAMILY",
    "gemma2": "gemma:GEMMA2",
    "gemma3_text": "gemma:GEMMA3",
    "gpt2": "gpt2:FAMILY",
    "llama": "llama:FAMILY",
    "marian": "bart:MARIAN",
    "mbart": "mbart:FAMILY",
    "mistral": "llama:MISTRAL",
    "modernbert": "modernbert:FAMILY",
    "mt5": "mt5:FAMILY",
    "pegasus": "mbart:PEGASUS",
    "phi3": "phi3:FAMILY",
    "qwen2": "llama:QWEN2",
    "qwen3": "llama:QWEN3",
    "roberta": "roberta:FAMILY",
    "t5": "t5:FAMILY",
    "xlm-roberta": "roberta:XLM",
}

# Families that write a config.json for networks that were not opened from one; the first that fits.
_WRITERS = ("bert", "llama", "mistral", "qwen2", "qwen3", "gpt2", "t5")


def find(model_type: object) -> "Family":
    """Return the family of this name; CheckpointError with those there are."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise CheckpointError(f"model_type {model_type!r} is not one of: {known}")
    file, _, name = FAMILIES[model_type].partition(":")
    family: Family = getattr(import_module(f"tael.model.families.{file}"), name)
    return family


def saying(config: "ModelConfig") -> tuple["Family", "Raw"]:
    """Return the family whose `config.json` says all of a network built here, and that config.

    How it was trained (dropout) may be lost. CheckpointError, with what misfits, if there is none.
    """
    nearest = ""
    fewest = len(asdict(config))
    for model_type in _WRITERS:
        family = find(model_type)
        assert family.write is not None, "writers write"
        raw = family.write(config)
        try:
            said, meant = asdict(_answering(family.read(raw))), asdict(_answering(config))
        except CheckpointError:  # sizes that this family cannot have
            continue
        differ = [f"{name} {meant[name]!r}" for name in said if said[name] != meant[name]]
        if not differ:
            return family, raw
        if len(differ) < fewest:
            nearest, fewest = f"{model_type} cannot have {', '.join(differ)}", len(differ)
    raise CheckpointError(f"model config: no family's config.json says this network; {nearest}")


def _answering(config: "ModelConfig") -> "ModelConfig":
    """Return the config without what changes training only; what it leaves open is said."""
    still = replace(config, dropout=0.0, attention_dropout=0.0, ffn_dropout=0.0, droppath=0.0)
    return replace(
        still,
        local=tuple(config.is_local(layer) for layer in range(config.layers)),
        kv_heads=config.groups,
        head_size=config.width,
        decoder_layers=config.depth("decoder"),
    )
