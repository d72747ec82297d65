"""Adapters as files, in the layout that peft reads and writes.

`adapter_config.json` names the folder they belong to, `adapter_model.safetensors` holds them and
the head that learned with them. A file may hold our stacked matrices as one (GPT-2, Phi-3): the
adapters of its parts then stand there as one of their summed rank.

Letters: D inputs · F outputs · R rank.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tael.errors import CheckpointError
from tael.files import atomic_file, write_text
from tael.model.adapter import Adapted, Low, Taken, replace_with, roles
from tael.model.head import HeadKind, VocabHead
from tael.model.network import Network
from tael.model.weights import as_saved, file_places, open_folder, to_file
from tael.recipe.package import resolve

__all__ = ["CONFIG", "WEIGHTS", "open_adapter", "save_adapter"]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TASKS: dict[HeadKind, str] = {
    "classify": "SEQ_CLS", "tag": "TOKEN_CLS", "qa": "QUESTION_ANS", "clm": "CAUSAL_LM",
    "seq2seq": "SEQ_2_SEQ_LM",
}  # fmt: skip
_PREFIX = "base_model.model."
_LEAVES = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")
_CLASSES = ("classifier.weight", "score.weight", "qa_outputs.weight", "out_proj.weight")
# What such a file may also ask for, and we do not compute.
_OTHERS = ("lora_bias", "layer_replication", "target_parameters", "alora_invocation_tokens")


@dataclass(frozen=True, slots=True)
class _Whole:
    """One adapter of a file, by the file's own name of the matrix that it belongs to."""

    a_RD: Tensor
    b_FR: Tensor
    scale: float
    magnitude_F: Tensor | None


@dataclass(frozen=True, slots=True)
class _Seat:
    """Where one of our matrices lies in the file: `rows` of the `outputs` of the matrix `name`."""

    layer: str
    role: str
    name: str
    rows: slice
    outputs: int

    @property
    def whole(self) -> bool:
        """Whether it is all of that matrix."""
        return self.rows == slice(0, self.outputs)


def save_adapter(folder: Path, network: Network, taken: Sequence[Taken], base: Path | str) -> None:
    """Write the adapters taken from `network`, and its head where it is one of classes.

    `base` is the folder whose weights they were trained on.
    """
    wholes = _wholes(network, taken)
    tensors: dict[str, Tensor] = {}
    for name, whole in wholes.items():
        tensors |= {f"{name}.lora_A.weight": whole.a_RD, f"{name}.lora_B.weight": whole.b_FR}
        if whole.magnitude_F is not None:
            tensors[f"{name}.lora_magnitude_vector"] = whole.magnitude_F
    head = {} if isinstance(network.head, VocabHead) else _head(network)
    kept = {_PREFIX + name: t.detach().contiguous().cpu() for name, t in (tensors | head).items()}
    first = next(iter(wholes.values()))
    ranks = {name: len(whole.a_RD) for name, whole in wholes.items()}
    config = {
        "peft_type": "LORA",
        "task_type": _TASKS.get(network.kind),
        "base_model_name_or_path": str(base),
        "r": len(first.a_RD),
        "lora_alpha": first.scale * len(first.a_RD),
        "rank_pattern": ranks,
        "alpha_pattern": {name: first.scale * rank for name, rank in ranks.items()},
        "fan_in_fan_out": any(at.turned for at in file_places(network).values()),
        "use_dora": first.magnitude_F is not None,
        "target_modules": list(wholes),
        "modules_to_save": sorted({name.rpartition(".")[0] for name in head}) or None,
        "inference_mode": True,
    }
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    with atomic_file(folder / WEIGHTS) as draft:
        save_file(kept, draft, metadata={"format": "pt"})


def open_adapter(folder: Path, dtype: torch.dtype | None = None) -> tuple[Network, Path]:
    """Open an adapter on the weights it belongs to, apart from them; and return their folder.

    `merge` adds them up. Raises CheckpointError where either cannot be used, or what the adapter
    asks for is not computed here.
    """
    said = _said(folder)
    base = resolve(said["base_model_name_or_path"])
    tensors = _tensors(folder)
    kinds = {task: kind for kind, task in _TASKS.items()}
    kind = kinds.get(str(said.get("task_type")))
    classes = next((len(t) for name, t in tensors.items() if name.endswith(_CLASSES)), None)
    network, _ = open_folder(base, head=kind or "auto", classes=classes, dtype=dtype)
    used = _fill_head(network, tensors) | _attach_all(network, tensors, said)
    unknown = sorted(tensors.keys() - used)
    if unknown:
        raise CheckpointError(
            f"{folder / WEIGHTS}: {len(unknown)} tensors have no place in {base}, first "
            f"{unknown[0]}; it belongs to other weights, or is of a kind that is not supported"
        )
    return network.eval(), base


