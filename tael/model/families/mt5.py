"""mT5 (Xue et al. 2021, arXiv:2010.11934): T5 v1.1 under another name, for many languages."""

from dataclasses import replace

from tael.model.config import ModelConfig
from tael.model.families.base import Raw
from tael.model.families.t5 import FAMILY as T5

__all__ = ["FAMILY"]


def _read(raw: Raw) -> ModelConfig:
    fixed = {"feed_forward_proj": "gated-gelu"}
    return T5.read(fixed | raw | {"scale_decoder_outputs": False})


FAMILY = replace(
    T5,
    model_type="mt5",
    architectures={kind: f"M{name}" for kind, name in T5.architectures.items()},
    read=_read,
    write=None,
)
