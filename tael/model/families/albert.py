"""ALBERT (Lan et al. 2020, arXiv:1909.11942): one layer used many times, a narrow embedding."""

from tael.errors import CheckpointError
from tael.model.config import ModelConfig
from tael.model.families.base import Family, Names, Raw, listed, sizes_from
from tael.model.families.bert import EMBEDDING, KEYS, ONLY
from tael.model.head import HeadKind

__all__ = ["FAMILY"]

_BLOCK: Names = {
    "attention.qkv": ["attention.query", "attention.key", "attention.value"],
    "attention.out": "attention.dense", "attention_norm": "attention.LayerNorm",
    "ffn.up": "ffn", "ffn.down": "ffn_output", "ffn_norm": "full_layer_layer_norm",
}  # fmt: skip
_HEADS: dict[HeadKind, Names] = {
    "classify": {"head.pooler.dense": "pooler", "head.classifier": "/classifier"},
    "mlm": {"head.dense": "/predictions.dense", "head.norm": "/predictions.LayerNorm",
            "head": "/predictions"},
    "tag": {"head.classifier": "/classifier"}, "qa": {"head.classifier": "/qa_outputs"},
    "pool": {"head.dense": "pooler"}, "none": {},
}  # fmt: skip


def _read(raw: Raw) -> ModelConfig:
    only = ONLY | {"inner_group_num": 1}
    said = sizes_from(raw, KEYS | {"embedding_size": "embedding_size"}, only)
    said.setdefault("embedding_size", 128)
    said.setdefault("activation", "gelu_tanh")
    groups = raw.get("num_hidden_groups", 1)
    if groups < 1 or said["layers"] % groups:
        raise CheckpointError(
            f"num_hidden_layers ({said['layers']}) must be divisible by num_hidden_groups "
            f"({groups}): each group is one layer, used equally often"
        )
    return ModelConfig(sharing=said["layers"] // groups, **said)


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    scopes: list[tuple[str, str, Names]] = [
        ("body.embedding.", "embeddings.", EMBEDDING),
        ("body.embedding.", "encoder.", {"widen": "embedding_hidden_mapping_in"}),
    ]
    for n in range(config.layers // config.sharing):
        scope = f"encoder.albert_layer_groups.{n}.albert_layers.0."
        scopes.append((f"body.blocks.{n}.", scope, _BLOCK))
    return listed(scopes) | _HEADS[kind]


FAMILY = Family(
    "albert",
    {
        "classify": "AlbertForSequenceClassification", "mlm": "AlbertForMaskedLM",
        "tag": "AlbertForTokenClassification", "qa": "AlbertForQuestionAnswering",
        "pool": "AlbertModel", "none": "AlbertModel",
    },
    _read,
    _layout,
    prefix="albert.",
    derived=(r"embeddings\.position_ids", r"sop_classifier\..*"),
    copies={
        "predictions.decoder.weight": "embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
)  # fmt: skip
