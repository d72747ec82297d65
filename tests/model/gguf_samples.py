"""Small GGUF files of each architecture, written as llama.cpp's converters do."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from model_samples import generator
from torch import Tensor

from tael.model.families import find
from tael.model.head import VocabHead
from tael.model.network import Network, build
from tael.model.norm import RMSNorm
from tael.model.weights import to_file

SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 128,
    "head_dim": 16, "rms_norm_eps": 1e-5, "rope_theta": 5000.0,
}  # fmt: skip
RAW: dict[str, dict[str, Any]] = {
    "llama": SIZES | {"model_type": "llama", "tie_word_embeddings": False},
    "qwen2": SIZES | {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": SIZES | {"model_type": "qwen3", "head_dim": 24, "tie_word_embeddings": True},
    "phi3": SIZES | {"model_type": "phi3", "tie_word_embeddings": False, "pad_token_id": 0},
    "gemma2": SIZES
    | {"model_type": "gemma2", "sliding_window": 8, "query_pre_attn_scalar": 16},
    "gemma3": SIZES
    | {"model_type": "gemma3_text", "sliding_window": 8, "query_pre_attn_scalar": 16},
    "gpt2": {
        "model_type": "gpt2", "vocab_size": 96, "n_embd": 64, "n_layer": 2, "n_head": 4,
        "n_positions": 128, "n_inner": 96, "layer_norm_epsilon": 1e-5,
    },
}  # fmt: skip


def network_of(architecture: str, **more: Any) -> Network:
    """Build a network of which every number matters."""
    raw = RAW[architecture] | more
    config = find(raw["model_type"]).read(raw)
    network = build(config, VocabHead(config, "clm"), seed=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(8).add_(0.05 * torch.randn(parameter.shape, generator=generator()))
    network.raw = raw
    return network.eval()


def write_gguf(
    path: Path,
    architecture: str,
    network: Network,
    *,
    kind: str = "F32",
    more: dict[str, Tensor] | None = None,
    **keys: Any,
) -> None:
    """Write a network; matrices in `kind` where their rows allow it. `keys` are laid over."""
    writer = gguf.GGUFWriter(path, keys.pop("general.architecture", architecture))
    for name, value in (_keys(architecture, network.raw or {}) | keys).items():
        if value is not None:
            _add(writer, name, value)
    extra = {name: tensor.numpy() for name, tensor in (more or {}).items()}
    for name, tensor in (_tensors(architecture, network) | extra).items():
        matrix = tensor.ndim == 2 and tensor.shape[-1] % 32 == 0
        number = gguf.GGMLQuantizationType[kind if matrix else "F32"]
        writer.add_tensor(name, gguf.quantize(tensor, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    if isinstance(value, str):
        writer.add_string(name, value)
    elif isinstance(value, list):
        writer.add_array(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    else:
        writer.add_uint32(name, value)


def _keys(architecture: str, raw: dict[str, Any]) -> dict[str, Any]:
    named = {
        "embedding_length": ("hidden_size", "n_embd"),
        "block_count": ("num_hidden_layers", "n_layer"),
        "attention.head_count": ("num_attention_heads", "n_head"),
        "feed_forward_length": ("intermediate_size", "n_inner"),
        "context_length": ("max_position_embeddings", "n_positions"),
        "attention.head_count_kv": ("num_key_value_heads",), "attention.key_length": ("head_dim",),
        "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
        "attention.layer_norm_epsilon": ("layer_norm_epsilon",), "rope.freq_base": ("rope_theta",),
        "attention.sliding_window": ("sliding_window",), "rope.dimension_count": ("head_dim",),
    }  # fmt: skip
    keys = {
        f"{architecture}.{name}": next((raw[their] for their in theirs if their in raw), None)
        for name, theirs in named.items()
    }
    return keys | {
        "tokenizer.ggml.tokens": [f"t{n}" for n in range(3)],
        "tokenizer.ggml.eos_token_id": 2,
    }


def _tensors(architecture: str, network: Network) -> dict[str, np.ndarray]:
    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, network.config.layers)
    heads = {"q_proj": network.config.heads, "k_proj": network.config.groups}
    shifted = any(isinstance(m, RMSNorm) and m.offset for m in network.modules())
    out = {}
    for name, tensor in to_file(network, dict(network.named_parameters())).items():
        tensor = tensor.detach()
        if architecture == "llama" and (of := heads.get(name.split(".")[-2])):
            tensor = tensor.view(of, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
        if shifted and name.endswith("norm.weight"):
            tensor = tensor + 1
        if architecture == "gpt2" and tensor.dim() == 2 and ".h." in name:
            tensor = tensor.T
        file = names.get_name(name, (".weight", ".bias"))
        assert file is not None, name
        out[file] = tensor.contiguous().numpy()
    return out
