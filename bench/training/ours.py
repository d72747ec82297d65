"""tael's side: its recipe, its batches, its loop, as `tael train` runs them."""

import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tael.recipe.schema import Recipe
from tael.task.base import find
from tael.train.costs import costs_of
from tael.train.finetune import fine_tune
from tael.train.guard import Stop
from tael.train.lock import open_lock
from tael.train.pretrain import pretrain
from tael.train.progress import Quiet
from tael.train.sitting import Sitting, threads
from tael.train.splits import open_splits
from tael.train.texts import Texts
from tael.train.track import Track
from training.turns import Tell

__all__ = ["fine_tuning", "pretrained", "pretraining", "recipe"]

FOR_EVER = 1_000_000  # steps


class _Told(Quiet):
    """The progress line of a run: it tells the bench of every step."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def step(self, step: int, steps: int, values: Mapping[str, float], money: float) -> None:
        """Say what the step held, and wait for the next turn."""
        self._tell(int(values["tokens"]), int(values["positions"]))


def recipe(
    texts: Path, start: Path, options: Namespace, seed: int = 13, **sections: dict[str, Any]
) -> Recipe:
    """Return a recipe that trains `start` on `texts`, for ever; sections add to its own."""
    own: dict[str, dict[str, Any]] = {
        "data": {"train": texts, "clean": {"dedup": "off"}},
        # The rate stays where it is: the bench ends somewhere, the schedule would at `steps`.
        "pretrain": {
            "text": texts, "steps": FOR_EVER, "schedule": "constant", "warmup": 0.0, "rate": 1e-4,
            "dtype": "bfloat16", "save_every": FOR_EVER,
        },
        "train": {
            "steps": FOR_EVER, "schedule": "constant", "warmup": 0.0, "rate": 1e-4,
            "dtype": "bfloat16", "save_every": FOR_EVER, "evaluations": 1,
        },
        "model": {"from": str(start)},
        "machine": {"threads": options.threads},
    }  # fmt: skip
    both = {**own, **sections}
    merged = {name: own.get(name, {}) | sections.get(name, {}) for name in both}
    return Recipe.model_validate({"name": "bench", "task": "classify", "seed": seed} | merged)


def pretraining(made: Recipe, start: Path, tokenizer: Tokenizer) -> Callable[[Tell], None]:
    """Return the first stage of `made`, from the weights in `start`."""

    def work(tell: Tell) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pretrained(made, start, tokenizer, Path(folder), tell)

    return work


def pretrained(made: Recipe, start: Path, tokenizer: Tokenizer, folder: Path, tell: Tell) -> Path:
    """Run the first stage of `made` to its end, and return the folder of what was learned."""
    with sitting(made, folder, tell) as run:
        texts = Texts(folder / "data", made, {"train": [], "dev": [], "test": []})
        pretrain(run, start, texts, tokenizer)
    return folder / "pretrain"


def fine_tuning(made: Recipe, start: Path, tokenizer: Tokenizer) -> Callable[[Tell], None]:
    """Return the second stage of `made`, from the weights in `start`."""

    def work(tell: Tell) -> None:
        with tempfile.TemporaryDirectory() as folder, sitting(made, Path(folder), tell) as run:
            records = open_splits(run.folder, made, run.track.progress.say)
            task = find(made.task).from_records(records["train"], made, tokenizer, {})
            fine_tune(run, records, task, tokenizer, start)

    return work


@contextmanager
def sitting(made: Recipe, folder: Path, tell: Tell) -> Iterator[Sitting]:
    """Open `folder` for a run of `made` that tells of every step."""
    lock = open_lock(folder, made)
    track = Track(folder, costs_of(folder, made.machine, lock.threads), _Told(tell))
    try:
        with threads(lock.threads):
            yield Sitting(folder, made, lock, track, Stop())
    finally:
        track.close()
