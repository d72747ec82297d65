"""Llama (Touvron et al. 2023, arXiv:2302.13971) and what is built alike: Mistral, Qwen 2 and 3.

A decoder: pre-norm with RMSNorm, rotary positions, a gated feed-forward, keys shared in groups.
"""

from typing import Any

from tael.model.config import ModelConfig
from tael.model.families.base import Family, Names, Raw, listed, rescale_from, sizes_from
from tael.model.head import HeadKind

__all__ = ["BLOCK", "FAMILY", "KEYS", "MISTRAL", "QWEN2", "QWEN3", "layout", "local_from"]

KEYS = {
    "vocab": "vocab_size", "hidden": "hidden_size", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "kv_heads": "num_key_value_heads", "head_size": "head_dim",
    "ffn": "intermediate_size", "max_positions": "max_position_embeddings",
    "activation": "hidden_act", "norm_eps": "rms_norm_eps", "tied": "tie_word_embeddings",
    "attention_dropout": "attention_dropout",
}  # fmt: skip
BLOCK: Names = {
    "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attention.out": "self_attn.o_proj", "attention_norm": "input_layernorm",
    "ffn.up": ["mlp.gate_proj", "mlp.up_proj"], "ffn.down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
    "attention.q_norm": "self_attn.q_norm", "attention.k_norm": "self_attn.k_norm",
}  # fmt: skip
_HEADS: dict[HeadKind, Names] = {
    "clm": {"head": "/lm_head"}, "classify": {"head.classifier": "/score"},
    "tag": {"head.classifier": "/score"}, "qa": {"head.classifier": "/qa_outputs"}, "none": {},
}  # fmt: skip


def _config(raw: Raw, **more: Any) -> ModelConfig:
    fixed: dict[str, Any] = {
        "stacks": "decoder", "position": "rotary", "norm": "rms", "norm_place": "pre",
        "embedding_norm": False, "final_norm": True, "gated": True, "types": 0, "dropout": 0.0,
        "attention_dropout": 0.0, "activation": "silu", "norm_eps": 1e-6, "tied": False,
        "vocab_transform": False, "vocab_bias": False, "pool": "last", "pool_activation": "none",
        "class_bias": False, "ffn_bias": False, "qkv_bias": False, "out_bias": False,
    }  # fmt: skip
    pad = raw.get("pad_token_id")
    pad = pad if isinstance(pad, int) and 0 <= pad < raw.get("vocab_size", 0) else 0
    return ModelConfig(
        **fixed | {"pad": pad} | sizes_from(raw, KEYS, {}) | rescale_from(raw) | more
    )


def local_from(raw: Raw) -> dict[str, Any]:
    """Return `window` and `local` from `sliding_window` and `layer_types`."""
    if raw.get("sliding_window") is None or raw.get("use_sliding_window") is False:
        return {}
    kinds = raw.get("layer_types")
    local = tuple(kind == "sliding_attention" for kind in kinds) if kinds else None
    return {"window": raw["sliding_window"], "local": local}


def _llama(raw: Raw) -> ModelConfig:
    biased, wide = raw.get("attention_bias", False), raw.get("mlp_bias", False)
    return _config(raw, qkv_bias=biased, out_bias=biased, ffn_bias=wide)


def _qwen3(raw: Raw) -> ModelConfig:
    biased = raw.get("attention_bias", False)
    return _config(raw, qk_norm=True, qkv_bias=biased, out_bias=biased, **local_from(raw))


def layout(config: ModelConfig, kind: HeadKind) -> Names:
    """Map our modules to theirs."""
    scopes: list[tuple[str, str, Names]] = [
        ("body.", "", {"embedding.tokens": "embed_tokens", "final_norm": "norm"})
    ]
    scopes += [(f"body.blocks.{n}.", f"layers.{n}.", BLOCK) for n in range(config.layers)]
    return listed(scopes) | _HEADS[kind]


def _family(model_type: str, name: str, read: Any) -> Family:
    architectures: dict[HeadKind, str] = {
        "clm": f"{name}ForCausalLM", "classify": f"{name}ForSequenceClassification",
        "tag": f"{name}ForTokenClassification", "qa": f"{name}ForQuestionAnswering",
        "none": f"{name}Model",
    }  # fmt: skip
    derived = (r".*rotary_emb\.inv_freq",)
    return Family(model_type, architectures, read, layout, prefix="model.", derived=derived)


FAMILY = _family("llama", "Llama", _llama)
MISTRAL = _family("mistral", "Mistral", lambda raw: _config(raw, **local_from(raw)))
QWEN2 = _family("qwen2", "Qwen2", lambda raw: _config(raw, qkv_bias=True, **local_from(raw)))
QWEN3 = _family("qwen3", "Qwen3", _qwen3)
