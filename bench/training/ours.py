"""tael's side: its recipe, its batches, its loop, as `tael train` runs them."""

import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tael.recipe.schema import Recipe
from tael.train.costs import costs_of
from tael.train.guard import Stop
from tael.train.lock import open_lock
from tael.train.pretrain import pretrain
from tael.train.progress import Quiet
from tael.train.sitting import Sitting, threads
from tael.train.texts import Texts
from tael.train.track import Track
from training.turns import Tell

__all__ = ["pretraining", "recipe"]

FOR_EVER = 1_000_000  # steps


class _Told(Quiet):
    """The progress line of a run: it tells the bench of every step."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def step(self, step: int, steps: int, values: Mapping[str, float], money: float) -> None:
        """Say what the step held, and wait for the next turn."""
        self._tell(int(values["tokens"]), int(values["positions"]))


def recipe(texts: Path, start: Path, options: Namespace, **sections: dict[str, Any]) -> Recipe:
    """Return a recipe that pretrains `start` on the lines of `texts`; sections add to its own."""
    own: dict[str, dict[str, Any]] = {
        "data": {"train": texts, "clean": {"dedup": "off"}},
        # The rate stays where it is: the bench ends somewhere, the schedule would at `steps`.
        "pretrain": {
            "text": texts, "steps": FOR_EVER, "schedule": "constant", "warmup": 0.0, "rate": 1e-4,
            "dtype": "bfloat16", "save_every": FOR_EVER,
        },
        "train": {"evaluations": 1},
        "model": {"from": str(start)},
        "machine": {"threads": options.threads},
    }  # fmt: skip
    merged = {name: own.get(name, {}) | sections.get(name, {}) for name in {**own, **sections}}
    return Recipe.model_validate({"name": "bench", "task": "classify"} | merged)


def pretraining(made: Recipe, start: Path, tokenizer: Tokenizer) -> Callable[[Tell], None]:
    """Return the first stage of `made`, from the weights in `start`."""

    def work(tell: Tell) -> None:
        with tempfile.TemporaryDirectory() as folder, threads(made.machine.threads or 1):
            lock = open_lock(Path(folder), made)
            costs = costs_of(Path(folder), made.machine, lock.threads)
            track = Track(Path(folder), costs, _Told(tell))
            texts = Texts(Path(folder) / "data", made, {"train": [], "dev": [], "test": []})
            try:
                pretrain(Sitting(Path(folder), made, lock, track, Stop()), start, texts, tokenizer)
            finally:
                track.close()

    return work
