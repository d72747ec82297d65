"""Small matrices beside frozen ones: what is learned instead of the weights themselves.

LoRA: Hu et al. 2021, arXiv:2106.09685; DoRA, which learns the length of each row apart: Liu et al.
2024, arXiv:2402.09353. Queries, keys and values lie in one matrix here, so the adapters of one
layer are computed as one product too, and each is still its own.

Letters: B rows · T positions · D inputs · F outputs of a layer · R ranks of its adapters, together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tael.errors import RecipeError
from tael.model.head import VocabHead
from tael.model.network import Network
from tael.recipe.schema import Lora

__all__ = ["Adapted", "Low", "Taken", "adapters", "attach", "merge", "replace_with", "roles"]

_ROLES: dict[str, tuple[str, ...]] = {  # what each layer of a block computes, by its name's end
    "attention.qkv": ("q", "k", "v"), "cross.q": ("q",), "cross.kv": ("k", "v"),
    "attention.out": ("out",), "cross.out": ("out",), "ffn.up": ("gate", "up"),
    "ffn.down": ("down",),
}  # fmt: skip


class Low(nn.Module):
    """What is added to one matrix: scale · b a, of rank R; with `magnitude`, DoRA's row lengths."""

    def __init__(
        self, a_RD: Tensor, b_FR: Tensor, scale: float, magnitude_F: Tensor | None = None
    ) -> None:
        super().__init__()
        self.a, self.b, self.scale = nn.Parameter(a_RD), nn.Parameter(b_FR), scale
        self.magnitude = None if magnitude_F is None else nn.Parameter(magnitude_F)


class Adapted(nn.Module):
    """A frozen linear layer with adapters on some of its rows: `rows` says which, by role."""

    def __init__(
        self, plain: nn.Linear, lows: Mapping[str, Low], rows: Mapping[str, slice], dropout: float
    ) -> None:
        super().__init__()
        self._plain = (plain,)  # in a tuple: its parameters are this module's own
        self.weight, self.bias = plain.weight, plain.bias
        self.parts: tuple[int, ...] = getattr(plain, "parts", (plain.out_features,))
        self.rows = {role: rows[role] for role in lows}
        self.dropout = nn.Dropout(dropout)
        for role, low in lows.items():
            self.add_module(role, low)

    @property
    def lows(self) -> dict[str, Low]:
        """The adapters by role, in the order of their rows."""
        return {role: self.get_submodule(role) for role in self.rows}  # type: ignore[misc]

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return (B, T, F)."""
        a_RD, b_FR = self._whole()
        low_NR = F.linear(self.dropout(x_BTD), a_RD).flatten(0, -2)
        out_BTF = F.linear(x_BTD, self.weight, None if self._directed else self.bias)
        # Summed within the product: no other (B, T, F) is written, read and added, both ways.
        out_BTF = torch.addmm(out_BTF.flatten(0, -2), low_NR, b_FR.T).view_as(out_BTF)
        if not self._directed:
            return out_BTF
        out_BTF = out_BTF * self._lengths(self.weight + b_FR.detach() @ a_RD.detach())
        return out_BTF if self.bias is None else out_BTF + self.bias

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return the plain layer, its weights changed in place to what this one computes."""
        plain, kind = self._plain[0], self.weight.dtype
        wide = torch.float64 if kind == torch.float64 else torch.float32
        a_RD, b_FR = self._whole()
        weight_FD = self.weight.to(wide) + b_FR.to(wide) @ a_RD.to(wide)
        if self._directed:
            weight_FD *= self._lengths(weight_FD)[:, None]
        self.weight.copy_(weight_FD)
        return plain

    @property
    def _directed(self) -> bool:
        return any(low.magnitude is not None for low in self.lows.values())

    def _whole(self) -> tuple[Tensor, Tensor]:
        """Return the adapters as one: a with all ranks, b with zeros where rows have none."""
        lows, outputs = self.lows, len(self.weight)
        columns = [
            F.pad(low.b * low.scale, (0, 0, self.rows[role].start, outputs - self.rows[role].stop))
            for role, low in lows.items()
        ]
        return torch.cat([low.a for low in lows.values()]), torch.cat(columns, dim=1)

    def _lengths(self, weight_FD: Tensor) -> Tensor:
        """Return what each row is multiplied by, so that it has the length that was learned.

        The length it has is a constant to the gradient (Liu et al. 2024, section 4.3).
        """
        now_F = weight_FD.detach().norm(dim=1)
        lengths_F = torch.ones_like(now_F)
        pieces, at = [], 0
        for role, low in self.lows.items():
            here = self.rows[role]
            assert low.magnitude is not None, "all adapters of a network are of one kind"
            pieces += [lengths_F[at : here.start], low.magnitude / now_F[here]]
            at = here.stop
        return torch.cat([*pieces, lengths_F[at:]])


