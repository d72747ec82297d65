"""Recipes as text: every field with its value, and its meaning as a comment behind it."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from tael.recipe.fields import infos, sections
from tael.recipe.source import KeyPath, parse_value

__all__ = ["commented", "scalar"]

_COLUMN = 40  # where the comments stand


def commented(values: Mapping[KeyPath, Any], off: Iterable[KeyPath] = ()) -> str:
    """Return `values` as a recipe in the schema's order, each field with its meaning behind it.

    Fields in `off` stand there commented out, with the value they would have.
    """
    off = set(off)
    lines: list[str] = []
    opened: set[KeyPath] = {()}
    for path, info in infos().items():
        if path not in values and path not in off:
            continue
        for depth in range(1, len(path)):
            if path[:depth] not in opened:
                lines += _opening(path[:depth])
                opened.add(path[:depth])
        indent, mark = "  " * (len(path) - 1), "# " if path not in values else ""
        shown = values.get(path, info.default)
        line = f"{indent}{mark}{path[-1]}: {scalar(shown)}".rstrip()
        lines.append(f"{line:<{_COLUMN}}  # {info.description}")
    return "\n".join(lines) + "\n"


def scalar(value: Any) -> str:
    """Return a value as YAML that reads back as the same value."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_quoted(str(k))}: {scalar(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(scalar(item) for item in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Decimal):
        text = f"{value.normalize():f}"
        text = text if len(text.partition(".")[2]) > 1 else f"{value:.2f}"  # 0.1 and 0.10 are one
        return text if Decimal(str(float(text))) == value else _quoted(text)
    if isinstance(value, int | float):
        return repr(value)
    text = str(value) if isinstance(value, Path) else value
    plain = text.isprintable() and not set(text) & set("[]{},#\"'") and parse_value(text) == text
    return text if plain and text == text.strip() else _quoted(text)


def _opening(path: KeyPath) -> list[str]:
    indent = "  " * (len(path) - 1)
    comment = f"{indent}# {(sections()[path].__doc__ or '').splitlines()[0]}"
    return [*([""] if not indent else []), comment, f"{indent}{path[-1]}:"]


def _quoted(text: str) -> str:
    safe = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{"".join(safe)}"'
