"""ELECTRA (Clark et al. 2020, arXiv:2003.10555): BERT whose embedding may be narrower.

Both bodies open: the generator, which fills masks, and the discriminator, which is the one to train
further. The head that tells replaced tokens is of no use after pretraining and is not read.
"""

from tael.model.config import ModelConfig
from tael.model.families.base import Family, Names, Raw, listed, sizes_from
from tael.model.families.bert import BLOCK, EMBEDDING, KEYS, ONLY
from tael.model.head import HeadKind

__all__ = ["FAMILY"]

_HEADS: dict[HeadKind, Names] = {
    "classify": {"head.pooler.dense": "/classifier.dense",
                 "head.classifier": "/classifier.out_proj"},
    "mlm": {"head.dense": "/generator_predictions.dense",
            "head.norm": "/generator_predictions.LayerNorm", "head": "/generator_lm_head"},
    "tag": {"head.classifier": "/classifier"}, "qa": {"head.classifier": "/qa_outputs"}, "none": {},
}  # fmt: skip


def _read(raw: Raw) -> ModelConfig:
    said = sizes_from(raw, KEYS | {"embedding_size": "embedding_size"}, ONLY)
    if said.setdefault("embedding_size", 128) == said["hidden"]:
        said["embedding_size"] = None  # then there is no projection
    return ModelConfig(pool_activation="gelu", vocab_activation="gelu", **said)


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    scopes: list[tuple[str, str, Names]] = [
        ("body.embedding.", "embeddings.", EMBEDDING),
        ("body.embedding.", "", {"widen": "embeddings_project"}),
    ]
    for n in range(config.layers):
        scopes.append((f"body.blocks.{n}.", f"encoder.layer.{n}.", BLOCK))
    return listed(scopes) | _HEADS[kind]


FAMILY = Family(
    "electra",
    {
        "classify": "ElectraForSequenceClassification", "mlm": "ElectraForMaskedLM",
        "tag": "ElectraForTokenClassification", "qa": "ElectraForQuestionAnswering",
        "none": "ElectraModel",
    },
    _read,
    _layout,
    prefix="electra.",
    derived=(r"embeddings\.position_ids",),
    copies={"generator_lm_head.weight": "embeddings.word_embeddings.weight"},
)  # fmt: skip
