"""The state of a stage on disk: whole or absent, checked by SHA-256, and never pickled.

    checkpoints/train/step-000200/
        weights.safetensors    every parameter
        average.safetensors    their running average, where there is one
        optimizer.safetensors  the optimiser's tensors, by parameter
        optimizer.json         what else it keeps for a parameter
        best.safetensors       the best weights by dev so far, where dev is scored
        state.json             position, seed, loop state
        manifest.json          SHA-256 of the others

The random numbers of a step follow from seed and step alone, and so does the step's data: the
position is one integer.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from tael.errors import CheckpointError
from tael.files import atomic_folder, sha256

__all__ = [
    "Position", "Snapshot", "drop_old", "load_newest", "newest", "read_facts", "remembered", "save",
    "snapshot", "step_of", "weights", "write", "write_facts",
]  # fmt: skip

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
    losses: tuple[float, ...] = ()  # of the last good steps: what a spike is told by
    bad: int = 0  # steps from which nothing could be learned
    bad_row: int = 0  # those without a good one since
    ranks: tuple[tuple[float, float, int], ...] = ()  # the best scores, and minus their steps
    best_weights: Tensors | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of what was learned at one step."""

    files: dict[str, Tensors]  # by the stem of the file
    numbers: dict[str, dict[str, Any]]  # the optimiser's, by parameter


def weights(named: Mapping[str, Tensor]) -> Tensors:
    """Return a copy of every tensor by name, in main memory."""
    return {name: _copy(tensor) for name, tensor in named.items()}


def snapshot(
    named: Mapping[str, Tensor],
    optimizer: Optimizer,
    average: Mapping[str, Tensor] | None = None,
    *,
    into: Snapshot | None = None,
) -> Snapshot:
    """Return a copy, in main memory, of all that a stage learns; `into` is overwritten if given.

    `named` are the tensors that `optimizer` updates, by parameter name; `average` those of a
    running average of them, where there is one.
    """
    moments, numbers = remembered(named, optimizer)
    files: dict[str, Tensors] = {}
    for file, tensors in _files(named, average, optimizer=moments).items():
        old = into.files.get(file, {}) if into else {}
        files[file] = {name: _copy(tensor, old.get(name)) for name, tensor in tensors.items()}
    return Snapshot(files, numbers)


def write(root: Path, position: Position, state: Snapshot, *, every: int = 1) -> Path:
    """Write the checkpoint of `position` under `root`, then drop those no longer needed.

    Kept are the newest two, and the newest whose step is a multiple of `every`. Raises OSError
    where the disk is full or the folder cannot be written; the older checkpoints are whole then.
    """
    final = root / f"step-{position.step:06d}"
    with atomic_folder(final) as draft:
        for name, tensors in state.files.items():
            _write(draft / f"{name}.safetensors", tensors)
        if position.best_weights is not None:
            _write(draft / "best.safetensors", position.best_weights)
        write_facts(draft, position, state.numbers)
    drop_old(root, position.step, every)
    return final


def write_facts(draft: Path, position: Position, numbers: Mapping[str, Any]) -> None:
    """Write what is no tensor into a checkpoint, and last of all the hash of every file."""
    (draft / "optimizer.json").write_text(json.dumps(numbers), "utf-8")
    facts = asdict(replace(position, best_weights=None))
    del facts["best_weights"]
    (draft / "state.json").write_text(json.dumps(facts), "utf-8")
    hashes = {path.name: sha256(path) for path in sorted(draft.iterdir())}
    (draft / "manifest.json").write_text(json.dumps(hashes, indent=1), "utf-8")


def drop_old(root: Path, step: int, every: int) -> None:
    """Remove what the checkpoint of `step` makes needless: see `write`."""
    whole = [folder for folder in _folders(root) if step_of(folder) <= step]
    regular = [folder for folder in whole if step_of(folder) % every == 0]
    # Later ones were damaged and passed over.
    for folder in {*_folders(root)} - {*whole[-_KEPT:], *regular[-1:]}:
        shutil.rmtree(folder)


def save(root: Path, position: Position, named: Mapping[str, Tensor], optimizer: Optimizer) -> Path:
    """Write the checkpoint of `position` at once."""
    return write(root, position, snapshot(named, optimizer))


