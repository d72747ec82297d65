"""Folders of networks with matrices of few bits: written, and opened again bit by bit.

`config.json` is that of the family with a section more:

    "quantization": {"method": "tael", "group": 32, "head": "clm",
                     "matrices": {NAME: {"bits": 4, "parts": [ROWS, ...]}}}

`model.safetensors` holds, under our own names, for each of these NAME.codes (uint8, two codes of
four bits a byte, the first one low; of eight bits first all high halves of a row, then all low
ones) and NAME.scale (for each group its scale and the number of code 8), and what stays as it is.
The table of tokens has a whole code a byte; its scale comes with the number of code 0.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from tael.data.tokenizer import save_tokenizer
from tael.errors import CheckpointError, UsageError
from tael.files import atomic_file, write_text
from tael.model.coded import GROUP, CodedEmbedding, CodedLinear
from tael.model.config import ModelConfig
from tael.model.families import find
from tael.model.families.base import Raw
from tael.model.head import Head, PoolHead, VocabHead
from tael.model.header import WEIGHTS, read_header
from tael.model.network import Network
from tael.model.quant import put, put_table

__all__ = ["is_coded", "open_coded", "save_coded"]

_KEY = "quantization"
_TABLE = "embedding.tokens"
_SCORES = "head.coded"
_HEADS = ("clm", "mlm", "seq2seq", "pool", "none")
_FLOATS = (torch.bfloat16, torch.float16, torch.float32)


def is_coded(raw: Raw) -> bool:
    """Whether a `config.json` is of such a folder."""
    said = raw.get(_KEY)
    return isinstance(said, dict) and said.get("method") == "tael"


def save_coded(folder: Path, network: Network, tokenizer: Tokenizer | None = None) -> None:
    """Write a network that was opened from a checkpoint; each file is whole or absent."""
    assert network.raw is not None, "networks in few bits come from a checkpoint"
    matrices: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, CodedLinear):
            matrices[name] = {"bits": module.bits, "parts": list(module.parts)}
            codes = module.codes()
            tensors[f"{name}.codes"] = codes[:, ::2] | codes[:, 1::2] << 4
            tensors[f"{name}.scale"] = module.scale_GN2
        elif isinstance(module, CodedEmbedding):
            tensors[f"{_TABLE}.codes"] = module.codes_VK
            tensors[f"{_TABLE}.scale"] = module.scale_VG2
    tensors |= {name: parameter.detach() for name, parameter in network.named_parameters()}
    if network.kind not in _HEADS:
        raise UsageError(
            f"{folder}: a network in few bits is saved with one of the heads {', '.join(_HEADS)}, "
            f"found {network.kind}"
        )
    said = {"method": "tael", "group": GROUP, "head": network.kind, "matrices": matrices}
    with atomic_file(folder / WEIGHTS) as draft:
        save_file({name: t.contiguous() for name, t in tensors.items()}, draft, {"format": "pt"})
    raw = network.raw | {_KEY: said}
    write_text(folder / "config.json", json.dumps(raw, indent=2, ensure_ascii=False) + "\n")
    if tokenizer is not None:
        save_tokenizer(tokenizer, folder, network.config.max_positions)


def open_coded(folder: Path, raw: Raw) -> Network:
    """Return the network of a folder of which `raw` is the `config.json`, in evaluation mode.

    Raises CheckpointError where its files do not fit each other.
    """
    read_header(folder / WEIGHTS)  # says which tensor is wrong, before any is read
    tensors = load_file(folder / WEIGHTS)
    said = raw[_KEY]
    try:
        config = find(raw.get("model_type")).read(raw)
        if said["group"] != GROUP:
            raise ValueError(f"groups of {said['group']}, only {GROUP} are known")
        if config.layers > len(tensors) * config.sharing:  # said before so many are built
            raise ValueError(f"{config.layers:,} layers, {len(tensors):,} tensors")
        with torch.device("meta"):
            network = Network(config, _head(config, said["head"]))
        for name, how in said["matrices"].items():
            put(network, name, _matrix(network, name, how, tensors))
        if f"{_TABLE}.codes" in tensors:
            _put_table(network, tensors)
        _fill(network, tensors)
    except (CheckpointError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: its files do not fit each other: {error}") from error
    network.raw = raw
    return network.eval()


def _head(config: ModelConfig, kind: str) -> Head | None:
    if kind not in _HEADS:
        raise ValueError(f"head {kind!r} is not one of {', '.join(_HEADS)}")
    if kind in ("pool", "none"):
        return PoolHead(config) if kind == "pool" else None
    return VocabHead(config, kind)  # type: ignore[arg-type]  # looked at above


def _matrix(network: Network, name: str, how: Raw, tensors: dict[str, Tensor]) -> CodedLinear:
    """Return one of the matrices; takes its tensors out."""
    pairs_NK, scale_GN2 = tensors.pop(f"{name}.codes"), tensors.pop(f"{name}.scale")
    bits, parts = how["bits"], tuple(how["parts"])
    if bits not in (4, 8):
        raise ValueError(f"{name} has {bits!r} bits, only 4 and 8 are known")
    if name == _SCORES and isinstance(network.head, VocabHead):
        shape = (network.config.vocab, network.config.token_width)
        bias = tensors.pop(f"{name}.bias") if network.head.bias is not None else None
        network.head.weight = network.head.bias = None
    else:
        whole = network.get_submodule(name)
        if not isinstance(whole, nn.Linear) or parts != getattr(whole, "parts", ()):
            raise ValueError(f"{name} is no matrix of the parts {list(parts)}")
        shape = (whole.out_features, whole.in_features)
        bias = tensors.pop(f"{name}.bias") if whole.bias is not None else None
    if shape[1] % GROUP:
        raise ValueError(f"{name} has {shape[1]} inputs, no multiple of {GROUP}")
    rows, half = shape[0], shape[1] * bits // 8
    _expect(f"{name}.codes", pairs_NK, (rows, half), (torch.uint8,))
    _expect(f"{name}.scale", scale_GN2, (half * 2 // GROUP, rows, 2), _FLOATS)
    codes_NK = torch.stack([pairs_NK & 15, pairs_NK >> 4], -1).flatten(1)
    return CodedLinear(bits, codes_NK, scale_GN2, bias, parts)


def _put_table(network: Network, tensors: dict[str, Tensor]) -> None:
    codes_VK, scale_VG2 = tensors.pop(f"{_TABLE}.codes"), tensors.pop(f"{_TABLE}.scale")
    rows, width = network.config.vocab, network.config.token_width
    _expect(f"{_TABLE}.codes", codes_VK, (rows, width), (torch.uint8,))
    _expect(f"{_TABLE}.scale", scale_VG2, (rows, width // GROUP, 2), _FLOATS)
    put_table(network, CodedEmbedding(codes_VK, scale_VG2))


def _fill(network: Network, tensors: dict[str, Tensor]) -> None:
    """Put in what stays as it is; all of it must be there, and nothing else."""
    shapes = {name: p.shape for name, p in network.named_parameters() if p.is_meta}
    if odd := sorted(set(shapes) ^ set(tensors)):
        raise ValueError(f"tensors that only one of them names: {', '.join(odd[:4])}")
    for name, tensor in tensors.items():
        _expect(name, tensor, tuple(shapes[name]), _FLOATS)
    network.load_state_dict(tensors, strict=False, assign=True)


def _expect(
    name: str, tensor: Tensor, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...]
) -> None:
    if tuple(tensor.shape) != shape or tensor.dtype not in dtypes:
        raise ValueError(f"{name} is {list(tensor.shape)} {tensor.dtype}, expected {list(shape)}")
