"""BERT (Devlin et al. 2019, arXiv:1810.04805): an encoder, post-norm, learned positions."""

from tael.model.config import ModelConfig
from tael.model.families.base import Family, Names, Raw, activation_name, listed, sizes_from
from tael.model.head import HeadKind

__all__ = ["BLOCK", "EMBEDDING", "FAMILY", "KEYS", "ONLY", "body"]

KEYS = {  # ours: theirs; what a file does not say has BERT's default
    "vocab": "vocab_size", "hidden": "hidden_size", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "ffn": "intermediate_size",
    "max_positions": "max_position_embeddings", "types": "type_vocab_size",
    "activation": "hidden_act", "norm_eps": "layer_norm_eps", "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob", "pad": "pad_token_id",
}  # fmt: skip
ONLY = {"position_embedding_type": "absolute", "is_decoder": False, "tie_word_embeddings": True}
EMBEDDING: Names = {
    "tokens": "word_embeddings", "positions": "position_embeddings",
    "types": "token_type_embeddings", "norm": "LayerNorm",
}  # fmt: skip
BLOCK: Names = {
    "attention.qkv": ["attention.self.query", "attention.self.key", "attention.self.value"],
    "attention.out": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
    "ffn.up": "intermediate.dense", "ffn.down": "output.dense", "ffn_norm": "output.LayerNorm",
}  # fmt: skip
_HEADS: dict[HeadKind, Names] = {
    "classify": {"head.pooler.dense": "pooler.dense", "head.classifier": "/classifier"},
    "mlm": {"head.dense": "/cls.predictions.transform.dense",
            "head.norm": "/cls.predictions.transform.LayerNorm", "head": "/cls.predictions"},
    "tag": {"head.classifier": "/classifier"}, "qa": {"head.classifier": "/qa_outputs"},
    "pool": {"head.dense": "pooler.dense"}, "none": {},
}  # fmt: skip


def _read(raw: Raw) -> ModelConfig:
    return ModelConfig(**sizes_from(raw, KEYS, ONLY))


def _write(config: ModelConfig) -> Raw:
    sizes = {their: getattr(config, our) for our, their in KEYS.items()}
    sizes["hidden_act"] = activation_name(config.activation)
    return {"model_type": "bert", **sizes, **ONLY, "initializer_range": 0.02}


def body(config: ModelConfig) -> Names:
    """Map our modules below the head to theirs."""
    scopes = [("body.embedding.", "embeddings.", EMBEDDING)]
    for n in range(config.layers):
        scopes.append((f"body.blocks.{n}.", f"encoder.layer.{n}.", BLOCK))
    return listed(scopes)


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    return body(config) | _HEADS[kind]


FAMILY = Family(
    "bert",
    {
        "classify": "BertForSequenceClassification", "mlm": "BertForMaskedLM",
        "tag": "BertForTokenClassification", "qa": "BertForQuestionAnswering",
        "pool": "BertModel", "none": "BertModel",
    },
    _read,
    _layout,
    prefix="bert.",
    aliases={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
    derived=(r"embeddings\.position_ids", r"cls\.seq_relationship\..*"),
    copies={
        "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    write=_write,
)  # fmt: skip
