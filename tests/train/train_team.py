"""One of several processes that `torchrun` starts: trains a tiny recipe, and may die once.

Arguments: the reviews, the run's folder, JSON with sections of the recipe, and (to die) a rank and
the step after which that process kills itself, in the first life of the job only.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from train_standin import tiny_recipe

from tael.errors import TaelError
from tael.train.track import Track
from tael.train.train import train


def die_after(rank: int, step: int) -> None:
    """Make one process of the first life disappear as a machine does that loses power."""
    if int(os.environ["RANK"]) != rank or os.environ["TORCHELASTIC_RESTART_COUNT"] != "0":
        return
    write = Track.step

    def write_and_die(self: Track, stage: str, at: int, *rest: Any) -> None:
        write(self, stage, at, *rest)
        if (stage, at) == ("train", step):
            os.kill(os.getpid(), signal.SIGKILL)

    Track.step = write_and_die  # type: ignore[method-assign]


if __name__ == "__main__":
    torch.set_num_threads(1)
    file, out, sections, *death = sys.argv[1:]
    if death:
        die_after(*map(int, death))
    try:
        train(tiny_recipe(Path(file), **json.loads(sections)), Path(out), progress=False)
    except TaelError as error:
        sys.exit(f"{type(error).__name__}: {error}")