@dataclass(frozen=True, slots=True)
class Taken:
    """An adapter that was merged: to which matrix of which layer it belonged, and what it was."""

    layer: str  # the name of the module
    role: str
    low: Low


def roles(name: str, plain: nn.Module) -> dict[str, slice]:
    """Return the rows of each matrix in a layer of a block, by what it computes; else nothing."""
    if not isinstance(plain, nn.Linear) or ".blocks." not in name:
        return {}
    known = next((r for end, r in _ROLES.items() if name.endswith(f".{end}")), ())
    parts: Sequence[int] = getattr(plain, "parts", (plain.out_features,))
    stops = [sum(parts[: n + 1]) for n in range(len(parts))]
    return (
        {
            role: slice(stop - size, stop)
            for role, size, stop in zip(known[len(known) - len(parts) :], parts, stops, strict=True)
        }
        if known
        else {}
    )


def attach(network: Network, lora: Lora, seed: int) -> None:
    """Put adapters on the matrices that `lora` names, in place; nothing else of the body learns.

    They change no answer until they have learned: b is 0. A head of classes goes on learning, one
    of the vocabulary does not. Raises RecipeError where the network has no such matrix.
    """
    layers = {name: module for name, module in network.named_modules() if roles(name, module)}
    there = {role for name, plain in layers.items() for role in roles(name, plain)}
    absent = [role for role in lora.targets if role not in there]
    if absent:
        known = ", ".join(role for role in _order() if role in there)
        raise RecipeError([f"train.lora.targets: this model has no {absent[0]}, only {known}"])
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith("head.") and not _is_vocabulary(network))
    generator = torch.Generator().manual_seed(seed)
    for name, plain in layers.items():
        assert isinstance(plain, nn.Linear), "roles are of linear layers"
        lows: dict[str, Low] = {
            role: _fresh(plain.weight[rows].detach(), lora, generator)
            for role, rows in roles(name, plain).items()
            if role in lora.targets
        }
        if lows:
            replace_with(network, name, Adapted(plain, lows, roles(name, plain), lora.dropout))


def merge(network: Network) -> list[Taken]:
    """Add every adapter to the weights it stands beside, in place; return what they were."""
    taken = []
    for name, layer in adapters(network).items():
        plain = layer.merged()
        taken += [Taken(name, role, low) for role, low in layer.lows.items()]
        replace_with(network, name, plain)
    return taken


def adapters(network: Network) -> dict[str, Adapted]:
    """Return the layers that carry adapters, by name."""
    return {n: layer for n, layer in network.named_modules() if isinstance(layer, Adapted)}


def replace_with(network: Network, name: str, layer: nn.Module) -> None:
    """Put `layer` in the place of the one of that name, in place."""
    path, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(path), leaf, layer)


def _fresh(weight_FD: Tensor, lora: Lora, generator: torch.Generator) -> Low:
    outputs, inputs = weight_FD.shape
    bound = 1 / math.sqrt(inputs)  # He et al. 2015 with a slope of √5, as the reference draws it
    a_RD = torch.empty(lora.rank, inputs).uniform_(-bound, bound, generator=generator)
    b_FR = torch.zeros(outputs, lora.rank)
    magnitude_F = weight_FD.float().norm(dim=1) if lora.dora else None
    return Low(a_RD, b_FR, (lora.alpha or lora.rank) / lora.rank, magnitude_F)


def _is_vocabulary(network: Network) -> bool:
    return isinstance(network.head, VocabHead)


def _order() -> list[str]:
    return list(dict.fromkeys(role for known in _ROLES.values() for role in known))