def _seats(network: Network) -> Iterator[_Seat]:
    """Yield where each matrix lies that can have an adapter."""
    where = file_places(network)
    for layer, module in network.named_modules():
        here = roles(layer, module)
        theirs = [n.removesuffix(".weight") for n in where[f"{layer}.weight"].names] if here else []
        for number, (role, rows) in enumerate(here.items()):
            if len(theirs) == len(here):
                size = rows.stop - rows.start
                yield _Seat(layer, role, theirs[number], slice(0, size), size)
            else:
                yield _Seat(layer, role, theirs[0], rows, max(r.stop for r in here.values()))


def _wholes(network: Network, taken: Sequence[Taken]) -> dict[str, _Whole]:
    """Return the adapters by the file's names, joined where the file has one matrix for several."""
    seats = {(seat.layer, seat.role): seat for seat in _seats(network)}
    found: dict[str, list[tuple[_Seat, Low]]] = {}
    for one in taken:
        seat = seats[one.layer, one.role]
        found.setdefault(seat.name, []).append((seat, one.low))
    return {name: _joined(network, parts) for name, parts in found.items()}


@torch.no_grad()
def _joined(network: Network, parts: Sequence[tuple[_Seat, Low]]) -> _Whole:
    seat, low = parts[0]
    if seat.whole:
        return _Whole(low.a, low.b, low.scale, low.magnitude)
    outputs, lengths_F = seat.outputs, None
    b_FR = [F.pad(one.b, (0, 0, s.rows.start, outputs - s.rows.stop)) for s, one in parts]
    if low.magnitude is not None:  # rows without an adapter keep their own length
        lengths_F = network.get_parameter(f"{seat.layer}.weight").norm(dim=1)
        for at, one in parts:
            assert one.magnitude is not None, "all adapters of a network are of one kind"
            lengths_F[at.rows] = one.magnitude
    a_RD = torch.cat([one.a for _, one in parts])
    return _Whole(a_RD, torch.cat(b_FR, dim=1), low.scale, lengths_F)


def _head(network: Network) -> dict[str, Tensor]:
    saved = as_saved(network)
    return to_file(network, {name: t for name, t in saved.items() if name.startswith("head.")})


def _said(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        said: dict[str, Any] = json.loads(path.read_text("utf-8"))
        kind, base = said.get("peft_type"), said.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if kind != "LORA" or not isinstance(base, str):
        raise CheckpointError(
            f"{path}: expected peft_type LORA and base_model_name_or_path, found {kind} and {base}"
        )
    asked = [key for key in _OTHERS if said.get(key)]
    asked += ["bias"] if said.get("bias", "none") != "none" else []
    if asked:
        raise CheckpointError(f"{path}: {asked[0]} {said[asked[0]]!r} is not supported")
    return said


def _tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}; fetch it again") from error
    return {name.removeprefix(_PREFIX): tensor for name, tensor in found.items()}


def _attach_all(network: Network, tensors: Mapping[str, Tensor], said: dict[str, Any]) -> set[str]:
    """Put the file's adapters where they belong, in place; return the tensors that were used."""
    used: set[str] = set()
    lows: dict[str, dict[str, Low]] = {}
    for seat in _seats(network):
        names = [f"{seat.name}.{leaf}" for leaf in _LEAVES]
        a_RD, b_FR, lengths_F = (tensors.get(name) for name in names)
        if a_RD is None or b_FR is None:
            continue
        used |= tensors.keys() & set(names)
        kind = network.get_parameter(f"{seat.layer}.weight").dtype
        part_FR = b_FR[seat.rows].to(kind, copy=True)
        if lengths_F is not None:
            lengths_F = lengths_F[seat.rows].to(kind, copy=True)
        scale = _scale(said, seat.name, len(a_RD))
        lows.setdefault(seat.layer, {})[seat.role] = Low(a_RD.to(kind), part_FR, scale, lengths_F)
    for layer, mine in lows.items():
        plain = network.get_submodule(layer)
        assert isinstance(plain, nn.Linear), "seats are of linear layers"
        replace_with(network, layer, Adapted(plain, mine, roles(layer, plain), 0.0))
    return used


def _scale(said: dict[str, Any], name: str, rank: int) -> float:
    """Return what an adapter is multiplied by; its own alpha stands under a part of its name."""
    alphas: dict[str, float] = said.get("alpha_pattern") or {}
    own = [alpha for part, alpha in alphas.items() if re.match(rf"(.*\.)?({part})$", name)]
    alpha = own[0] if own else said.get("lora_alpha", 8)
    return float(alpha) / (math.sqrt(rank) if said.get("use_rslora") else rank)


@torch.no_grad()
def _fill_head(network: Network, tensors: Mapping[str, Tensor]) -> set[str]:
    used = set()
    for ours, at in file_places(network).items():
        if ours.startswith("head.") and at.names[0] in tensors:
            network.get_parameter(ours).copy_(tensors[at.names[0]])
            used.add(at.names[0])
    return used
