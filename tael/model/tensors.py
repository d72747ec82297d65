"""Tensors between files and a network: mapped, stacked, turned and taken apart again.

A tensor that is ours as it lies stays mapped to its file: opening costs no copy, and pages come in
when they are used. Those that we hold stacked or turned are read straight into their place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tael.errors import CheckpointError
from tael.model.families.base import Family, Names
from tael.model.ffn import Stacked
from tael.model.header import Source
from tael.model.network import Network

__all__ = ["DTYPES", "Place", "places", "read_tensors", "written"]

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Which tensors of a file make up one of our parameters, and how."""

    names: tuple[str, ...]  # relative to the body, or the file's own where `outside`
    parts: tuple[int, ...]  # rows of each; one part: the whole
    shape: tuple[int, ...]  # of our parameter
    outside: bool = False  # the names stand beside the body, not in it
    turned: bool = False  # the matrices lie transposed
    leading: bool = False  # a dimension of one stands before

    def shape_of(self, part: int) -> tuple[int, ...]:
        """Return the shape that the file must have."""
        shape = (self.parts[part], *self.shape[1:]) if self.shape else ()
        shape = shape[::-1] if self.turned else shape
        return (1, *shape) if self.leading else shape


def places(family: Family, network: Network) -> dict[str, Place]:
    """Return where each parameter of `network` lies in a file of the family, by our name."""
    layout = family.layout(network.config, network.kind)
    stacks = {
        f"{name}.{leaf}": module.parts
        for name, module in network.named_modules()
        if isinstance(module, Stacked)
        for leaf in ("weight", "bias")
    }
    return {
        name: _place(name, tuple(parameter.shape), layout, stacks.get(name))
        for name, parameter in network.named_parameters()
    }


def _place(
    name: str, shape: tuple[int, ...], layout: Names, parts: tuple[int, ...] | None
) -> Place:
    module, _, leaf = name.rpartition(".")
    names = layout.get(name)
    if names is None:
        found = layout[module]
        names = [f"{their}.{leaf}" for their in ([found] if isinstance(found, str) else found)]
    names = [names] if isinstance(names, str) else names
    bare = [their.lstrip("/^~") for their in names]
    marks = names[0][: len(names[0]) - len(bare[0])]
    if parts is None or len(names) == 1:
        parts = (shape[0],) if shape else (1,)
    turned = "^" in marks and len(shape) == 2
    return Place(tuple(bare), parts, shape, "/" in marks, turned, "~" in marks)


def read_tensors(
    found: Mapping[str, Sequence[Source]], where: Mapping[str, Place], dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """Return our parameters from their sources, in `dtype` (None: as the file has them)."""
    maps: dict[Path, NDArray[np.uint8]] = {}
    state = {}
    for name, sources in found.items():
        place = where[name]
        kind = dtype or DTYPES[sources[0].entry.dtype]
        whole = len(sources) == 1 and not place.turned
        if whole and DTYPES[sources[0].entry.dtype] == kind:
            state[name] = _mapped(sources[0], maps).view(place.shape)
        else:
            state[name] = _joined(sources, place, kind, maps)
    return state


def _mapped(source: Source, maps: dict[Path, NDArray[np.uint8]]) -> Tensor:
    """Return a tensor whose memory is the file's; what is written to it stays in this process."""
    entry = source.entry
    if entry.stop == entry.start:
        return torch.empty(entry.shape, dtype=DTYPES[entry.dtype])
    if source.path not in maps:
        maps[source.path] = np.memmap(source.path, np.uint8, "c")
    raw = torch.from_numpy(maps[source.path][entry.start : entry.stop])
    try:
        return raw.view(DTYPES[entry.dtype]).view(entry.shape)
    except RuntimeError:  # its first byte lies where no number of this kind may begin
        return raw.clone().view(DTYPES[entry.dtype]).view(entry.shape)


def _joined(
    sources: Sequence[Source],
    place: Place,
    dtype: torch.dtype,
    maps: dict[Path, NDArray[np.uint8]],
) -> Tensor:
    out = torch.empty(place.shape, dtype=dtype)
    for source, part in zip(sources, torch.split(out, list(place.parts)), strict=True):
        if DTYPES[source.entry.dtype] == dtype and not place.turned:
            _fill(part, source)
        else:
            mapped = _mapped(source, maps)
            part.copy_(mapped.T if place.turned else mapped.view(part.shape))
    return out


def _fill(part: Tensor, source: Source) -> None:
    into: Any = part.view(-1).view(torch.uint8).numpy()
    with source.path.open("rb") as file:
        file.seek(source.entry.start)
        size = file.readinto(into)
    if size != source.entry.stop - source.entry.start:
        raise CheckpointError(f"{source.path}: ends within tensor {source.name!r}; fetch it again")


def written(
    family: Family, network: Network, tensors: Mapping[str, Tensor], prefix: str
) -> dict[str, Tensor]:
    """Return parameters (or their gradients) by our name under the file's names, taken apart."""
    where = places(family, network)
    out = {}
    for name, tensor in tensors.items():
        place = where[name]
        parts = torch.split(tensor, list(place.parts)) if len(place.names) > 1 else [tensor]
        for their, part in zip(place.names, parts, strict=True):
            turned = part.T if place.turned else part
            turned = turned[None] if place.leading else turned
            out[their if place.outside else prefix + their] = turned
    return out
