"""The parts of a network that is trained from nothing: one set an architecture.

A decoder is built as Llama is (Touvron et al. 2023, arXiv:2302.13971, section 2.2), but that its
scores come from the token embedding: at these sizes that matrix is most of the weights. An
encoder-decoder is built as T5 v1.1 (Shazeer 2020, arXiv:2002.05202, for its gated layer): unlike
BART it normalises before each layer, so it needs no careful warm-up, it has no table of positions
that ends at the longest text seen, and its encoder is told apart from its decoder by a bias alone.
Both open in transformers.
"""

from typing import Any

from tael.model.config import ModelConfig
from tael.recipe.schema import Model

__all__ = ["new_config"]

_PLAIN: dict[str, Any] = {  # what both have unlike BERT
    "norm": "rms", "norm_place": "pre", "embedding_norm": False, "final_norm": True,
    "gated": True, "types": 0, "qkv_bias": False, "out_bias": False, "ffn_bias": False,
    "vocab_transform": False, "vocab_bias": False, "norm_eps": 1e-6, "pool": "last",
}  # fmt: skip
_PARTS: dict[str, dict[str, Any]] = {
    "encoder": {},
    "decoder": _PLAIN | {
        "stacks": "decoder", "position": "rotary", "activation": "silu", "pool_activation": "none",
        "class_bias": False,
    },
    # Scores of attention are not scaled, as in T5; new weights are small enough for that.
    "encoder-decoder": _PLAIN | {
        "stacks": "both", "position": "relative", "activation": "gelu_tanh", "attention_scale": 1.0,
    },
}  # fmt: skip
_FEWEST_POSITIONS = 512


def new_config(model: Model, vocab: int, max_tokens: int) -> ModelConfig:
    """Return the config of a new network of the recipe's sizes, for texts of `max_tokens`."""
    parts = dict(_PARTS[model.architecture])
    positions = max(_FEWEST_POSITIONS, max_tokens)
    if model.architecture == "encoder-decoder":
        parts |= {"ffn_dropout": model.dropout}
        positions = 1 << 20  # there is no table of them, and no limit in the folder
    return ModelConfig(
        vocab=vocab,
        hidden=model.hidden,
        layers=model.layers,
        heads=model.heads,
        ffn=model.ffn,
        max_positions=positions,
        dropout=model.dropout,
        attention_dropout=model.dropout,
        droppath=model.droppath,
        **parts,
    )
