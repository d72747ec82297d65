"""What the stages of one run share while a process works on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tael.recipe.schema import Recipe
from tael.train.guard import Stop
from tael.train.lock import Lock
from tael.train.track import Track

__all__ = ["Sitting", "owned", "threads"]


@dataclass(frozen=True, slots=True)
class Sitting:
    """One process at work in one run directory."""

    folder: Path
    recipe: Recipe
    lock: Lock
    track: Track
    stop: Stop

    def checkpoints(self, stage: str) -> Path:
        """Return where the checkpoints of a stage lie."""
        return self.folder / "checkpoints" / stage


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on `count` threads inside the block: another number may give other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def owned(network: nn.Module) -> None:
    """Give every parameter of `network` memory of its own, in place.

    An opened folder is mapped into memory: training must not depend on that file, nor on how its
    tensors are aligned.
    """
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
