"""From a YAML file and overrides to one frozen `Recipe`, or to a list of all that is wrong.

Order: the file, then the overrides, then the preset under what was given, then the schema's
defaults. A key without a value counts as not given.
"""

import difflib
import os
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tael.errors import RecipeError
from tael.recipe.effect import idle
from tael.recipe.fields import allowed, infos, path_keys, sections
from tael.recipe.fingerprint import found_value, leaves
from tael.recipe.objective import misfits, usual_architecture
from tael.recipe.package import REMOTE
from tael.recipe.schema import Recipe
from tael.recipe.source import KeyPath, parse, parse_value
from tael.recipe.write import commented

__all__ = [
    "as_given",
    "load_recipe",
    "near",
    "resolved_yaml",
]

_LAST_LINE = 1 << 30  # overrides are reported behind the lines of the file
# Two ways to say one thing: an override of one takes the place of the other in the file.
_ALTERNATIVES: tuple[tuple[KeyPath, KeyPath], ...] = (
    (("train", "epochs"), ("train", "steps")),
    (("model", "preset"), ("model", "from")),
)
_SIZES = ("architecture", "preset", "hidden", "layers", "heads", "ffn")


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in the file `path`, with `key=value` overrides laid over it.

    Paths in the file are relative to the file, paths in overrides to the working folder. Raises
    RecipeError with every problem, one line each: `reviews.yaml:7: train.step: unknown key; …`.
    """
    draft = _read(Path(path))
    for override in overrides:
        _override(draft, override, Path.cwd())
    return _finish(draft)


def resolved_yaml(recipe: Recipe) -> str:
    """Return the whole recipe, defaults included and commented; it loads to the same recipe."""
    values = dict(leaves(recipe))
    if recipe.model.from_ is not None:  # the checkpoint brings these
        sizes = {("model", size) for size in _SIZES}
        values = {
            path: value
            for path, value in values.items()
            if path not in sizes and path[0] != "tokenizer"
        }
    return commented(values)


def section_yaml(recipe: Recipe, keys: Sequence[str]) -> str:
    """Return only the fields that `keys` name (`price`, `machine.currency`), as in the whole."""
    wanted = [tuple(key.split(".")) for key in keys]
    return commented(
        {path: value for path, value in leaves(recipe) if any(path[: len(w)] == w for w in wanted)}
    )


def as_given(name: str, task: str, settings: Sequence[str]) -> dict[KeyPath, Any]:
    """Return `key=value` settings by field, checked against the schema, with paths as typed.

    Raises RecipeError with every problem that a recipe with these settings would have.
    """
    draft = _Draft(f"{name}.yaml", {"name": name, "task": task, "data": {"train": "-"}}, {})
    for setting in settings:
        _override(draft, setting, None)
    values = deepcopy(draft.values)
    _finish(draft)
    given = {path: _at(values, path) for path in infos() if _at(values, path) is not None}
    if given["data", "train"] == "-":
        del given["data", "train"]
    return given


def near(word: str, known: Sequence[str]) -> str:
    """Return `; did you mean X?` for the nearest known word, or the known ones if they are few."""
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if matches:
        return f"; did you mean {matches[0]}?"
    return f"; known: {', '.join(known)}" if len(known) <= 20 else ""


@dataclass
class _Draft:
    """A recipe on its way: raw values, where each came from, and the problems so far."""

    name: str
    values: dict[str, Any]
    lines: dict[KeyPath, int]
    overrides: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def report(self, path: KeyPath, message: str, joint: str = ": ") -> None:
        """Note a problem at `path`, under its override or the line of its nearest known parent.

        `joint` stands between the key and the message.
        """
        dotted = ".".join(part or "''" for part in path)
        message = f"{dotted}{joint}{message}" if dotted else message
        if path not in self.lines:
            inside = [known for known in self.overrides if known[: len(path)] == path and path]
            for known in inside[:1]:
                self._report_override(known, message)
                return
        for depth in range(len(path), -1, -1):
            if path[:depth] in self.overrides:
                self._report_override(path[:depth], message)
                return
            if path[:depth] in self.lines or not depth:
                line = self.lines.get(path[:depth], 1)
                self.add(line, f"{self.name}:{line}: {message}")
                return

    def _report_override(self, known: KeyPath, message: str) -> None:
        order = _LAST_LINE + list(self.overrides).index(known)
        self.add(order, f"override {self.overrides[known]}: {message}")

    def add(self, order: int, text: str) -> None:
        """Note a problem as one line, once; `order` is its line in the file."""
        line = _one_line(text)
        if (order, line) not in self.problems:
            self.problems.append((order, line))


def _read(path: Path) -> _Draft:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise RecipeError(
            [f"{path}: cannot read the recipe: {reason}; `tael new` writes one"]
        ) from error
    source = parse(text)
    problems = [(line, _one_line(f"{path}:{line}: {message}")) for line, message in source.problems]
    if not problems and not isinstance(source.values, dict):
        found = "nothing" if source.values is None else found_value(source.values)
        problems = [
            (1, f"{path}:1: a recipe is keys with values, such as `name: x`; found {found}")
        ]
    values = source.values if isinstance(source.values, dict) else None
    if values is None:
        raise RecipeError([text for _, text in problems])
    _make_absolute(values, path.absolute().parent)
    return _Draft(str(path), values, source.lines, problems=problems)


def _override(draft: _Draft, override: str, base: Path | None) -> None:
    """Lay `key=value` over the draft's values in place; `base` is where its paths start."""
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        message = f"override {override}: write key=value, as in train.rate=3e-4"
        draft.add(_LAST_LINE - 1, message)
        return
    value = parse_value(text)
    nested: Any = value
    for part in reversed(path):
        nested = {part: nested}
    if base is not None:
        _make_absolute(nested, base)
    target = draft.values
    for part in path[:-1]:
        nested = nested[part]
        if not isinstance(target.get(part), dict):
            target[part] = {}
        target = target[part]
    target[path[-1]] = nested[path[-1]]
    for pair in _ALTERNATIVES:
        if path in pair and value is not None:
            other = pair[1 - pair.index(path)]
            if other not in draft.overrides:  # both on the command line are a problem still
                _remove(draft.values, other)
    for old in [known for known in draft.overrides if known[: len(path)] == path]:
        del draft.overrides[old]
    draft.overrides[path] = override


