"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT with fewer layers and no segments."""

from tael.model.config import ModelConfig
from tael.model.families.base import Family, Names, Raw, listed, sizes_from
from tael.model.head import HeadKind

__all__ = ["FAMILY"]

_KEYS = {
    "vocab": "vocab_size", "hidden": "dim", "layers": "n_layers", "heads": "n_heads",
    "ffn": "hidden_dim", "max_positions": "max_position_embeddings", "activation": "activation",
    "dropout": "dropout", "attention_dropout": "attention_dropout", "pad": "pad_token_id",
}  # fmt: skip
_EMBEDDING: Names = {
    "tokens": "word_embeddings", "positions": "position_embeddings", "norm": "LayerNorm",
}  # fmt: skip
_BLOCK: Names = {
    "attention.qkv": ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    "attention.out": "attention.out_lin", "attention_norm": "sa_layer_norm",
    "ffn.up": "ffn.lin1", "ffn.down": "ffn.lin2", "ffn_norm": "output_layer_norm",
}  # fmt: skip
_HEADS: dict[HeadKind, Names] = {
    "classify": {"head.pooler.dense": "/pre_classifier", "head.classifier": "/classifier"},
    "mlm": {"head.dense": "/vocab_transform", "head.norm": "/vocab_layer_norm",
            "head": "/vocab_projector"},
    "tag": {"head.classifier": "/classifier"}, "qa": {"head.classifier": "/qa_outputs"}, "none": {},
}  # fmt: skip


def _read(raw: Raw) -> ModelConfig:
    said = sizes_from(raw, _KEYS, {"tie_word_embeddings": True})
    return ModelConfig(types=0, pool_activation="relu", **said)


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    scopes = [("body.embedding.", "embeddings.", _EMBEDDING)]
    for n in range(config.layers):
        scopes.append((f"body.blocks.{n}.", f"transformer.layer.{n}.", _BLOCK))
    return listed(scopes) | _HEADS[kind]


FAMILY = Family(
    "distilbert",
    {
        "classify": "DistilBertForSequenceClassification", "mlm": "DistilBertForMaskedLM",
        "tag": "DistilBertForTokenClassification", "qa": "DistilBertForQuestionAnswering",
        "none": "DistilBertModel",
    },
    _read,
    _layout,
    prefix="distilbert.",
    copies={"vocab_projector.weight": "embeddings.word_embeddings.weight"},
)  # fmt: skip
