"""The state of a stage on disk: whole or absent, checked by SHA-256, and never pickled.

    checkpoints/train/step-000200/
        weights.safetensors    every parameter
        optimizer.safetensors  the optimiser's tensors, by parameter
        best.safetensors       the best weights by dev so far, where dev is scored
        state.json             position, seed, loop state
        manifest.json          SHA-256 of the four

The random numbers of a step follow from seed and step alone, and so does the step's data: the
position is one integer.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from tael.errors import CheckpointError
from tael.files import atomic_folder, sha256

__all__ = ["Position", "load_newest", "save", "weights"]

Tensors = dict[str, Tensor]
_KEPT = 2  # the newest may turn out damaged
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stage stands: all that the loop knows beside weights and optimiser."""

    step: int = 0
    seed: int = 0
    tokens: int = 0
    best_step: int | None = None  # the step whose weights scored best on dev
    best: tuple[float, float] | None = None  # metric (higher is better), minus dev loss
    stale: int = 0  # dev scores since then
    best_weights: Tensors | None = field(default=None, compare=False, repr=False)


def weights(named: Mapping[str, Tensor]) -> Tensors:
    """Return a copy of every tensor by name, in main memory."""
    return {name: _copy(tensor) for name, tensor in named.items()}


def save(root: Path, position: Position, named: Mapping[str, Tensor], optimizer: Optimizer) -> Path:
    """Write the checkpoint of `position` under `root`, then drop all but the newest two.

    `named` are the tensors that learn, those that `optimizer` updates, by parameter name.

    Raises OSError where the disk is full or the folder cannot be written; the older checkpoints
    are whole then.
    """
    final = root / f"step-{position.step:06d}"
    with atomic_folder(final) as draft:
        _write(draft / "weights.safetensors", weights(named))
        _write(draft / "optimizer.safetensors", _moments(named, optimizer))
        if position.best_weights is not None:
            _write(draft / "best.safetensors", position.best_weights)
        state = asdict(replace(position, best_weights=None))
        del state["best_weights"]
        (draft / "state.json").write_text(json.dumps(state), "utf-8")
        hashes = {path.name: sha256(path) for path in sorted(draft.iterdir())}
        (draft / "manifest.json").write_text(json.dumps(hashes, indent=1), "utf-8")
    whole = [folder for folder in _folders(root) if _step(folder) <= position.step]
    for folder in set(_folders(root)) - set(whole[-_KEPT:]):  # older, or damaged and passed over
        shutil.rmtree(folder)
    return final


def load_newest(root: Path, named: Mapping[str, Tensor], optimizer: Optimizer) -> Position | None:
    """Restore `named` and `optimizer` in place from the newest whole checkpoint; None without any.

    A damaged one is passed over and said aloud. Raises CheckpointError when all are damaged.
    """
    problems = []
    for folder in reversed(_folders(root)):
        problem = _damage(folder)
        if problem is None:
            return _load(folder, named, optimizer)
        problems.append(f"{folder}: {problem}")
        _log.warning("%s: %s; taking the checkpoint before it", folder, problem)
    if problems:
        raise CheckpointError(
            f"no whole checkpoint is left: {'; '.join(problems)}. "
            f"To begin this stage anew: rm -r {root}"
        )
    return None


def _load(folder: Path, named: Mapping[str, Tensor], optimizer: Optimizer) -> Position:
    _restore(named, load_file(folder / "weights.safetensors"), folder)
    for key_and_name, value in load_file(folder / "optimizer.safetensors").items():
        key, _, name = key_and_name.partition(":")
        # clone: memory as the allocator aligns it, not as the file does, so that kernels take the
        # same path as in a run that never stopped
        optimizer.state[named[name]][key] = value.clone().to(named[name].device)
    state_json = json.loads((folder / "state.json").read_text("utf-8"))
    best = state_json.pop("best")
    path = folder / "best.safetensors"
    return Position(
        **state_json,
        best=None if best is None else (best[0], best[1]),
        best_weights=load_file(path) if path.exists() else None,
    )


@torch.no_grad()
def _restore(named: Mapping[str, Tensor], tensors: Mapping[str, Tensor], folder: Path) -> None:
    wrong = sorted(named.keys() ^ tensors.keys()) or sorted(
        name for name in named if named[name].shape != tensors[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{folder}: does not fit this model, first at {wrong[0]}; "
            "it was written by another version or recipe: choose another run directory"
        )
    for name, tensor in named.items():
        tensor.copy_(tensors[name])


def _moments(named: Mapping[str, Tensor], optimizer: Optimizer) -> Tensors:
    return {
        f"{key}:{name}": _copy(value)
        for name, tensor in named.items()
        for key, value in optimizer.state.get(tensor, {}).items()
        if isinstance(value, Tensor)
    }


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _write(path: Path, tensors: Tensors) -> None:
    try:
        save_file(tensors, path)
        with safe_open(path, "pt"):  # refuses a file whose end did not reach the disk
            pass
    except SafetensorError as error:
        raise OSError(0, str(error), str(path)) from error


def _folders(root: Path) -> list[Path]:
    return sorted(root.glob("step-*"), key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _damage(folder: Path) -> str | None:
    try:
        hashes: dict[str, str] = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return "damaged: manifest.json is missing or unreadable"
    for name, expected in hashes.items():
        path = folder / name
        if not path.exists() or sha256(path) != expected:
            return f"damaged: {name} does not match its SHA-256"
    return None
