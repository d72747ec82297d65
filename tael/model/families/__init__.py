"""Checkpoint families: how each one's names and config map to the one Transformer; for weights.

One file a family; `find` gives the one that a `config.json` names.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from tael.errors import CheckpointError

if TYPE_CHECKING:
    from tael.model.families.base import Family

__all__ = ["FAMILIES", "find"]

FAMILIES = {  # model_type of a config.json: the file here that holds its Family, and its name there
    "bert": "bert:FAMILY",
    "llama": "llama:FAMILY",
    "mistral": "llama:MISTRAL",
    "qwen2": "llama:QWEN2",
    "qwen3": "llama:QWEN3",
    "t5": "t5:FAMILY",
}


def find(model_type: object) -> "Family":
    """Return the family of this name; CheckpointError with those there are."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise CheckpointError(f"model_type {model_type!r} is not one of: {known}")
    file, _, name = FAMILIES[model_type].partition(":")
    family: Family = getattr(import_module(f"tael.model.families.{file}"), name)
    return family
