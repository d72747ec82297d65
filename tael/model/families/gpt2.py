"""GPT-2 (Radford et al. 2019): a decoder, pre-norm, learned positions.

Its files hold matrices transposed, and queries, keys and values as one.
"""

from tael.model.config import ModelConfig
from tael.model.families.base import Family, Names, Raw, activation_name, listed, sizes_from
from tael.model.head import HeadKind

__all__ = ["FAMILY"]

_KEYS = {
    "vocab": "vocab_size", "hidden": "n_embd", "layers": "n_layer", "heads": "n_head",
    "ffn": "n_inner", "max_positions": "n_positions", "activation": "activation_function",
    "norm_eps": "layer_norm_epsilon", "dropout": "resid_pdrop", "attention_dropout": "attn_pdrop",
    "tied": "tie_word_embeddings", "pad": "pad_token_id",
}  # fmt: skip
_ONLY = {
    "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}  # fmt: skip
_FIXED: Raw = {
    "stacks": "decoder", "norm_place": "pre", "embedding_norm": False, "final_norm": True,
    "types": 0, "norm_eps": 1e-5, "activation": "gelu_tanh", "max_positions": 1024,
    "vocab_transform": False, "vocab_bias": False, "pool": "last", "pool_activation": "none",
    "class_bias": False, "pad": 0,
}  # fmt: skip
_BLOCK: Names = {
    "attention.qkv": "^attn.c_attn", "attention.out": "^attn.c_proj", "attention_norm": "ln_1",
    "ffn.up": "^mlp.c_fc", "ffn.down": "^mlp.c_proj", "ffn_norm": "ln_2",
}  # fmt: skip
_HEADS: dict[HeadKind, Names] = {
    "clm": {"head": "/lm_head"}, "classify": {"head.classifier": "/score"},
    "tag": {"head.classifier": "/classifier"}, "qa": {"head.classifier": "/qa_outputs"},
    "none": {},
}  # fmt: skip


def _read(raw: Raw) -> ModelConfig:
    if raw.get("n_inner") is None and isinstance(raw.get("n_embd"), int):
        raw = raw | {"n_inner": 4 * raw["n_embd"]}
    return ModelConfig(**_FIXED | sizes_from(raw, _KEYS, _ONLY))


def _write(config: ModelConfig) -> Raw:
    sizes = {their: getattr(config, our) for our, their in _KEYS.items()}
    sizes["activation_function"] = activation_name(config.activation)
    ends = {"bos_token_id": None, "eos_token_id": None}  # a tokenizer knows them, sizes do not
    return {"model_type": "gpt2", **sizes, "embd_pdrop": config.dropout, **_ONLY, **ends}


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    parts: Names = {"embedding.tokens": "wte", "embedding.positions": "wpe", "final_norm": "ln_f"}
    scopes = [("body.", "", parts)]
    scopes += [(f"body.blocks.{n}.", f"h.{n}.", _BLOCK) for n in range(config.layers)]
    return listed(scopes) | _HEADS[kind]


FAMILY = Family(
    "gpt2",
    {
        "clm": "GPT2LMHeadModel", "classify": "GPT2ForSequenceClassification",
        "tag": "GPT2ForTokenClassification", "qa": "GPT2ForQuestionAnswering",
        "none": "GPT2Model",
    },
    _read,
    _layout,
    prefix="transformer.",
    derived=(r"h\.\d+\.attn\.(bias|masked_bias)",),  # the causal mask, as old files have it
    copies={"lm_head.weight": "wte.weight"},
    write=_write,
)  # fmt: skip