def _make_absolute(values: dict[str, Any], base: Path) -> None:
    """Change every path in `values` in place to an absolute one."""
    for path in path_keys():
        *parents, last = path
        section: Any = values
        for part in parents:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict) and last in section:
            section[last] = _absolute(section[last], base)
    model = values.get("model")
    source = model.get("from") if isinstance(model, dict) else None
    if isinstance(source, str) and not source.startswith(REMOTE):
        values["model"]["from"] = _absolute(source, base)


def _absolute(value: Any, base: Path) -> Any:
    if isinstance(value, list):
        return [_absolute(item, base) for item in value]
    if not isinstance(value, str) or not value:
        return value
    return os.path.abspath(base / os.path.expanduser(value))


def _drop_empty(values: dict[str, Any], path: KeyPath) -> None:
    """Remove known keys without a value in place; unknown ones stay, to be reported."""
    known = infos().keys() | sections().keys()
    for key, value in list(values.items()):
        here = (*path, key)
        if value is None and here in known:
            del values[key]
        elif isinstance(value, dict):
            _drop_empty(value, here)


def _check_effects(draft: _Draft) -> None:
    model = draft.values.get("model")
    if not isinstance(model, dict) or "from" not in model:
        return
    given: list[KeyPath] = [("model", key) for key in _SIZES if key in model]
    if draft.values.get("tokenizer"):
        given.append(("tokenizer",))
    for path in given:
        draft.report(path, "has no effect beside model.from, whose checkpoint brings it; remove it")


def _fill(values: dict[str, Any]) -> None:
    """Lay the preset under the given sizes, and the default length under `train`, in place."""
    model = values.setdefault("model", {})
    if isinstance(model, dict) and "from" not in model:
        model.setdefault("architecture", usual_architecture(values.get("task")))
        preset = model.get("preset", "small")
        file = resources.files("tael.recipe") / "presets" / f"{preset}.yaml"
        if isinstance(preset, str) and preset.isalnum() and file.is_file():
            sizes = parse(file.read_text(encoding="utf-8")).values
            if model.get("architecture", "encoder") != "encoder":
                sizes["ffn"] = _gated(sizes["ffn"])
            model |= sizes | model
    train = values.setdefault("train", {})
    if isinstance(train, dict) and "epochs" not in train and "steps" not in train:
        train["epochs"] = 3.0


