"""What the stages of one run share while a process works on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tael.model.config import ModelConfig
from tael.recipe.schema import Recipe
from tael.train.guard import Stop
from tael.train.lock import Lock, lower_micro_batch
from tael.train.memory import predict, require
from tael.train.parallel import ALONE, Team
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
    team: Team = ALONE  # the processes that share the work

    def checkpoints(self, stage: str) -> Path:
        """Return where the checkpoints of a stage lie."""
        return self.folder / "checkpoints" / stage

    def micro_batch(self, stage: str, rows: int) -> int:
        """Return how many rows a stage computes at once.

        `rows`, or fewer where memory ran out, or where every process is to have some of a step.
        """
        rows = self.team.rows(rows, getattr(self.recipe, stage).batch)
        return min(rows, self.lock.micro_batch.get(stage, rows))

    def afford(
        self, config: ModelConfig, stage: str, *, rows: int, longest: int, steps: int
    ) -> None:
        """Raise RunError where a stage cannot fit into memory; several processes are not judged."""
        if self.team.size > 1:
            return
        dtype = self.lock.dtype[stage]
        needed = predict(
            config, self.recipe, stage, dtype=dtype, longest=longest, steps=steps, rows=rows
        )
        require(needed, stage)

    def lower(self, stage: str, rows: int) -> None:
        """Compute `rows` rows at once from now on, in later sittings too, and say so."""
        lower_micro_batch(self.folder, stage, rows)
        self.track.progress.say(
            f"{stage}: memory ran out; {rows} rows are computed at once from now on, the batch "
            f"stays as it is (written to recipe.lock.yaml; {stage}.micro_batch={rows} says so "
            "from the start)"
        )


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
