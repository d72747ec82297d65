"""BART (Lewis et al. 2019, arXiv:1910.13461) and what is built alike: Marian, and more elsewhere.

An encoder-decoder, post-norm, with learned positions (Marian: sines and cosines).
"""

from collections.abc import Mapping
from typing import Any

from tael.model.config import ModelConfig
from tael.model.families.base import Family, Names, Raw, listed, sizes_from
from tael.model.head import HeadKind

__all__ = ["FAMILY", "MARIAN", "family"]

_KEYS = {
    "vocab": "vocab_size", "hidden": "d_model", "layers": "encoder_layers",
    "decoder_layers": "decoder_layers", "heads": "encoder_attention_heads",
    "ffn": "encoder_ffn_dim", "max_positions": "max_position_embeddings",
    "activation": "activation_function", "dropout": "dropout",
    "attention_dropout": "attention_dropout", "ffn_dropout": "activation_dropout",
    "pad": "pad_token_id", "tied": "tie_word_embeddings",
}  # fmt: skip
_FIXED: Raw = {
    "stacks": "both", "types": 0, "norm_eps": 1e-5, "max_positions": 1024,
    "attention_dropout": 0.0, "vocab_transform": False, "pool": "last",
}  # fmt: skip
_STACK: Names = {
    "embedding.positions": "embed_positions", "embedding.norm": "layernorm_embedding",
    "final_norm": "layer_norm",
}  # fmt: skip
_BLOCK: Names = {
    "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attention.out": "self_attn.out_proj", "attention_norm": "self_attn_layer_norm",
    "cross.q": "encoder_attn.q_proj",
    "cross.kv": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
    "cross.out": "encoder_attn.out_proj", "cross_norm": "encoder_attn_layer_norm",
    "ffn.up": "fc1", "ffn.down": "fc2", "ffn_norm": "final_layer_norm",
}  # fmt: skip
# Classes are read from the state at the end token. That is the decoder's last one, where the
# decoder is given the source, shifted by one: as transformers does.
_HEADS: dict[HeadKind, Names] = {
    "seq2seq": {"head": "/lm_head", "head.bias": "/~final_logits_bias"},
    "classify": {"head.pooler.dense": "/classification_head.dense",
                 "head.classifier": "/classification_head.out_proj"},
    "qa": {"head.classifier": "/qa_outputs"}, "none": {},
}  # fmt: skip


def _read(raw: Raw, more: Mapping[str, Any]) -> ModelConfig:
    same = {
        "decoder_attention_heads": raw.get("encoder_attention_heads"),
        "decoder_ffn_dim": raw.get("encoder_ffn_dim"), "is_decoder": False,
        "share_encoder_decoder_embeddings": True,
    }  # fmt: skip
    said = sizes_from(raw, _KEYS, same)
    scale = said["hidden"] ** 0.5 if raw.get("scale_embedding") else 1.0
    return ModelConfig(**_FIXED | dict(more) | said | {"embedding_scale": scale})


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    scopes: list[tuple[str, str, Names]] = [("body.encoder.embedding.", "", {"tokens": "shared"})]
    for stack in ("encoder", "decoder"):
        scopes.append((f"body.{stack}.", f"{stack}.", _STACK))
        for n in range(config.depth(stack)):
            scopes.append((f"body.{stack}.blocks.{n}.", f"{stack}.layers.{n}.", _BLOCK))
    return listed(scopes) | _HEADS[kind]


def family(model_type: str, architectures: Mapping[HeadKind, str], **parts: Any) -> Family:
    """Make the family of this name, whose config says `parts` otherwise than BART's."""
    derived = [r"(encoder|decoder)\.version"]
    if parts.get("position") == "sinusoidal":
        derived.append(r"(encoder|decoder)\.embed_positions\.weight")
    copies = {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight", "lm_head.weight": "shared.weight",
    }  # fmt: skip
    return Family(
        model_type, architectures, lambda raw: _read(raw, parts), _layout,
        prefix="model.", derived=derived, copies=copies,
    )  # fmt: skip


FAMILY = family(
    "bart",
    {
        "seq2seq": "BartForConditionalGeneration", "classify": "BartForSequenceClassification",
        "qa": "BartForQuestionAnswering", "none": "BartModel",
    },
    position_offset=2,
)  # fmt: skip
MARIAN = family(
    "marian",
    {"seq2seq": "MarianMTModel", "none": "MarianModel"},
    position="sinusoidal",
    embedding_norm=False,
)
