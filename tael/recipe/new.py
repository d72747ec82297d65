"""A new recipe: what must be said, what is often changed, and a comment behind each line."""

import re
from collections.abc import Sequence
from typing import Any

from tael.errors import UsageError
from tael.recipe.fields import infos
from tael.recipe.load import as_given
from tael.recipe.roles import roles_of
from tael.recipe.source import KeyPath
from tael.recipe.write import commented

__all__ = ["new_recipe"]

_OFTEN_CHANGED: tuple[KeyPath, ...] = (
    ("model", "preset"),
    ("pretrain", "steps"),
    ("train", "epochs"),
    ("train", "rate"),
    ("train", "batch"),
    ("machine", "price_per_hour"),
)
_OFTEN_ADDED: tuple[KeyPath, ...] = (
    ("data", "dev"),
    ("data", "test"),
    ("pretrain", "text"),
    ("price", "floor"),
    ("price", "p95_ms"),
)


def new_recipe(name: str, task: str, settings: Sequence[str] = ()) -> str:
    """Return a commented recipe with `key=value` settings in it; paths stay as they are typed.

    Without `data.train` the file is expected to be `NAME.csv`. Raises UsageError for a name that
    cannot be a file's, RecipeError for settings that no recipe may have.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise UsageError(f"name {name!r} must be letters, digits, `_`, `.` and `-`")
    given = as_given(name, task, settings)
    given.setdefault(("data", "train"), f"{name}.csv")
    values: dict[KeyPath, Any] = given | _defaults(given, task)
    off = [path for path in _OFTEN_ADDED if path not in values]
    head = (
        f"# `tael check {name}.yaml` says what is wrong with it, `tael run {name}.yaml` runs it.\n"
    )
    return head + commented(values, off)


def _defaults(given: dict[KeyPath, Any], task: str) -> dict[KeyPath, Any]:
    without: set[KeyPath] = set(given)
    columns: list[KeyPath] = [("data", "columns", role) for role in roles_of(task)]
    if ("data", "columns", "spans") in given:
        without |= {("data", "columns", role) for role in ("tokens", "tags")}
    elif task == "tag":
        without.add(("data", "columns", "text"))
    if ("train", "steps") in given:
        without.add(("train", "epochs"))
    if ("model", "from") in given:
        without.add(("model", "preset"))
    said = {path: infos()[path].default for path in columns}
    often = {path: infos()[path].default for path in _OFTEN_CHANGED}
    defaults = {
        path: value
        for path, value in ({path: one for path, one in said.items() if one} | often).items()
        if path not in without
    }
    if ("train", "epochs") in defaults:
        defaults["train", "epochs"] = 3.0
    return defaults
