"""Tensors between files and a network: mapped, stacked, turned and taken apart again.

A tensor that is ours as it lies stays mapped to its file: opening costs no copy, and pages come in
when they are used. Those that we hold stacked, turned or in another type are read straight into
their place, when they are first asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from mmap import ACCESS_COPY, mmap
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
from tael.model.waiting import OpenFile, give, wait

__all__ = ["DTYPES", "Place", "fill", "places", "written"]

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
    """Return where each parameter of `network` lies in a file of the family, by our name.

    What makes vectors of states is in no such file: the task keeps it.
    """
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
        if network.kind != "none" or not name.startswith("head.")
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


def fill(
    network: Network,
    found: Mapping[str, Sequence[Source]],
    where: Mapping[str, Place],
    dtype: torch.dtype | None,
) -> None:
    """Give a network its parameters from their sources, in `dtype` (None: as the file has them).

    CheckpointError, later, where a file turns out to end within a tensor.
    """
    files: dict[Path, _File] = {}
    for name, sources in found.items():
        for source in sources:
            if source.path not in files:
                files[source.path] = _File(source.path)
        place = where[name]
        kind = dtype or DTYPES[sources[0].entry.dtype]
        path, _, leaf = name.rpartition(".")
        module = network.get_submodule(path)
        if len(sources) == 1 and not place.turned and DTYPES[sources[0].entry.dtype] == kind:
            tensor = files[sources[0].path].mapped(sources[0]).view(place.shape)
            give(module, leaf, tensor)
        else:
            parts = [(files[source.path], source) for source in sources]
            wait(module, leaf, partial(_joined, parts, place, kind))


class _File(OpenFile):
    """A file of tensors, mapped where its bytes are ours as they lie."""

    @cached_property
    def bytes_(self) -> NDArray[np.uint8]:
        """All of it; what is written to it stays in this process."""
        return np.frombuffer(mmap(self.number, 0, access=ACCESS_COPY), np.uint8)

    def mapped(self, source: Source) -> Tensor:
        """Return a tensor whose memory is the file's."""
        entry = source.entry
        if entry.stop == entry.start:
            return torch.empty(entry.shape, dtype=DTYPES[entry.dtype])
        raw = torch.from_numpy(self.bytes_[entry.start : entry.stop])
        try:
            return raw.view(DTYPES[entry.dtype]).view(entry.shape)
        except RuntimeError:  # its first byte lies where no number of this kind may begin
            return raw.clone().view(DTYPES[entry.dtype]).view(entry.shape)

    def into(self, part: Tensor, source: Source) -> None:
        """Read a tensor into one of its type."""
        target: Any = part.view(-1).view(torch.uint8).numpy()
        if not self.read(target, source.entry.start):
            raise CheckpointError(
                f"{source.path}: ends within tensor {source.name!r}; fetch it again"
            )


def _joined(parts: Sequence[tuple[_File, Source]], place: Place, dtype: torch.dtype) -> Tensor:
    out = torch.empty(place.shape, dtype=dtype)
    for (file, source), part in zip(parts, torch.split(out, list(place.parts)), strict=True):
        if DTYPES[source.entry.dtype] == dtype and not place.turned:
            file.into(part, source)
        else:
            mapped = file.mapped(source)
            part.copy_(mapped.T if place.turned else mapped.view(part.shape))
    return out


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
