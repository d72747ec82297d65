"""Who writes checkpoints: the first process all of it, or every process its own pieces.

Pieces are written by torch.distributed.checkpoint in its Hugging Face form, safetensors files whose
headers say which part of which tensor they hold, so any number of processes opens them again:

    checkpoints/train/step-000200/
        shard-00001-….safetensors  of process 1: pieces of weights, optimiser, average and best
        shard-00002-….safetensors  …
        optimizer.json  state.json  manifest.json   as in `checkpoint`

Its usual form keeps a pickle, `.metadata`; a folder that holds one is refused, not read.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from tael.errors import CheckpointError
from tael.files import atomic_folder
from tael.train import checkpoint
from tael.train.checkpoint import Position
from tael.train.parallel import Team
from tael.train.writer import Writer

__all__ = ["Saver", "make_saver"]

Tensors = dict[str, Tensor]


class Saver(Protocol):
    """The checkpoints of one stage; all processes call all of it together."""

    def load(self, *saved: Any, latest: int | None = None) -> Position | None:
        """Restore all in place from the newest whole checkpoint, of step `latest` at most."""

    def copies(self, named: Mapping[str, Tensor]) -> Tensors:
        """Return a copy of what this process holds of every tensor, to come back to."""

    def submit(self, position: Position, *saved: Any) -> None:
        """Have the checkpoint of `position` written; `saved` may change after the return."""

    def check(self) -> None:
        """Raise what a write that has ended raised."""

    def wait(self) -> None:
        """Return when nothing is being written."""

    def close(self) -> None:
        """Wait, and end."""


def make_saver(team: Team, root: Path, sync: Callable[[], None], *, every: int = 1) -> Saver:
    """Return the saver for `team` under `root`; `sync` is called before each write."""
    kind = _Pieces if team.kind == "fsdp" else _Whole
    return kind(team, root, sync, every)


class _Whole:
    """Every process holds all: the first writes it, in another thread, and all read it."""

    def __init__(self, team: Team, root: Path, sync: Callable[[], None], every: int) -> None:
        self._team, self._root = team, root
        self._writer = Writer(root, sync, every=every) if team.first else None

    def load(self, *saved: Any, latest: int | None = None) -> Position | None:
        self.wait()
        self._team.wait()
        _refuse_pickles(self._root)
        return checkpoint.load_newest(self._root, *saved, latest=latest)

    def copies(self, named: Mapping[str, Tensor]) -> Tensors:
        return checkpoint.weights(named)

    def submit(self, position: Position, *saved: Any) -> None:
        if self._writer is not None:
            self._writer.submit(position, *saved)

    def check(self) -> None:
        if self._writer is not None:
            self._writer.check()

    def wait(self) -> None:
        if self._writer is not None:
            self._writer.wait()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Pieces:
    """Every process holds its pieces, writes them, and reads those that are its own then."""

    def __init__(self, team: Team, root: Path, sync: Callable[[], None], every: int) -> None:
        self._team, self._root, self._sync, self._every = team, root, sync, every

    def load(self, *saved: Any, latest: int | None = None) -> Position | None:
        _refuse_pickles(self._root)
        found = self._newest(latest)
        return None if found is None else self._open(found, saved)

    @torch.no_grad()
    def copies(self, named: Mapping[str, Tensor]) -> Tensors:
        return {name: tensor.detach().clone() for name, tensor in named.items()}

    def submit(self, position: Position, *saved: Any) -> None:
        named, optimizer, average = saved
        moments, numbers = checkpoint.remembered(named, optimizer)
        tensors = _flat(
            weights=named,
            average=average or {},
            optimizer=moments,
            best=position.best_weights or {},
        )
        final = self._root / f"step-{position.step:06d}"
        if not self._team.first:
            self._team.wait()
            self._write(_draft(final), tensors)
            self._team.wait()
            return
        self._sync()
        with atomic_folder(final) as draft:
            assert draft == _draft(final), "the others write there too"
            self._team.wait()
            self._write(draft, tensors)
            checkpoint.write_facts(draft, position, numbers)
        checkpoint.drop_old(self._root, position.step, self._every)
        self._team.wait()

    def check(self) -> None:
        """Nothing is written later."""

    def wait(self) -> None:
        """Nothing is written later."""

    def close(self) -> None:
        """Nothing is written later."""

    def _write(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
        from torch.distributed.checkpoint.state_dict_saver import save

        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        try:
            with _quiet():
                save(dict(tensors), storage_writer=writer, no_dist=self._team.size == 1)
        except CheckpointException as error:
            reason = next(iter(error.failures.values()))[0]
            raise OSError(0, str(reason).splitlines()[0], str(folder)) from error

    def _newest(self, latest: int | None) -> Path | None:
        """Return the newest whole checkpoint as the first process sees it; -1 says: none is left.

        The others take its word: to hash everything in every process would cost a start each.
        """
        step, error = 0.0, None
        if self._team.first:
            try:
                found = checkpoint.newest(self._root, latest)
                step = float(checkpoint.step_of(found)) if found else 0.0
            except CheckpointError as damaged:
                step, error = -1.0, damaged
        step = self._team.total([step])[0]
        if error is not None:
            raise error
        if step < 0:
            raise CheckpointError(
                f"{self._root}: no whole checkpoint is left; process 0 says which"
            )
        return self._root / f"step-{int(step):06d}" if step else None

    @torch.no_grad()
    def _open(self, folder: Path, saved: Any) -> Position:
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
        from torch.distributed.checkpoint.state_dict_loader import load

        named, optimizer, average = saved
        reader = HuggingFaceStorageReader(str(folder))
        held = reader.read_metadata().state_dict_metadata
        own = _flat(weights=named, average=average or {})
        wrong = sorted(own.keys() ^ {k for k in held if k.split("/")[0] in ("weights", "average")})
        wrong = wrong or sorted(k for k in own if own[k].shape != held[k].size)  # type: ignore[union-attr]
        if wrong:
            raise CheckpointError(
                f"{folder}: does not fit this model, first at {wrong[0]}; "
                "it was written by another version or recipe: choose another run directory"
            )
        for key, tensor in held.items():
            kind, _, rest = key.partition("/")
            name = rest.partition(":")[2] if kind == "optimizer" else rest
            if key not in own:
                own[key] = _room(named[name], tensor)
        with _quiet():
            load(own, storage_reader=reader, no_dist=self._team.size == 1)
        optimizer.state.clear()
        for key in (key for key in own if key.startswith("optimizer/")):
            what, _, name = key.removeprefix("optimizer/").partition(":")
            optimizer.state[named[name]][what] = own[key]
        position = checkpoint.read_facts(folder, optimizer, named)
        best = {k.removeprefix("best/"): v for k, v in own.items() if k.startswith("best/")}
        return replace(position, best_weights=best or None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what torch says to one process alone, which is what it was asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _flat(**files: Mapping[str, Tensor]) -> Tensors:
    return {
        f"{file}/{name}": tensor.detach()
        for file, tensors in files.items()
        for name, tensor in tensors.items()
    }


def _room(like: Tensor, held: Any) -> Tensor:
    """Return room for what belongs to a parameter: cut as that one is, where it is as large."""
    if held.size == like.shape:
        return torch.zeros_like(like, dtype=held.properties.dtype).detach()
    return torch.zeros(held.size, dtype=held.properties.dtype, device=like.device)


def _draft(final: Path) -> Path:
    return final.with_name(f".{final.name}.part")


def _refuse_pickles(root: Path) -> None:
    """Raise CheckpointError where torch.distributed.checkpoint wrote its usual form."""
    for path in (*root.glob("step-*/.metadata"), *root.glob("step-*/*.distcp")):
        raise CheckpointError(
            f"{path}: a pickle, which could run any program; tael reads and writes safetensors "
            f"only: remove {path.parent}, or convert it where you trust it"
        )
