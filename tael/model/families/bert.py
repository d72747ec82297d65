"""The BERT family: how its config and its tensors map to the one Transformer, both ways."""

from typing import Any

from tael.errors import CheckpointError
from tael.model.config import ModelConfig
from tael.model.head import HeadKind

__all__ = ["ARCHITECTURES", "DERIVED", "config_from", "config_to", "layout", "plain"]

ARCHITECTURES: dict[HeadKind, str] = {
    "classify": "BertForSequenceClassification", "mlm": "BertForMaskedLM",
    "pool": "BertModel", "none": "BertModel"}  # fmt: skip
_KEYS = {  # ours: theirs; what a file does not say has BERT's default
    "vocab": "vocab_size", "hidden": "hidden_size", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "ffn": "intermediate_size",
    "max_positions": "max_position_embeddings", "types": "type_vocab_size",
    "activation": "hidden_act", "norm_eps": "layer_norm_eps", "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob", "pad": "pad_token_id",
}  # fmt: skip
_ONLY = {"position_embedding_type": "absolute", "is_decoder": False, "tie_word_embeddings": True}
_EMBEDDING = {
    "tokens": ["word_embeddings"], "positions": ["position_embeddings"],
    "types": ["token_type_embeddings"], "norm": ["LayerNorm"],
}  # fmt: skip
_BLOCK = {
    "attention.qkv": ["attention.self.query", "attention.self.key", "attention.self.value"],
    "attention.out": ["attention.output.dense"], "ffn.up": ["intermediate.dense"],
    "attention_norm": ["attention.output.LayerNorm"], "ffn_norm": ["output.LayerNorm"],
    "ffn.down": ["output.dense"]}  # fmt: skip
_HEADS: dict[HeadKind, dict[str, list[str]]] = {
    "classify": {"head.pooler.dense": ["pooler.dense"], "head.classifier": ["classifier"]},
    "mlm": {"head.dense": ["cls.predictions.transform.dense"],
            "head.norm": ["cls.predictions.transform.LayerNorm"], "head": ["cls.predictions"]},
    "pool": {"head.dense": ["pooler.dense"]}, "none": {},
}  # fmt: skip
_ALIASES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
# In files of some versions, and known from the config or from another tensor.
DERIVED = ("embeddings.position_ids",
           "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")  # fmt: skip


def config_from(raw: dict[str, Any]) -> ModelConfig:
    """Read a `config.json`; CheckpointError with all its problems."""
    problems = [
        f"{key} {raw[key]!r} is not supported, only {value!r}"
        for key, value in _ONLY.items()
        if key in raw and raw[key] != value
    ]
    said = {our: raw[their] for our, their in _KEYS.items() if raw.get(their) is not None}
    sizes = ("vocab", "hidden", "layers", "heads", "ffn")
    problems += [f"{_KEYS[our]} is missing" for our in sizes if our not in said]
    if problems:
        raise CheckpointError("; ".join(problems))
    return ModelConfig(**said)


def config_to(config: ModelConfig) -> dict[str, Any]:
    """Write a `config.json`, without what depends on the head."""
    sizes = {their: getattr(config, our) for our, their in _KEYS.items()}
    return {"model_type": "bert", **sizes, **_ONLY, "initializer_range": 0.02}


def layout(layers: int, kind: HeadKind) -> dict[str, list[str]]:
    """Map each of our modules to theirs, whose rows stacked in this order are ours."""
    scopes = [("body.embedding", "embeddings", _EMBEDDING)]
    scopes += [(f"body.blocks.{n}", f"encoder.layer.{n}", _BLOCK) for n in range(layers)]
    modules = {
        f"{ours}.{our}": [f"{theirs}.{name}" for name in names]
        for ours, theirs, parts in scopes
        for our, names in parts.items()
    }
    return modules | _HEADS[kind]


def plain(name: str) -> str:
    """Return a file's tensor name as `layout` has it: no `bert.`, today's names of the norms."""
    for old, new in _ALIASES.items():
        name = name.replace(old, new)
    return name.removeprefix("bert.")