def _gated(ffn: int) -> int:
    """Return the width at which a gated layer, of three matrices, has the weights of one of two."""
    return -(-2 * ffn // (3 * 64)) * 64


def _finish(draft: _Draft) -> Recipe:
    """Return the recipe of the draft, or raise RecipeError with all problems in order."""
    _drop_empty(draft.values, ())
    _check_effects(draft)
    written = {
        path: _is_override(draft, path) for path in infos() if _at(draft.values, path) is not None
    }
    _fill(draft.values)
    recipe, bad = _validate(draft)
    if recipe is not None:
        for path, message in idle(recipe, written, bad):
            draft.report(path, message, " ")
        for path, message in misfits(recipe):
            draft.report(path, message)
    if recipe is None or draft.problems:
        raise RecipeError([text for _, text in sorted(draft.problems, key=lambda at: at[0])])
    return recipe


def _is_override(draft: _Draft, path: KeyPath) -> bool:
    return any(path[: len(known)] == known for known in draft.overrides)


def _validate(draft: _Draft) -> tuple[Recipe | None, set[KeyPath]]:
    """Return the recipe without its bad fields, and the paths of those."""
    recipe, values = None, deepcopy(draft.values)
    bad = list(_unfit(draft))
    for path in bad:
        _remove(values, path)
    # A section with a bad field never comes to the checks between its fields: the second look,
    # without the bad ones, is for those.
    for _ in range(2):
        try:
            recipe = Recipe.model_validate(values)
            break
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                bad.append(_explain(draft, problem, bad))
            for path in bad:
                _remove(values, path)
    return recipe, set(bad)


def _unfit(draft: _Draft) -> Iterator[KeyPath]:
    """Report and yield the fields whose value pydantic would bend until it fits."""
    for path, info in infos().items():
        value, rule = _at(draft.values, path), allowed(info)
        if (isinstance(value, bool) and "true" not in rule) or (
            value in ("", []) and "path" in rule
        ):
            draft.report(path, _mismatch(rule, value))
            yield path


def _remove(values: dict[str, Any], path: KeyPath) -> None:
    parent = _at(values, path[:-1])
    if path and isinstance(parent, dict):
        parent.pop(path[-1], None)


def _explain(draft: _Draft, problem: Any, bad: Sequence[KeyPath]) -> KeyPath:
    """Say one of pydantic's problems in words; return the field or section that has it."""
    kind, location = problem["type"], tuple(map(str, problem["loc"]))
    path = location
    while path and path not in infos() and path not in sections():
        path = path[:-1]  # an item of a list, a branch of a union
    if kind == "extra_forbidden":
        draft.report(location, f"unknown key{_suggest(location)}")
        return location
    if kind == "missing" and path == location:
        if _at(draft.values, path) is None:  # else it was removed, and reported before
            for field_path, info in infos().items():
                if info.is_required() and field_path[: len(path)] == path:
                    draft.report(field_path, f"is missing: {info.description}")
    elif path in infos():
        draft.report(path, _mismatch(allowed(infos()[path]), _at(draft.values, path)))
    elif kind == "value_error":
        _explain_check(draft, path, problem["msg"].removeprefix("Value error, "), bad)
    else:
        draft.report(
            path, f"must be a section of keys; found {found_value(_at(draft.values, path))}"
        )
    return path


def _explain_check(draft: _Draft, section: KeyPath, message: str, bad: Sequence[KeyPath]) -> None:
    """Report a failed check between fields at the last of the fields that it names."""
    words = message.replace("(", " ").replace(",", " ").split()
    named = [(*section, key) for key in dict.fromkeys(words) if (*section, key) in infos()]
    if set(named) & set(bad):
        return  # it compares with a value that was refused already
    given = [path for path in named if _at(draft.values, path) is not None]
    overridden = [path for path in given if path in draft.overrides]
    written = sorted((path for path in given if path in draft.lines), key=draft.lines.__getitem__)
    at = [*written, *overridden][-1:] or [section]
    draft.report(at[0], message)


def _suggest(location: KeyPath) -> str:
    section, key = location[:-1], location[-1]
    here = [path[-1] for path in (*infos(), *sections()) if path and path[:-1] == section]
    elsewhere = [".".join(path) for path in (*infos(), *sections()) if path and path[-1] == key]
    if not difflib.get_close_matches(key, here, n=1) and elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return near(key, here)


def _mismatch(rule: str, value: Any) -> str:
    hint = ""
    if isinstance(value, str) and "," in rule:
        words = rule.replace(" or ", ", ").split(", ")
        matches = difflib.get_close_matches(value, words, n=1)
        hint = f"; did you mean {matches[0]}?" if matches else ""
    elif rule.startswith("text") and isinstance(value, int | float):
        hint = f'; put it in quotes: "{value}"'
    return f"must be {rule}; found {found_value(value)}{hint}"


def _at(values: Any, path: KeyPath) -> Any:
    for part in path:
        if not isinstance(values, dict) or part not in values:
            return None
        values = values[part]
    return values


def _one_line(text: str) -> str:
    line = " ".join(text.split())  # a key or an override may hold newlines, or a whole book
    return line if len(line) <= 500 else f"{line[:499]}…"
