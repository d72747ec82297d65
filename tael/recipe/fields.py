"""Every field of the recipe as rows: name, what it may be, default, meaning.

Error messages, the commented recipe and the reference in `docs/` are all made from these rows, so
none of them can say something else than the schema.
"""

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from tael.recipe.schema import Recipe, Section
from tael.recipe.source import KeyPath

__all__ = ["ENGLISH", "FieldRow", "allowed", "fields", "infos", "path_keys", "sections"]

ENGLISH: Mapping[str, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "amount": "an amount",
    "text": "text",
    "name": "letters, digits, `_`, `.` and `-`",
    "path": "a path",
    "paths": "a path or a list of paths",
    "numbers": "a list of {count} numbers",
    "some of": "a list of {choices}",
    "mapping": "a number for each label",
    "section": "a section of keys",
    "or": " or ",
    "from": ", from {low} to {high}",
    "above": ", above {low}",
    "at least": ", at least {low}",
    "below": ", below {high}",
    "at most": ", at most {high}",
    "and": "",
}


@dataclass(frozen=True)
class FieldRow:
    """One field: its dotted name, what it may hold, its default as YAML shows it, its meaning."""

    name: str
    type: str
    default: str | None  # None: must be given
    description: str


def fields(words: Mapping[str, str] = ENGLISH) -> Iterator[FieldRow]:
    """Yield all fields in the order of the schema; `words` gives the types another language."""
    for path, info in infos().items():
        default = None if info.is_required() else shown(info.default)
        yield FieldRow(".".join(path), allowed(info, words), default, info.description or "")


def infos() -> dict[KeyPath, FieldInfo]:
    """Return the schema's own entry for every field that is not a section, by its path."""
    return {path: info for path, info in _walk(Recipe, ()) if not _is_section(info)}


def sections() -> dict[KeyPath, type[Section]]:
    """Return the class of every section by its path; the recipe itself is `()`."""
    found: dict[KeyPath, type[Section]] = {(): Recipe}
    for path, info in _walk(Recipe, ()):
        if _is_section(info):
            found[path] = _section(info)
    return found


def path_keys() -> set[KeyPath]:
    """Return the fields that hold paths of files."""
    return {path for path, info in infos().items() if Path in _leaves(info.annotation)}


def shown(value: Any) -> str:
    """Return a default as it would stand in a recipe."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(shown(item) for item in value)}]"
    return str(value)


def allowed(info: FieldInfo, words: Mapping[str, str] = ENGLISH) -> str:
    """Return in words what a field may hold, with its range."""
    return _type(info.annotation, info.metadata, words) + _range(info.metadata, words)


def _walk(section: type[Section], path: KeyPath) -> Iterator[tuple[KeyPath, FieldInfo]]:
    for name, info in section.model_fields.items():
        here = (*path, info.alias or name)
        yield here, info
        if _is_section(info):
            yield from _walk(_section(info), here)


def _is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, Section)


def _section(info: FieldInfo) -> type[Section]:
    assert isinstance(info.annotation, type)
    assert issubclass(info.annotation, Section)
    return info.annotation


def _leaves(annotation: Any) -> set[Any]:
    arguments = get_args(annotation)
    if not arguments:
        return {annotation}
    return set().union(*(_leaves(argument) for argument in arguments))


_SIMPLE = {bool: "bool", int: "int", float: "float", Decimal: "amount", Path: "path"}


def _type(annotation: Any, metadata: list[Any], words: Mapping[str, str]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], metadata, words)
    if origin in (Union, types.UnionType):
        kinds = [_type(kind, metadata, words) for kind in arguments if kind is not type(None)]
        return words["or"].join(kinds)
    if origin is Literal:
        return _choices(arguments, words)
    if origin is tuple and arguments[0] is Path:
        return words["paths"]
    if origin is tuple and arguments[-1] is Ellipsis:
        return words["some of"].format(choices=_type(arguments[0], [], words))
    if origin is tuple:
        return words["numbers"].format(count=len(arguments))
    if origin is dict:
        return words["mapping"]
    if annotation is str:
        return words["name" if any(getattr(m, "pattern", None) for m in metadata) else "text"]
    return words[_SIMPLE[annotation]]


def _choices(choices: tuple[Any, ...], words: Mapping[str, str]) -> str:
    *most, last = map(str, choices)
    return f"{', '.join(most)}{words['or']}{last}" if most else last


def _range(metadata: list[Any], words: Mapping[str, str]) -> str:
    low = high = above = below = None
    for bound in metadata:
        low = bound.ge if isinstance(bound, annotated_types.Ge) else low
        high = bound.le if isinstance(bound, annotated_types.Le) else high
        above = bound.gt if isinstance(bound, annotated_types.Gt) else above
        below = bound.lt if isinstance(bound, annotated_types.Lt) else below
    if low is not None and high is not None:
        return words["from"].format(low=low, high=high)
    parts = [("at least", low), ("above", above), ("below", below), ("at most", high)]
    return "".join(
        words[word].format(low=bound, high=bound) for word, bound in parts if bound is not None
    )
