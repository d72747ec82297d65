"""A recipe as plain values by dotted key: what two recipes, or two runs, are compared by."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from tael.recipe.fields import infos
from tael.recipe.schema import Recipe
from tael.recipe.source import KeyPath

__all__ = ["defaults", "difference", "fingerprint", "found_value", "leaves"]


def fingerprint(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain JSON values; equal exactly where two recipes say the same."""
    return {".".join(path): _json(value) for path, value in leaves(recipe)}


def defaults() -> dict[str, Any]:
    """Return the fingerprint of a recipe's defaults: what a key says that nobody wrote."""
    return {
        ".".join(path): _json(info.get_default(call_default_factory=True))
        for path, info in infos().items()
        if not info.is_required()
    }


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for each field in which two fingerprints differ: `train.rate: 0.1 → 0.2`."""
    keys = dict.fromkeys([*old, *new])
    return [
        f"{key}: {found_value(old.get(key))} → {found_value(new.get(key))}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def leaves(recipe: Recipe) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every field of `recipe` with its value, in the order of the schema."""
    for path in infos():
        value: Any = recipe
        for part in path:
            value = getattr(value, "from_" if part == "from" else part)
        yield path, value


def found_value(value: Any) -> str:
    """Return a value as a message shows it: as YAML would, cut to 80 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"  # 0.10 and 0.1 are the same price
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value
