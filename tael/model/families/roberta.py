"""RoBERTa (Liu et al. 2019, arXiv:1907.11692) and XLM-R (Conneau et al. 2020, arXiv:1911.02116).

BERT's encoder; positions are counted from the padding id on, and the classifier has its own layer.
"""

from tael.model.config import ModelConfig
from tael.model.families.base import Family, Names, Raw, sizes_from
from tael.model.families.bert import KEYS, ONLY, body
from tael.model.head import HeadKind

__all__ = ["FAMILY", "XLM"]

_HEADS: dict[HeadKind, Names] = {
    "classify": {"head.pooler.dense": "/classifier.dense",
                 "head.classifier": "/classifier.out_proj"},
    "mlm": {"head.dense": "/lm_head.dense", "head.norm": "/lm_head.layer_norm",
            "head": "/lm_head"},
    "tag": {"head.classifier": "/classifier"}, "qa": {"head.classifier": "/qa_outputs"},
    "pool": {"head.dense": "pooler.dense"}, "none": {},
}  # fmt: skip


def _read(raw: Raw) -> ModelConfig:
    said = sizes_from(raw, KEYS, ONLY)
    before = said.setdefault("pad", 1) + 1  # rows of the position table that no token uses
    rows = said.pop("max_positions", 512)
    return ModelConfig(
        **{"norm_eps": 1e-12} | said, max_positions=rows - before, position_offset=before,
        vocab_activation="gelu",
    )  # fmt: skip


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    return body(config) | _HEADS[kind]


def _family(model_type: str, name: str) -> Family:
    architectures: dict[HeadKind, str] = {
        "classify": f"{name}ForSequenceClassification", "mlm": f"{name}ForMaskedLM",
        "tag": f"{name}ForTokenClassification", "qa": f"{name}ForQuestionAnswering",
        "pool": f"{name}Model", "none": f"{name}Model",
    }  # fmt: skip
    copies = {
        "lm_head.decoder.weight": "embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }
    return Family(
        model_type, architectures, _read, _layout,
        prefix="roberta.", derived=(r"embeddings\.position_ids",), copies=copies,
    )  # fmt: skip


FAMILY = _family("roberta", "Roberta")
XLM = _family("xlm-roberta", "XLMRoberta")
