"""Several processes that share each step: who computes what, and how their gradients become one.

Every process makes the same window of micro-batches and computes its own of them, so none is done
twice and none is left out; losses are divided by the items of the whole window before gradients are
added up. What is learned is therefore what one process would learn, in another order of summation.

`torchrun` starts the processes and says by RANK, WORLD_SIZE, LOCAL_RANK and MASTER_* who they are.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # documented, not listed
from torch.distributed.rendezvous import rendezvous

from tael.errors import RunError

__all__ = ["ALONE", "Kind", "Team", "join", "started", "whole"]

Kind = Literal["none", "ddp", "fsdp"]
T = TypeVar("T")
_BUCKET = 25_000_000 // 4  # numbers sent at once: few messages, little memory beside
# Others wait while the first prepares data; a process that dies is told to them at once.
_PATIENCE = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Team:
    """One process among `size`; `kind` says how they share the work. The first alone writes."""

    kind: Kind = "none"
    rank: int = 0
    size: int = 1
    local: int = 1  # of them on this machine

    @property
    def machines(self) -> int:
        """Return how many machines work together."""
        return -(-self.size // self.local)

    @property
    def first(self) -> bool:
        """Say whether this process writes, and speaks."""
        return self.rank == 0

    @property
    def pieces(self) -> bool:
        """Say whether no process holds all weights."""
        return self.kind == "fsdp" and self.size > 1

    def share(self, window: Sequence[T]) -> list[tuple[int, T, float]]:
        """Return number, micro-batch and weight of each that this process computes.

        Sharded weights are gathered by all at once, so there a process without a micro-batch
        repeats one with weight 0; and their gradients are averaged, which `size` undoes.
        """
        weight = float(self.size) if self.pieces else 1.0
        mine = [(m, window[m], weight) for m in range(self.rank, len(window), self.size)]
        rounds = -(-len(window) // self.size)
        if self.pieces and len(mine) < rounds:
            mine.append((0, window[0], 0.0))
        return mine

    def rows(self, rows: int, batch: int) -> int:
        """Return the rows of a micro-batch that leave one for every process of a step."""
        return max(1, min(rows, -(-batch // self.size)))

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums over all processes, in float64."""
        if self.size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64)
        with _told():
            dist.all_reduce(sums)
        return sums.tolist()

    def any(self, flag: bool) -> bool:
        """Say whether it holds for one process at least."""
        return self.total([float(flag)])[0] > 0

    @torch.no_grad()
    def reduce(self, learned: Mapping[str, Tensor]) -> None:
        """Give every process the sum of all processes' gradients, in their own arithmetic.

        A tensor that no process has a gradient of keeps none: an optimiser passes it over. Sharded
        tensors have theirs already.
        """
        if self.size == 1 or self.pieces:
            return
        used = self.total([float(one.grad is not None) for one in learned.values()])
        gradients = []
        for one, count in zip(learned.values(), used, strict=True):
            if count:
                one.grad = torch.zeros_like(one) if one.grad is None else one.grad
                gradients.append(one.grad)
        with _told():
            sent = [(part, *_send(part)) for part in _buckets(gradients)]
            for part, flat, work in sent:
                work.wait()
                _spread(flat, part)

    def wait(self) -> None:
        """Return when all processes have come so far."""
        if self.size > 1:
            with _told():
                dist.barrier()

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Let the first process do the block alone, then the others, who find what it wrote."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


ALONE = Team()


def started() -> bool:
    """Say whether this process is one of several that `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def join(kind: Kind) -> Iterator[Team]:
    """Meet the other processes of this run, and part at the end; alone where there are none.

    Raises RunError where several were started and the recipe does not say how they share the work.
    """
    if not started():
        yield Team(kind)
        return
    if kind == "none":
        raise RunError(
            f"{os.environ['WORLD_SIZE']} processes were started and train.parallel is none: each "
            "would train the whole run; set train.parallel=ddp (or fsdp for a model that does not "
            "fit one device), or start one process without torchrun"
        )
    with _told():
        store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
        local = int(os.environ.get("LOCAL_WORLD_SIZE", size))
        if local == size:
            # torchrun 2.13 keeps the addresses of processes that died in the store it hands out,
            # and a new one may read an old one's. Other machines count restarts on their own.
            life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            store = PrefixStore(f"life {life}", store)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield Team(kind, rank, size, local)
    finally:
        dist.destroy_process_group()


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that lies in pieces on all processes as one; any other as it is."""
    gather = getattr(tensor, "full_tensor", None)  # a DTensor's
    return tensor if gather is None else gather()


@contextmanager
def _told() -> Iterator[None]:
    """Turn a connection that broke into one line."""
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"another process of this run is gone ({reason[:120]}); what was saved is whole: "
            "`torchrun --max-restarts=3 …` starts all again from the newest checkpoint by itself"
        ) from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield runs of tensors of one kind, each about as large as is sent at once."""
    part: list[Tensor] = []
    for tensor in tensors:
        if part and (
            tensor.dtype != part[0].dtype
            or tensor.device != part[0].device
            or sum(one.numel() for one in part) + tensor.numel() > _BUCKET
        ):
            yield part
            part = []
        part.append(tensor)
    if part:
        yield part


def _send(part: Sequence[Tensor]) -> tuple[Tensor, dist.Work]:
    flat = torch.cat([one.flatten() for one in part])
    work = dist.all_reduce(flat, async_op=True)
    assert work is not None, "asked for later"
    return flat, work


def _spread(flat: Tensor, part: Sequence[Tensor]) -> None:
    pieces = torch.split(flat, [one.numel() for one in part])
    for one, piece in zip(part, pieces, strict=True):
        one.copy_(piece.view_as(one))
