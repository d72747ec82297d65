"""What a GGUF file says of its model, as the `config.json` of its family."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tael.errors import CheckpointError
from tael.model.families.base import Raw
from tael.model.gguf_header import Header, Stored, dequantised

__all__ = ["raw_config"]

_KEYS = {  # the file's, after the architecture's name: what its config.json has
    "embedding_length": "hidden_size", "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads", "feed_forward_length": "intermediate_size",
    "context_length": "max_position_embeddings",
}  # fmt: skip
_MAYBE = {"attention.head_count_kv": "num_key_value_heads", "attention.key_length": "head_dim"}
_ENDS = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}


class _Said:
    """The keys of one architecture, asked by their short names."""

    def __init__(self, header: Header, architecture: str) -> None:
        self.header, self.architecture = header, architecture

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value; a float32 as the shortest number that is it: 1e-05, not 9.9999997e-06."""
        value = self.header.keys.get(f"{self.architecture}.{name}", default)
        if isinstance(value, list) and value and value.count(value[0]) == len(value):
            value = value[0]  # one for each layer, all the same
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def need(self, name: str) -> Any:
        """Return a value; CheckpointError where it is absent."""
        value = self.get(name)
        if value is None:
            raise CheckpointError(f"{self.architecture}.{name} is missing")
        return value


def raw_config(header: Header) -> Raw:
    """Return a `config.json`; CheckpointError for an architecture that is not known here."""
    architecture = header.keys.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in _ARCHITECTURES:
        raise CheckpointError(
            f"general.architecture {architecture!r} is not one of: "
            + ", ".join(sorted(_ARCHITECTURES))
        )
    said = _Said(header, architecture)
    if said.get("expert_count", 0):
        raise CheckpointError("mixtures of experts are not supported")
    tokens = header.tensors.get("token_embd.weight")
    if tokens is None or len(tokens.shape) != 2:
        raise CheckpointError("it has no matrix token_embd.weight")
    raw: Raw = {
        "vocab_size": tokens.shape[0],
        "tie_word_embeddings": "output.weight" not in header.tensors,
    }
    for name, their in _ENDS.items():
        number = header.keys.get(f"tokenizer.ggml.{name}_token_id")
        known = isinstance(number, int) and 0 <= number < tokens.shape[0]
        raw[their] = number if known else None  # else some families' own defaults would hold
    return raw | _ARCHITECTURES[architecture](said)


def _decoder(said: _Said) -> Raw:
    """Return what all but GPT-2 say in the same words."""
    raw = {our: said.need(name) for name, our in _KEYS.items()}
    raw |= {our: value for name, our in _MAYBE.items() if (value := said.get(name)) is not None}
    raw["rms_norm_eps"] = said.need("attention.layer_norm_rms_epsilon")
    width = raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"]
    turning = said.get("rope.dimension_count", width)
    if turning != width and said.architecture != "phi3":
        raise CheckpointError(f"of a head's {width} numbers {turning} turn, only all are supported")
    base = {"rope_type": "default", "rope_theta": said.get("rope.freq_base", 10_000.0)}
    return raw | {"rope_parameters": base | _rescaled(said, raw, base["rope_theta"])}


def _rescaled(said: _Said, raw: Raw, base: float) -> Raw:
    kind = said.get("rope.scaling.type", "none")
    if kind == "linear":
        return {"rope_type": "linear", "factor": said.need("rope.scaling.factor")}
    long = "rope_factors_long.weight" in said.header.tensors
    if kind != "none" or long:
        found = "longrope" if long else kind
        raise CheckpointError(
            f"rope scaling {found!r} is not supported, only none, linear and that of Llama 3"
        )
    divisors = said.header.tensors.get("rope_freqs.weight")
    return {} if divisors is None else _llama3(said, divisors, raw, base)


