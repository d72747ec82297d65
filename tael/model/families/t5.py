"""T5 (Raffel et al. 2020, arXiv:1910.10683), v1.0 and gated v1.1: an encoder-decoder.

Pre-norm with RMSNorm, no biases, scores neither scaled nor told positions but by a learned bias.
"""

from typing import Any, Literal

from tael.errors import CheckpointError
from tael.model.config import ModelConfig
from tael.model.families.base import (
    Family,
    Names,
    Raw,
    activation_name,
    listed,
    our_activation,
    sizes_from,
)
from tael.model.head import HeadKind

__all__ = ["FAMILY"]

Stack = Literal["encoder", "decoder"]

_KEYS = {
    "vocab": "vocab_size", "hidden": "d_model", "layers": "num_layers", "heads": "num_heads",
    "decoder_layers": "num_decoder_layers", "head_size": "d_kv", "ffn": "d_ff",
    "relative_buckets": "relative_attention_num_buckets",
    "relative_distance": "relative_attention_max_distance", "norm_eps": "layer_norm_epsilon",
    "dropout": "dropout_rate", "pad": "pad_token_id", "tied": "tie_word_embeddings",
}  # fmt: skip
_STACK: Names = {
    "final_norm": "final_layer_norm",
    "bias.table": "block.0.layer.0.SelfAttention.relative_attention_bias",
}
_ATTENTION: Names = {
    "attention.qkv": ["layer.0.SelfAttention.q", "layer.0.SelfAttention.k",
                      "layer.0.SelfAttention.v"],
    "attention.out": "layer.0.SelfAttention.o", "attention_norm": "layer.0.layer_norm",
}  # fmt: skip
_CROSS: Names = {
    "cross.q": "layer.1.EncDecAttention.q",
    "cross.kv": ["layer.1.EncDecAttention.k", "layer.1.EncDecAttention.v"],
    "cross.out": "layer.1.EncDecAttention.o", "cross_norm": "layer.1.layer_norm",
}  # fmt: skip

# Classes are read from the state at the end token: where the decoder is given the source, shifted
# by one, that is its last one.
_HEADS: dict[HeadKind, Names] = {
    "seq2seq": {"head": "/lm_head"},
    "classify": {"head.pooler.dense": "/classification_head.dense",
                 "head.classifier": "/classification_head.out_proj"},
    "qa": {"head.classifier": "/qa_outputs"}, "none": {},
}  # fmt: skip


def _read(raw: Raw) -> ModelConfig:
    said = sizes_from(raw, _KEYS, {})
    for name in raw.get("architectures") or ():
        if str(name).endswith(("EncoderModel", "ForTokenClassification")):
            raise CheckpointError(f"{name} has one stack; open a folder that has both, to read")
    kind = raw.get("feed_forward_proj", "relu")
    gated = kind.startswith("gated-")
    bend = {"gated-gelu": "gelu_new"}.get(kind, kind.removeprefix("gated-"))
    tied = said.setdefault("tied", True)
    # Files of v1.1 before the flag of its own say untied and mean that scores are not scaled.
    scaled = raw.get("scale_decoder_outputs", tied)
    fixed: dict[str, Any] = {
        "stacks": "both", "position": "relative", "norm": "rms", "norm_place": "pre",
        "embedding_norm": False, "final_norm": True, "types": 0, "qkv_bias": False,
        "out_bias": False, "ffn_bias": False, "attention_scale": 1.0, "norm_eps": 1e-6,
        "vocab_transform": False, "vocab_bias": False, "max_positions": 1 << 20, "pool": "last",
    }  # fmt: skip
    scale = said["hidden"] ** -0.5 if scaled else 1.0
    more = {"gated": gated, "activation": our_activation(bend), "logit_scale": scale}
    return ModelConfig(**fixed | said | more | {"ffn_dropout": said.get("dropout", 0.1)})


def _write(config: ModelConfig) -> Raw:
    sizes = {their: getattr(config, our) for our, their in _KEYS.items()}
    sizes |= {"d_kv": config.width, "num_decoder_layers": config.depth("decoder")}
    bend = activation_name(config.activation)
    bend = f"gated-{bend}".replace("gelu_new", "gelu") if config.gated else bend
    more = {"feed_forward_proj": bend, "scale_decoder_outputs": config.logit_scale != 1.0}
    ends = {"eos_token_id": None, "decoder_start_token_id": config.pad}
    return {"model_type": "t5", **sizes, **more, **ends}


def _block(n: int, config: ModelConfig) -> Names:
    dense = f"layer.{n}.DenseReluDense"
    up: Names = {"ffn.up": [f"{dense}.wi_0", f"{dense}.wi_1"] if config.gated else f"{dense}.wi"}
    return up | {"ffn.down": f"{dense}.wo", "ffn_norm": f"layer.{n}.layer_norm"}


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    body = "/transformer." if kind == "classify" else ""  # a name that only these files have
    scopes: list[tuple[str, str, Names]] = [("body.encoder.embedding.", body, {"tokens": "shared"})]
    stacks: dict[Stack, Names] = {
        "encoder": _block(1, config), "decoder": _CROSS | _block(2, config),
    }  # fmt: skip
    for stack, parts in stacks.items():
        scopes.append((f"body.{stack}.", f"{body}{stack}.", _STACK))
        for n in range(config.depth(stack)):
            ours, theirs = f"body.{stack}.blocks.{n}.", f"{body}{stack}.block.{n}."
            scopes.append((ours, theirs, _ATTENTION | parts))
    return listed(scopes) | _HEADS[kind]


FAMILY = Family(
    "t5",
    {
        "seq2seq": "T5ForConditionalGeneration", "classify": "T5ForSequenceClassification",
        "qa": "T5ForQuestionAnswering", "none": "T5Model",
    },
    _read,
    _layout,
    derived=(r".*decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    copies={
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
        "transformer.encoder.embed_tokens.weight": "transformer.shared.weight",
        "transformer.decoder.embed_tokens.weight": "transformer.shared.weight",
        "lm_head.weight": "shared.weight",
    },
    write=_write,
)  # fmt: skip
