"""Gemma 2 (arXiv:2408.00118) and the text models of Gemma 3 (arXiv:2503.19786).

Like Llama, with norms on both sides of every branch, scaled embeddings and layers that see a window
only. 2: attention scores and logits are capped. 3: queries and keys are normed.
"""

from dataclasses import replace
from typing import Any

from tael.errors import CheckpointError
from tael.model.config import ModelConfig
from tael.model.families.base import Names, Raw, listed, locals_from, rotary_of_two
from tael.model.families.llama import BLOCK
from tael.model.families.llama import FAMILY as LLAMA
from tael.model.families.llama import layout as llama_layout
from tael.model.head import HeadKind

__all__ = ["GEMMA2", "GEMMA3"]

_BLOCK: Names = BLOCK | {
    "attention_after": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "ffn_after": "post_feedforward_layernorm",
}  # fmt: skip


def _config(raw: Raw, every: int, **more: Any) -> ModelConfig:
    """Read what is as in Llama, under Llama's names; then what differs."""
    bend = raw.get("hidden_activation") or "gelu_pytorch_tanh"
    tied = raw.get("tie_word_embeddings", True)
    llama = LLAMA.read(raw | {"hidden_act": bend, "tie_word_embeddings": tied})
    return replace(
        llama,
        norm_place="sandwich",
        norm_offset=1.0,
        embedding_scale=llama.hidden**0.5,
        attention_scale=raw.get("query_pre_attn_scalar", 256) ** -0.5,
        attention_cap=raw.get("attn_logit_softcapping"),
        logit_cap=raw.get("final_logit_softcapping"),
        window=raw.get("sliding_window", 4096),
        local=locals_from(raw, llama.layers, range(every - 1, llama.layers, every)),
        **more,
    )


def _gemma2(raw: Raw) -> ModelConfig:
    if raw.get("use_bidirectional_attention"):
        raise CheckpointError("use_bidirectional_attention True is not supported, only False")
    caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    return _config(caps | raw, every=2)


def _gemma3(raw: Raw) -> ModelConfig:
    kinds = raw.get("rope_parameters") or {}
    far = kinds.get("full_attention") or raw.get("rope_scaling") or {}
    far = {"rope_theta": raw.get("rope_theta") or 1_000_000.0} | far
    near = {"rope_theta": raw.get("rope_local_base_freq") or 10_000.0}
    near |= kinds.get("sliding_attention") or {}
    return _config(
        raw | {"rope_parameters": far},
        every=raw.get("sliding_window_pattern", 6),
        qk_norm=True,
        # Embedding models of the family look both ways, half the window on each side.
        stacks="encoder" if raw.get("use_bidirectional_attention") else "decoder",
        **rotary_of_two(far, near),
    )


def _layout(config: ModelConfig, kind: HeadKind) -> Names:
    scopes = [(f"body.blocks.{n}.", f"layers.{n}.", _BLOCK) for n in range(config.layers)]
    return llama_layout(config, kind) | listed(scopes)


GEMMA2 = replace(
    LLAMA,
    model_type="gemma2",
    architectures={
        "clm": "Gemma2ForCausalLM", "classify": "Gemma2ForSequenceClassification",
        "tag": "Gemma2ForTokenClassification", "none": "Gemma2Model",
    },
    read=_gemma2,
    layout=_layout,
    write=None,
)  # fmt: skip
GEMMA3 = replace(
    GEMMA2,
    model_type="gemma3_text",
    architectures={
        "clm": "Gemma3ForCausalLM",
        "classify": "Gemma3TextForSequenceClassification",
        "none": "Gemma3TextModel",
    },
    read=_gemma3,
)
