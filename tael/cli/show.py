"""What a person or a script sees: lines, one table, one JSON object, the next command to type."""

import io
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "ready_for_pipes",
    "show_bill",
    "show_counts",
    "show_frontier",
    "show_json",
    "show_lines",
    "show_next",
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


def show_next(command: str) -> None:
    """Print the command that a person would type next, where a person is there to read it."""
    if sys.stdout.isatty():
        print(f"next: {command}")


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: first column left, the others right; Chinese counts two cells a character."""
    from rich.cells import cell_len

    lines = [headings, *rows]
    widths = [max(cell_len(line[at]) for line in lines) for at in range(len(headings))]
    for line in lines:
        cells = [
            text + " " * (width - cell_len(text))
            if not at
            else " " * (width - cell_len(text)) + text
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


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
    told = frontier.model_dump(mode="json")
    rows = [
        [
            f"{'→' if row['id'] == told['chosen'] else ' '} {row['id']}",
            f"{row['quality']['value']:.4f}",
            f"{row['p95_ms']:.2f}",
            f"{row['throughput']:,.1f}",
            "–" if row["cost_per_1000"] is None else f"{row['cost_per_1000']:.6f}",
            f"{row['bytes'] / 1e6:.1f}",
        ]
        for row in told["variants"]
    ]
    metric = told["variants"][0]["quality"]["metric"] if told["variants"] else "quality"
    show_table(["  variant", metric, "p95 ms", "texts/s", "cost/1000", "MB"], rows)
    print(frontier.sentence)


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