def _llama3(said: _Said, stored: Stored, raw: Raw, base: float) -> Raw:
    """Return the numbers that made the divisors: the file has only these, one a frequency.

    The three numbers beside the factor are Llama 3's own; CheckpointError where they were others.
    """
    divisors_K = dequantised(said.header.path, stored).reshape(-1)
    factor = float(divisors_K.max())
    if factor == 1.0:
        return {}
    width = raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"]
    low, high, original = 1.0, 4.0, 8192
    turns_K = original * base ** (-np.arange(0, width, 2) / width) / (2 * np.pi)
    kept_K = ((turns_K - low) / (high - low)).clip(0, 1)
    expected_K = 1 / ((1 - kept_K) / factor + kept_K)
    if expected_K.shape != divisors_K.shape or not np.allclose(expected_K, divisors_K, rtol=1e-4):
        raise CheckpointError("rope_freqs are not those of Llama 3")
    return {
        "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }  # fmt: skip


def _llama(said: _Said) -> Raw:
    biased = "blk.0.attn_q.bias" in said.header.tensors
    wide = "blk.0.ffn_up.bias" in said.header.tensors
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu",
        "attention_bias": biased, "mlp_bias": wide, **_decoder(said),
    }  # fmt: skip


def _qwen2(said: _Said) -> Raw:
    named = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu"}
    return named | _decoder(said)


def _qwen3(said: _Said) -> Raw:
    named = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu"}
    return named | {"attention_bias": False} | _decoder(said)


def _phi3(said: _Said) -> Raw:
    raw = _decoder(said)
    raw["head_dim"] = raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"]
    raw["partial_rotary_factor"] = (
        said.get("rope.dimension_count", raw["head_dim"]) / raw["head_dim"]
    )
    window = said.get("attention.sliding_window") or None
    return raw | {
        "model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_act": "silu",
        "sliding_window": window,
        "original_max_position_embeddings": raw["max_position_embeddings"],
    }  # fmt: skip


def _gemma2(said: _Said) -> Raw:
    raw = _gemma(said, largest=46)
    return raw | {
        "model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"],
        "attn_logit_softcapping": said.get("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": said.get("final_logit_softcapping", 30.0),
    }  # fmt: skip


def _gemma3(said: _Said) -> Raw:
    raw = _gemma(said, largest=62)
    far = {"rope_theta": said.get("rope.freq_base", 1_000_000.0)}
    near = {"rope_type": "default", "rope_theta": said.get("rope.freq_base_swa", 10_000.0)}
    raw["rope_parameters"] = {
        "full_attention": raw["rope_parameters"] | far, "sliding_attention": near,
    }  # fmt: skip
    return raw | {
        "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"],
        "final_logit_softcapping": said.get("final_logit_softcapping"),
    }  # fmt: skip


def _gemma(said: _Said, largest: int) -> Raw:
    """Return what 2 and 3 share; how scores are scaled is in no key, but goes by size."""
    raw = _decoder(said)
    raw["head_dim"] = raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"]
    by_width = raw["hidden_size"] // raw["num_attention_heads"]
    raw["query_pre_attn_scalar"] = (
        by_width if raw["num_hidden_layers"] == largest else raw["head_dim"]
    )
    raw["sliding_window"] = said.need("attention.sliding_window")
    return raw | {"hidden_activation": "gelu_pytorch_tanh"}


def _gpt2(said: _Said) -> Raw:
    keys = {
        "embedding_length": "n_embd", "block_count": "n_layer", "attention.head_count": "n_head",
        "feed_forward_length": "n_inner", "context_length": "n_positions",
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
    }  # fmt: skip
    return {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new", **{our: said.need(name) for name, our in keys.items()},
    }  # fmt: skip


_ARCHITECTURES: dict[str, Callable[[_Said], Raw]] = {
    "llama": _llama, "qwen2": _qwen2, "qwen3": _qwen3, "phi3": _phi3, "gemma2": _gemma2,
    "gemma3": _gemma3, "gpt2": _gpt2,
}  # fmt: skip
