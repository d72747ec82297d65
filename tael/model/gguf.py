"""Open a GGUF file as a network of the family that it was made from.

The file has names, an order of rotary pairs and shifted norms of its own; here they become those of
the family's Hugging Face checkpoints, so the network can be saved as such a folder.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tael.errors import CheckpointError
from tael.model.coded import Blocks, CodedLinear
from tael.model.families import find
from tael.model.families.base import Family
from tael.model.gguf_blocks import blocks_of
from tael.model.gguf_config import raw_config
from tael.model.gguf_header import Header, Stored, dequantised, read_gguf
from tael.model.head import VocabHead
from tael.model.network import Network
from tael.model.norm import RMSNorm
from tael.model.quant import put, put_vocabulary
from tael.model.tensors import places

__all__ = ["open_gguf"]

_log = logging.getLogger(__name__)
_ROWS = 4096  # so many are dequantised at once: memory above the network's own stays small
_MOST_WEIGHTS_A_BYTE = 8
_NOT_WEIGHTS = ("rope_freqs.weight",)  # read as config
_SIDE_BY_SIDE = ("llama",)  # whose rotary pairs are neighbours in the file, not half a head apart


def open_gguf(path: Path, dtype: torch.dtype | None = None) -> tuple[Network, dict[str, Any]]:
    """Return the network, in evaluation mode, and the file's keys, tokenizer.* among them.

    `dtype` float32 or bfloat16 (float16, float64): every tensor is turned into such numbers. None:
    matrices of four bits stay four bits, the others become bfloat16. Raises CheckpointError for a
    file that is damaged, or a model that is not known here; UsageError without the gguf library.
    """
    header = read_gguf(path)
    try:
        raw = raw_config(header)
        family = find(raw["model_type"])
        config = family.read(raw)
    except (CheckpointError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: its model cannot be understood: {error}") from error
    if max(config.layers, config.parameters() // _MOST_WEIGHTS_A_BYTE) > path.stat().st_size:
        # Said before anything of that size is built.
        raise CheckpointError(
            f"{path}: {config.parameters():,} parameters are not in so small a file"
        )
    with torch.device("meta"):  # shapes only: every tensor is made once, as it is to be
        network = Network(config, VocabHead(config, "clm"))
    found = _found(header, family, network)
    if dtype is None:
        found = _coded_parts(network, found)
    state = {name: _read(parts, dtype or torch.bfloat16) for name, parts in found.items()}
    network.load_state_dict(state, strict=False, assign=True)  # what is shared stands once
    network.raw = raw
    return network.eval(), header.keys


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one of our parameters, in the file."""

    path: Path
    stored: Stored
    shape: tuple[int, ...]  # of the whole parameter
    shift: float = 0.0  # is taken off
    pairs: int | None = None  # heads in which rotary pairs stand side by side


def _found(header: Header, family: Family, network: Network) -> dict[str, list[_Part]]:
    """Return what makes up each of our parameters; CheckpointError with what does not fit."""
    import gguf

    config = network.config
    architecture = header.keys["general.architecture"]
    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    theirs = gguf.get_tensor_name_map(number, config.layers)
    heads = (
        {"attn_q": config.heads, "attn_k": config.groups} if architecture in _SIDE_BY_SIDE else {}
    )
    found: dict[str, list[_Part]] = {}
    problems, used = [], set(_NOT_WEIGHTS)
    for name, place in places(family, network).items():
        module = network.get_submodule(name.rpartition(".")[0])
        shift = module.offset if isinstance(module, RMSNorm) else 0.0
        place = replace(place, turned=False, leading=False)  # every file has outputs first
        for part, their in enumerate(place.names):
            whole = their if place.outside else family.prefix + their
            file = theirs.get_name(whole, (".weight", ".bias")) or whole
            stored = header.tensors.get(file)
            if stored is None:
                problems.append(f"{file} is missing")
                continue
            if stored.shape != place.shape_of(part):
                shape = list(place.shape_of(part))
                problems.append(f"{file} is {list(stored.shape)}, expected {shape}")
            used.add(file)
            pairs = heads.get(file.split(".")[-2])
            found.setdefault(name, []).append(_Part(header.path, stored, place.shape, shift, pairs))
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise CheckpointError(
            f"{header.path}: does not fit its keys: {'; '.join(problems[:8])}{more}"
        )
    if spare := sorted(set(header.tensors) - used):
        shown = ", ".join(spare[:4]) + (f" and {len(spare) - 4} more" if len(spare) > 4 else "")
        _log.warning("%s: %d tensors not used: %s", header.path, len(spare), shown)
    return found


def _read(parts: Sequence[_Part], dtype: torch.dtype) -> Tensor:
    out = torch.empty(parts[0].shape, dtype=dtype)
    start = 0
    for part in parts:
        rows = part.stored.shape[0]
        into = out[start : start + rows]
        for first in range(0, rows, _ROWS):
            _fill(into, part, first, min(first + _ROWS, rows))
        if part.pairs is not None:
            into.copy_(into[half_apart(rows, part.pairs)])
        start += rows
    return out


def _fill(into: Tensor, part: _Part, first: int, last: int) -> None:
    """Put some of a tensor's numbers in their place."""
    at = slice(first, last) if len(part.stored.shape) > 1 else slice(None)  # a vector is one row
    values = torch.from_numpy(dequantised(part.path, part.stored, at).copy())
    target = into[first:last] if into.dim() > 1 else into
    target.copy_(values.view(target.shape) - part.shift)


def _coded_parts(network: Network, found: dict[str, list[_Part]]) -> dict[str, list[_Part]]:
    """Put matrices that lie in blocks of 32 in their place as they are; return what else there is.

    The token embedding is taken so in eight bits only, and with it the scores where it is tied.
    """
    rest = dict(found)
    for name, module in list(network.named_modules()):
        blocks = _blocks(found[f"{name}.weight"]) if isinstance(module, nn.Linear) else None
        if blocks is not None:
            bias = rest.pop(f"{name}.bias", None)
            bias_N = None if bias is None else _read(bias, torch.bfloat16)
            put(network, name, CodedLinear.of(blocks, bias_N, getattr(module, "parts", ())))
            del rest[f"{name}.weight"]
    tokens = _blocks(found["body.embedding.tokens.weight"])
    own = found.get("head.weight")
    scores = tokens if own is None else _blocks(own)
    if tokens is not None and scores is not None and tokens.bits == scores.bits == 8:
        put_vocabulary(network, tokens, scores, torch.bfloat16)
        for name in ("body.embedding.tokens.weight", "head.weight"):
            rest.pop(name, None)
    return rest


def _blocks(parts: Sequence[_Part]) -> Blocks | None:
    """Return rows as they lie, stacked; None where their blocks are not of one kind."""
    blocks = []
    for part in parts:
        block = blocks_of(part.stored)
        if block is None:
            return None
        if part.pairs is not None:
            block = block.rows(half_apart(len(block.codes_NK), part.pairs))
        blocks.append(block)
    return Blocks.stacked(blocks) if len({block.bits for block in blocks}) == 1 else None


def half_apart(rows: int, heads: int) -> Tensor:
    """Return which row goes where so that a rotary pair stands half a head apart, as we turn it."""
    return torch.arange(rows).view(heads, -1, 2).transpose(1, 2).flatten()
