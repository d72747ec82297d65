"""Llama (Touvron et al. 2023, arXiv:2302.13971) and what is built alike: Mistral, Qwen 2 and 3.

A decoder: pre-norm with RMSNorm, rotary positions, a gated feed-forward, keys shared in groups.
"""

from collections.abc import Callable
from typing import Any

from tael.model.config import ModelConfig
from tael.model.families.base import (
    Family,
    Names,
    Raw,
    activation_name,
    listed,
    rescale_from,
    rope_parameters,
    sizes_from,
)
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
_QWEN: Raw = {"use_sliding_window": False, "max_window_layers": 28}
_READS: dict[str, Callable[[Raw], dict[str, Any]]] = {  # what each family has otherwise than Llama
    "llama": lambda raw: _biases(raw) | {"ffn_bias": raw.get("mlp_bias", False)},
    "mistral": lambda raw: local_from({"sliding_window": 4096} | raw),
    "qwen2": lambda raw: {"qkv_bias": True} | local_from(_QWEN | raw),
    "qwen3": lambda raw: {"qk_norm": True} | _biases(raw) | local_from(_QWEN | raw),
}


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
    kinds, first = raw.get("layer_types"), raw.get("max_window_layers")
    local = tuple(kind == "sliding_attention" for kind in kinds) if kinds else None
    if local is None and first is not None:  # files of Qwen before `layer_types`
        local = tuple(n >= first for n in range(raw["num_hidden_layers"]))
    return {"window": raw["sliding_window"], "local": local}


def _biases(raw: Raw) -> dict[str, Any]:
    biased = raw.get("attention_bias", False)
    return {"qkv_bias": biased, "out_bias": biased}


def _write(config: ModelConfig, model_type: str) -> Raw:
    sizes = {their: getattr(config, our) for our, their in KEYS.items()}
    raw = {"model_type": model_type, **sizes, "hidden_act": activation_name(config.activation)}
    raw |= {"pad_token_id": config.pad, "bos_token_id": None, "eos_token_id": None}
    raw |= {"num_key_value_heads": config.groups, "head_dim": config.width}
    raw |= {"attention_bias": config.out_bias, "mlp_bias": config.ffn_bias}
    raw |= {"sliding_window": config.window, "use_sliding_window": config.window is not None}
    if config.local is not None or model_type != "mistral":  # with it transformers takes Ministral
        kinds = ("full_attention", "sliding_attention")
        raw |= {"layer_types": [kinds[config.is_local(n)] for n in range(config.layers)]}
    return raw | {"rope_parameters": rope_parameters(config)}


def layout(config: ModelConfig, kind: HeadKind, answers: str = "") -> Names:
    """Map our modules to theirs; `answers` is the body's name in files that answer questions."""
    body = answers if kind == "qa" else ""
    scopes: list[tuple[str, str, Names]] = [
        ("body.", body, {"embedding.tokens": "embed_tokens", "final_norm": "norm"})
    ]
    scopes += [(f"body.blocks.{n}.", f"{body}layers.{n}.", BLOCK) for n in range(config.layers)]
    return listed(scopes) | _HEADS[kind]


def _family(model_type: str, name: str) -> Family:
    architectures: dict[HeadKind, str] = {
        "clm": f"{name}ForCausalLM", "classify": f"{name}ForSequenceClassification",
        "tag": f"{name}ForTokenClassification", "qa": f"{name}ForQuestionAnswering",
        "none": f"{name}Model",
    }  # fmt: skip
    answers = "" if model_type == "mistral" else "/transformer."
    return Family(
        model_type, architectures, lambda raw: _config(raw, **_READS[model_type](raw)),
        lambda config, kind: layout(config, kind, answers),
        prefix="model.", derived=(r".*rotary_emb\.inv_freq",),
        copies={"lm_head.weight": "embed_tokens.weight"},
        write=lambda config: _write(config, model_type),
    )  # fmt: skip


FAMILY = _family("llama", "Llama")
MISTRAL = _family("mistral", "Mistral")
QWEN2 = _family("qwen2", "Qwen2")
QWEN3 = _family("qwen3", "Qwen3")
