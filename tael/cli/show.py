"""What a person or a script sees: lines, one table, one JSON object, the next command to type."""

import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tael.page.text import table_lines

__all__ = [
    "asked_lines",
    "ready_for_pipes",
    "show_bill",
    "show_counts",
    "show_frontier",
    "show_json",
    "show_lines",
    "show_next",
    "show_piece",
    "show_scores",
    "show_table",
]


def ready_for_pipes() -> None:
    """Make stdout and stderr take any text: a terminal's or pipe's encoding may know no Chinese."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout."""
    for line in lines:
        print(line)


def show_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object in one line; a number that JSON does not know becomes null."""
    print(json.dumps(_finite(value), ensure_ascii=False, allow_nan=False))


def show_piece(text: str) -> None:
    """Print a piece of a text that goes on, at once."""
    print(text, end="", flush=True)


def asked_lines() -> Iterator[str]:
    """Yield the lines that a person types, or that come through a pipe; empty ones are left out."""
    person = sys.stdin.isatty()
    while True:
        if person:
            show_piece("> ")
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def show_next(command: str) -> None:
    """Print the command that a person would type next, where a person is there to read it."""
    if sys.stdout.isatty():
        print(f"next: {command}")


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: first column left, the others right."""
    show_lines(table_lines(headings, rows))


def show_scores(scores: Mapping[str, Any]) -> None:
    """Print metrics with their 95 % intervals."""
    rows = [
        [metric, *(f"{score[key]:.4f}" for key in ("value", "low", "high"))]
        for metric, score in scores.items()
    ]
    show_table(["metric", "value", "95 % low", "high"], rows)


def show_counts(target: Path, counts: Mapping[str, int]) -> None:
    """Print where answers went and everything that was counted on the way."""
    told = ", ".join(f"{name}: {count:,}" for name, count in counts.items() if count)
    print(f"{told} → {target}")


def show_frontier(frontier: Any) -> None:
    """Print every priced variant, the chosen one marked, and the sentence that sums it up."""
    from tael.price.sentence import overview

    show_lines(overview(frontier.variants, frontier.chosen))
    show_lines([frontier.sentence])


def show_bill(bill: Any) -> None:
    """Print a line a key, and the total in each currency."""
    from tael.machine.money import show

    rows = [
        [line.key, f"{line.requests:,}", f"{line.units:,}", show(line.owed_micros, line.currency)]
        for line in bill.lines
    ]
    totals = [show(micros, currency) for currency, micros in bill.owed_micros.items()]
    show_table(
        ["key", "requests", "texts", "owes"], [*rows, *(["total", "", "", t] for t in totals)]
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
