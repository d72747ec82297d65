"""Phi-3 (Abdin et al. 2024, arXiv:2404.14219), 3.5 and 4 mini: Llama with its matrices joined."""

import math
from dataclasses import replace
from typing import Any

from tael.model.config import ModelConfig, Rescale
from tael.model.families.base import Names, Raw, listed
from tael.model.families.llama import BLOCK, local_from
from tael.model.families.llama import FAMILY as LLAMA
from tael.model.families.llama import layout as llama_layout
from tael.model.head import HeadKind

__all__ = ["FAMILY"]

_BLOCK: Names = BLOCK | {"attention.qkv": "self_attn.qkv_proj", "ffn.up": "mlp.gate_up_proj"}


def _read(raw: Raw) -> ModelConfig:
    said: Raw = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    base = said.get("rope_theta") or raw.get("rope_theta") or 10_000.0
    share = said.get("partial_rotary_factor") or raw.get("partial_rotary_factor") or 1.0
    plain = {"rope_parameters": None, "rope_scaling": None, "rope_theta": base}
    more: dict[str, Any] = {"rotary_share": float(share), "dropout": raw.get("resid_pdrop", 0.0)}
    kind = said.get("rope_type", said.get("type", "default"))
    if kind in ("longrope", "su", "yarn"):  # the older names are of the same thing
        more["rescale"] = _longrope(raw, said)
    elif kind != "default":
        plain["rope_parameters"] = said  # as in Llama, or refused
    return replace(LLAMA.read(raw | plain), **more, **local_from(raw))


def _longrope(raw: Raw, said: Raw) -> Rescale:
    original = said.get("original_max_position_embeddings")
    original = original or raw.get("original_max_position_embeddings", 4096)
    times = said.get("factor") or raw.get("max_position_embeddings", 4096) / original
    factor = said.get("attention_factor")
    if factor is None:
        factor = math.sqrt(1 + math.log(times) / math.log(original)) if times > 1 else 1.0
    lists = (tuple(map(float, said[f"{name}_factor"])) for name in ("short", "long"))
    short, long = lists
    return Rescale("longrope", float(factor), original=original, short=short, long=long)


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    scopes = [(f"body.blocks.{n}.", f"layers.{n}.", _BLOCK) for n in range(config.layers)]
    return llama_layout(config, kind) | listed(scopes)


FAMILY = replace(
    LLAMA,
    model_type="phi3",
    architectures={
        "clm": "Phi3ForCausalLM", "classify": "Phi3ForSequenceClassification",
        "tag": "Phi3ForTokenClassification", "none": "Phi3Model",
    },
    read=_read,
    layout=_layout,
    write=None,
)  # fmt: skip
