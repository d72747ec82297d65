"""The verb `new`: a commented recipe, from settings alone or from a look at a data file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tael.errors import UsageError
from tael.files import write_text
from tael.recipe.load import near
from tael.recipe.new import new_recipe
from tael.recipe.write import scalar
from tael.road.guess import Guess, guess_columns, guess_task

__all__ = ["New", "new"]

_WIDTH = 70  # characters shown of a text


@dataclass(frozen=True)
class New:
    """The recipe that was written, and what to tell about it."""

    path: Path
    lines: list[str]


def new(
    name: str | None, task: str | None, settings: Sequence[str] = (), source: Path | None = None
) -> New:
    """Write NAME.yaml into the working folder; with `source`, columns and task are guessed.

    Raises UsageError where the name or the task is missing or the file exists already.
    """
    told: list[str] = []
    if source is not None:
        name = name or re.sub(r"[^\w-]+", "_", source.name.split(".")[0]) or "recipe"
        task, guessed, told = _guessed(source, task)
        settings = [f"data.train={scalar(str(source))}", *guessed, *settings]
    if name is None or task is None:
        raise UsageError(
            "a new recipe needs a name and a task: `tael new NAME --task classify`, "
            "or a data file to guess from: `tael new --from FILE`"
        )
    _check_task(task)
    path = Path(f"{name}.yaml")
    text = new_recipe(name, task, settings)
    if path.exists():
        raise UsageError(f"{path} exists: choose another name, or remove it first")
    write_text(path, text)
    return New(path, [*told, f"wrote {path}"])


def _guessed(source: Path, task: str | None) -> tuple[str, list[str], list[str]]:
    """Return the task, its settings, and what to tell of both; `task` is what the user named."""
    found = guess_task(source)
    if found is not None and task in (None, found.task):
        named = ", ".join(found.settings) or "columns as they are called"
        lines = [f"  {_short(line)}" for line in found.lines]
        return found.task, found.settings, [f"task {found.task}: {named}", *lines]
    if task not in (None, "classify"):
        raise UsageError(
            f"{source}: its rows do not look like task {task}; name the columns yourself: "
            f"`tael new NAME --task {task} data.train={source} data.columns.…=…`"
        )
    guess = guess_columns(source)
    return "classify", guess.settings(), _told(guess)


def _check_task(task: str) -> None:
    from tael.task.base import TASKS

    if task not in TASKS:
        raise UsageError(f"unknown task {task!r}{near(task, list(TASKS))}")


def _told(guess: Guess) -> list[str]:
    kind = {
        "single": "one label a text",
        "multi": "several labels a text",
        "regression": "a number",
    }
    pair = f" with its pair in {guess.text_pair!r}" if guess.text_pair else ""
    lines = [f"text in {guess.text!r}{pair}, label in {guess.label!r}: {kind[guess.kind]}"]
    for row in guess.rows:
        texts = [_short(row.get(name)) for name in (guess.text, guess.text_pair) if name]
        lines.append(f"  {row.get(guess.label, '')}  {'  ↔  '.join(texts)}")
    return lines


def _short(value: Any) -> str:
    text = " ".join(str("" if value is None else value).split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
