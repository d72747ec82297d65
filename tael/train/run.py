"""A finished run, opened: what every room to the right of training takes."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tael.data.record import Record
from tael.errors import RunError
from tael.recipe.load import load_recipe
from tael.recipe.schema import Recipe
from tael.task.base import Task, load_task
from tael.train.lock import Lock, read_lock
from tael.train.splits import read_records

if TYPE_CHECKING:
    from tael.model.network import Network

__all__ = ["Run", "Split", "is_finished"]

Split = Literal["train", "dev", "test"]


class Run:
    """The run in `folder`; RunError where there is none, or where it is not finished."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock: Lock = read_lock(folder)
        if not is_finished(folder):
            raise RunError(
                f"{folder}: training is not finished; `tael train {folder / 'recipe.yaml'} "
                f"--out {folder}` goes on with it"
            )

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe it was made from."""
        return load_recipe(self.folder / "recipe.yaml")

    @property
    def model(self) -> Path:
        """The folder with the trained model, in Hugging Face layout."""
        return self.folder / "model"

    def records(self, split: Split) -> list[Record]:
        """Return the cleaned records of a split, in the order of the files."""
        return read_records(self.folder / "data" / f"{split}.jsonl")

    def task(self) -> Task:
        """Return the task that the model was trained for."""
        return load_task(self.model)

    def network(self) -> "Network":
        """Return the trained network in float32, ready to answer."""
        from tael.model.weights import open_folder

        return open_folder(self.model)[0]


def is_finished(folder: Path) -> bool:
    """Say whether `folder` holds a run whose training is complete."""
    return (folder / "model" / "config.json").exists() and not (folder / "checkpoints").exists()
