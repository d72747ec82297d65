"""ModernBERT (Warner et al. 2024, arXiv:2412.13663): an encoder, pre-norm, rotary, gated, local.

Two of three layers see a window only, and turn with another base.
"""

from typing import Any

from tael.model.config import ModelConfig
from tael.model.families.base import (
    Family,
    Names,
    Raw,
    listed,
    locals_from,
    rotary_of_two,
    sizes_from,
)
from tael.model.head import HeadKind

__all__ = ["FAMILY"]

_KEYS = {
    "vocab": "vocab_size", "hidden": "hidden_size", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "ffn": "intermediate_size", "norm_eps": "norm_eps",
    "max_positions": "max_position_embeddings", "activation": "hidden_activation",
    "vocab_activation": "classifier_activation", "norm_bias": "norm_bias",
    "qkv_bias": "attention_bias", "ffn_bias": "mlp_bias", "pool_bias": "classifier_bias",
    "vocab_bias": "decoder_bias", "dropout": "mlp_dropout", "window": "local_attention",
    "attention_dropout": "attention_dropout", "pad": "pad_token_id",
    "tied": "tie_word_embeddings",
}  # fmt: skip
_BLOCK: Names = {
    "attention.qkv": "attn.Wqkv", "attention.out": "attn.Wo", "attention_norm": "attn_norm",
    "ffn.up": "mlp.Wi", "ffn.down": "mlp.Wo", "ffn_norm": "mlp_norm",
}  # fmt: skip
_DENSE: Names = {"head.dense": "/head.dense", "head.norm": "/head.norm"}
_CLASSES: Names = {"head.classifier": "/classifier"}
_HEADS: dict[HeadKind, Names] = {
    "classify": {"head.pooler.dense": "/head.dense", "head.pooler.norm": "/head.norm", **_CLASSES},
    "mlm": {**_DENSE, "head": "/decoder"}, "tag": _DENSE | _CLASSES, "qa": _DENSE | _CLASSES,
    "none": {},
}  # fmt: skip


def _read(raw: Raw) -> ModelConfig:
    fixed: dict[str, Any] = {
        "position": "rotary", "norm_place": "pre", "first_norm": False, "final_norm": True,
        "gated": True, "types": 0, "norm_eps": 1e-5, "max_positions": 8192, "dropout": 0.0,
        "attention_dropout": 0.0, "window": 128, "norm_bias": False, "qkv_bias": False,
        "ffn_bias": False, "pool_bias": False, "pool_norm": True, "token_dense": True,
        "vocab_activation": "gelu",
    }  # fmt: skip
    said = fixed | sizes_from(raw, _KEYS, {"rope_scaling": None}) | _rotary(raw)
    layers, every = said["layers"], raw.get("global_attn_every_n_layers", 3)
    said["local"] = locals_from(raw, layers, range(0, layers, every))
    said["out_bias"], said["pool_activation"] = said["qkv_bias"], said["vocab_activation"]
    pool = raw.get("classifier_pooling", "cls")
    return ModelConfig(**said | {"pool": "first" if pool == "cls" else pool})


def _rotary(raw: Raw) -> dict[str, Any]:
    kinds = raw.get("rope_parameters") or {}
    far = {"rope_theta": raw.get("global_rope_theta") or 160_000.0}
    near = {"rope_theta": raw.get("local_rope_theta") or 10_000.0}
    far |= kinds.get("full_attention") or {}
    return rotary_of_two(far, near | (kinds.get("sliding_attention") or {}))


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    around: Names = {"embedding.tokens": "embeddings.tok_embeddings",
                     "embedding.norm": "embeddings.norm", "final_norm": "final_norm"}  # fmt: skip
    scopes = [("body.", "", around)]
    scopes += [(f"body.blocks.{n}.", f"layers.{n}.", _BLOCK) for n in range(config.layers)]
    return listed(scopes) | _HEADS[kind]


FAMILY = Family(
    "modernbert",
    {
        "classify": "ModernBertForSequenceClassification", "mlm": "ModernBertForMaskedLM",
        "tag": "ModernBertForTokenClassification", "qa": "ModernBertForQuestionAnswering",
        "none": "ModernBertModel",
    },
    _read,
    _layout,
    prefix="model.",
    copies={"decoder.weight": "embeddings.tok_embeddings.weight"},
)  # fmt: skip