def load_newest(
    root: Path,
    named: Mapping[str, Tensor],
    optimizer: Optimizer,
    average: Mapping[str, Tensor] | None = None,
    *,
    latest: int | None = None,
) -> Position | None:
    """Restore all in place from the newest whole checkpoint (of step `latest` at most), if any.

    A damaged one is passed over and said aloud. Raises CheckpointError when all are damaged.
    """
    folder = newest(root, latest)
    if folder is None:
        return None
    for file, tensors in _files(named, average).items():
        _restore(tensors, load_file(folder / f"{file}.safetensors"), folder)
    optimizer.state.clear()
    _remind(optimizer, named, folder)
    position, path = read_facts(folder, optimizer, named), folder / "best.safetensors"
    return replace(position, best_weights=load_file(path) if path.exists() else None)


def newest(root: Path, latest: int | None = None) -> Path | None:
    """Return the newest whole checkpoint under `root`, of step `latest` at most; None without any.

    A damaged one is passed over and said aloud. Raises CheckpointError when all are damaged.
    """
    problems = []
    for folder in reversed(_folders(root)):
        if latest is not None and step_of(folder) > latest:
            continue
        problem = _damage(folder)
        if problem is None:
            return folder
        problems.append(f"{folder}: {problem}")
        _log.warning("%s: %s; taking the checkpoint before it", folder, problem)
    if problems:
        raise CheckpointError(
            f"no whole checkpoint is left: {'; '.join(problems)}. "
            f"To begin this stage anew: rm -r {root}"
        )
    return None


def read_facts(folder: Path, optimizer: Optimizer, named: Mapping[str, Tensor]) -> Position:
    """Return the position of a checkpoint, and give `optimizer` the numbers that it kept."""
    for name, values in json.loads((folder / "optimizer.json").read_text("utf-8")).items():
        optimizer.state[named[name]].update(values)
    facts = json.loads((folder / "state.json").read_text("utf-8"))
    best, losses = facts.pop("best"), tuple(facts.pop("losses"))
    ranks = tuple((better, loss, step) for better, loss, step in facts.pop("ranks"))
    found = Position(**facts, losses=losses, ranks=ranks)
    return replace(found, best=None if best is None else (best[0], best[1]))


def step_of(folder: Path) -> int:
    """Return the step that a checkpoint's folder is called by."""
    return int(folder.name.removeprefix("step-"))


def _files(
    named: Mapping[str, Tensor],
    average: Mapping[str, Tensor] | None,
    **others: Mapping[str, Tensor],
) -> dict[str, Mapping[str, Tensor]]:
    return {"weights": named} | ({"average": average} if average else {}) | others


def remembered(
    named: Mapping[str, Tensor], optimizer: Optimizer
) -> tuple[Tensors, dict[str, dict[str, Any]]]:
    """Return what the optimiser keeps for each parameter: tensors, and numbers."""
    tensors: Tensors = {}
    numbers: dict[str, dict[str, Any]] = {}
    for name, tensor in named.items():
        for key, value in optimizer.state.get(tensor, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{key}:{name}"] = value
            else:
                numbers.setdefault(name, {})[key] = value
    return tensors, numbers


def _remind(optimizer: Optimizer, named: Mapping[str, Tensor], folder: Path) -> None:
    for key_and_name, value in load_file(folder / "optimizer.safetensors").items():
        key, _, name = key_and_name.partition(":")
        # clone: memory as the allocator aligns it, not as the file does, so that kernels take the
        # same path as in a run that never stopped
        optimizer.state[named[name]][key] = value.clone().to(named[name].device)


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


@torch.no_grad()
def _copy(tensor: Tensor, old: Tensor | None = None) -> Tensor:
    if old is not None and old.shape == tensor.shape and old.dtype == tensor.dtype:
        # New memory is ten times as slow to fill: the system zeroes every page first.
        return old.copy_(tensor)
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)


def _write(path: Path, tensors: Tensors) -> None:
    try:
        save_file(tensors, path)
        with safe_open(path, "pt"):  # refuses a file whose end did not reach the disk
            pass
    except SafetensorError as error:
        raise OSError(0, str(error), str(path)) from error


def _folders(root: Path) -> list[Path]:
    return sorted(root.glob("step-*"), key=step_of)


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
