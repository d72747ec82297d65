"""T5 (Raffel et al. 2020, arXiv:1910.10683), v1.0 and gated v1.1: an encoder-decoder.

Pre-norm with RMSNorm, no biases, scores neither scaled nor told positions but by a learned bias.
"""

from typing import Any

from tael.model.config import ModelConfig
from tael.model.families.base import Family, Names, Raw, listed, sizes_from
from tael.model.head import HeadKind

__all__ = ["FAMILY"]

_KEYS = {
    "vocab": "vocab_size", "hidden": "d_model", "layers": "num_layers", "heads": "num_heads",
    "decoder_layers": "num_decoder_layers", "head_size": "d_kv", "ffn": "d_ff",
    "relative_buckets": "relative_attention_num_buckets",
    "relative_distance": "relative_attention_max_distance", "norm_eps": "layer_norm_epsilon",
    "dropout": "dropout_rate", "pad": "pad_token_id", "tied": "tie_word_embeddings",
}  # fmt: skip
_ATTENTION = {
    "attention.qkv": ["layer.0.SelfAttention.q", "layer.0.SelfAttention.k",
                      "layer.0.SelfAttention.v"],
    "attention.out": "layer.0.SelfAttention.o", "attention_norm": "layer.0.layer_norm",
}  # fmt: skip
_CROSS: Names = {
    "cross.q": "layer.1.EncDecAttention.q",
    "cross.kv": ["layer.1.EncDecAttention.k", "layer.1.EncDecAttention.v"],
    "cross.out": "layer.1.EncDecAttention.o", "cross_norm": "layer.1.layer_norm",
}  # fmt: skip


def _read(raw: Raw) -> ModelConfig:
    said = sizes_from(raw, _KEYS, {})
    kind = raw.get("feed_forward_proj", "relu")
    gated = kind.startswith("gated-")
    bend = {"gated-gelu": "gelu_tanh"}.get(kind, kind.removeprefix("gated-"))
    tied = said.setdefault("tied", True)
    # Files of v1.1 before the flag of its own say untied and mean that scores are not scaled.
    scaled = raw.get("scale_decoder_outputs", tied)
    fixed: dict[str, Any] = {
        "stacks": "both", "position": "relative", "norm": "rms", "norm_place": "pre",
        "embedding_norm": False, "final_norm": True, "types": 0, "qkv_bias": False,
        "out_bias": False, "ffn_bias": False, "attention_scale": 1.0, "norm_eps": 1e-6,
        "vocab_transform": False, "vocab_bias": False, "max_positions": 1 << 20,
    }  # fmt: skip
    scale = said["hidden"] ** -0.5 if scaled else 1.0
    config = ModelConfig(
        **fixed | said | {"activation": bend, "gated": gated, "logit_scale": scale}
    )
    return config


def _block(n: int, gated: bool) -> Names:
    dense = f"layer.{n}.DenseReluDense"
    up: Names = {"ffn.up": [f"{dense}.wi_0", f"{dense}.wi_1"] if gated else f"{dense}.wi"}
    return up | {"ffn.down": f"{dense}.wo", "ffn_norm": f"layer.{n}.layer_norm"}


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    bias = "block.0.layer.0.SelfAttention.relative_attention_bias"
    scopes: list[tuple[str, str, Names]] = [
        ("body.encoder.", "encoder.", {"final_norm": "final_layer_norm", "bias.table": bias}),
        ("body.decoder.", "decoder.", {"final_norm": "final_layer_norm", "bias.table": bias}),
    ]
    for n in range(config.depth("encoder")):
        parts = _ATTENTION | _block(1, config.gated)
        scopes.append((f"body.encoder.blocks.{n}.", f"encoder.block.{n}.", parts))
    for n in range(config.depth("decoder")):
        parts = _ATTENTION | _CROSS | _block(2, config.gated)
        scopes.append((f"body.decoder.blocks.{n}.", f"decoder.block.{n}.", parts))
    shared: Names = {"body.encoder.embedding.tokens": "shared", "head": "lm_head"}
    return listed(scopes) | shared


FAMILY = Family(
    "t5",
    {"seq2seq": "T5ForConditionalGeneration", "none": "T5Model"},
    _read,
    _layout,
    derived=(r"(encoder|decoder)\.embed_tokens\.weight",
             r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"),
)  # fmt: skip
