"""The verb `runs`: every run of a folder in a line, what it is worth beside what it took.

Reads what runs wrote and computes nothing; neither torch nor a model is loaded.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from tael.errors import TaelError, UsageError
from tael.page.text import table_lines
from tael.recipe.source import parse

__all__ = ["Listing", "Row", "row", "runs"]

_HEADINGS = ("run", "task", "quality", "95 % interval", "on", "money", "time", "tokens", "variant")
_NONE = "–"


@dataclass(frozen=True)
class Row:
    """One run: what it learned, how well, for how much. None where it has not come so far.

    `quality` is the task's first metric of the trained network on `split`; `variant` the one that
    is served, `cost_per_1000` its price.
    """

    folder: str
    name: str
    task: str
    state: str  # priced, trained, unfinished
    metric: str | None = None
    quality: float | None = None
    low: float | None = None
    high: float | None = None
    split: str | None = None
    money: float = 0.0
    currency: str = ""
    seconds: float = 0.0
    tokens: int = 0
    joules: float | None = None
    variant: str | None = None
    cost_per_1000: float | None = None

    def cells(self) -> list[str]:
        """Return the row for a reader."""
        known = self.quality is not None
        return [
            self.folder,
            self.task,
            f"{self.metric} {self.quality:.4g}" if known else self.state,
            _NONE if self.low is None else f"{self.low:.4g} to {self.high:.4g}",
            self.split or _NONE,
            f"{self.money:.4f} {self.currency}".rstrip(),
            _duration(self.seconds),
            f"{self.tokens:,}",
            self.variant or ("none" if self.state == "priced" else _NONE),
        ]


@dataclass(frozen=True)
class Listing:
    """The runs of a folder, those that cannot be read, and how many other folders lie there."""

    folder: Path
    rows: list[Row] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)  # folder → what is wrong
    others: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "folder": str(self.folder),
            "runs": [asdict(row) for row in self.rows],
            "damaged": self.damaged,
            "other_folders": self.others,
        }

    def lines(self) -> list[str]:
        """Return the table for a reader, and what did not fit into it."""
        lines = table_lines(_HEADINGS, [row.cells() for row in self.rows]) if self.rows else []
        if len(self.rows) > 1 and len({row.currency for row in self.rows}) == 1:
            money = sum(row.money for row in self.rows)
            seconds = sum(row.seconds for row in self.rows)
            lines.append(
                f"{len(self.rows)} runs: {money:.4f} {self.rows[0].currency}, {_duration(seconds)}"
            )
        if not self.rows:
            lines.append(f"{self.folder}: no runs here yet; `tael run RECIPE` makes one")
        lines += [f"damaged: {folder}: {problem}" for folder, problem in self.damaged.items()]
        if self.others:
            few = self.others == 1
            lines.append(f"{self.others} other folder{' is no run' if few else 's are no runs'}")
        return lines


def runs(folder: str | Path = "runs") -> Listing:
    """List the runs in `folder`, by name; or the one run that `folder` is.

    A run that cannot be read is named with the reason and stops nothing. UsageError where there is
    no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: no such folder; `tael runs DIR` lists the runs in DIR, "
            "`tael run RECIPE` makes one in runs/"
        )
    found = Listing(folder)
    others = 0
    for path in [folder] if _is_run(folder) else sorted(_folders(folder)):
        if not _is_run(path):
            others += 1
            continue
        try:
            found.rows.append(row(path))
        except TaelError as error:
            found.damaged[str(path)] = str(error)
    return Listing(folder, found.rows, found.damaged, others)


def row(run: Path) -> Row:
    """Return what the files of one run say; UsageError names the first that cannot be read."""
    recipe = _yaml(run / "recipe.yaml")
    costs, frontier = _json(run / "costs.json"), _json(run / "price" / "frontier.json")
    chosen = _part(frontier.get("chosen"), str | None, run / "price" / "frontier.json")
    seconds: dict[str, float] = costs.get("seconds", {})
    work: dict[str, Any] = costs.get("work", {})
    finished = (run / "model" / "config.json").exists() and not (run / "checkpoints").exists()
    try:
        return Row(
            folder=run.name or str(run),
            name=str(recipe["name"]),
            task=str(recipe["task"]),
            state=("priced" if frontier else "trained") if finished else "unfinished",
            money=float(costs.get("money", 0.0)),
            currency=str(costs.get("currency") or _currency(recipe)),
            seconds=float(sum(seconds.values())),
            tokens=_tokens(costs, work),
            joules=costs.get("energy", {}).get("joules"),
            variant=chosen,
            cost_per_1000=_cost(frontier, chosen),
            **_quality(run),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"not what a run writes: {type(error).__name__} {error}") from error


def _quality(run: Path) -> dict[str, Any]:
    """Return the trained network's first metric: on test as reported, else on dev as trained."""
    report = _json(run / "report.json")
    if report:
        score = report["scores"][report["split"]][report["metric"]]
        return {
            "metric": report["metric"], "quality": score["value"], "low": score["low"],
            "high": score["high"], "split": report["split"],
        }  # fmt: skip
    for line in _finals(run / "metrics.jsonl"):
        if line["split"] == "dev":
            metric, value = next(iter(line["metrics"].items()))
            return {"metric": metric, "quality": value, "split": "dev"}
    return {}


def _tokens(costs: Mapping[str, Any], work: Mapping[str, Any]) -> int:
    if work:
        return int(sum(stage["tokens"] for stage in work.values()))
    return int(costs.get("pretrain_tokens", 0) + costs.get("train_tokens", 0))  # an older version's


def _cost(frontier: Mapping[str, Any], chosen: str | None) -> float | None:
    for variant in frontier.get("variants", ()):
        if variant["id"] == chosen:
            return float(variant["cost_per_1000"])
    return None


def _currency(recipe: Mapping[str, Any]) -> str:
    return str((recipe.get("machine") or {}).get("currency", ""))


def _finals(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the scores that training ended with."""
    if not path.exists():
        return
    for number, text in enumerate(_read(path).splitlines(), 1):
        if '"final"' not in text:
            continue
        try:
            line = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{path.name}:{number}: not JSON") from error
        if line.get("stage") == "final":
            yield line


def _folders(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]


def _is_run(folder: Path) -> bool:
    return (folder / "recipe.lock.yaml").exists()


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        values = parse(_read(path)).values
    except (YAMLError, TaelError) as error:
        raise UsageError(f"{path.name}: not YAML: {str(error).splitlines()[0]}") from error
    return _part(values, dict, path)  # type: ignore[no-any-return]


def _json(path: Path) -> Mapping[str, Any]:
    """Return the object in a file of the run; {} where the run has not come so far."""
    if not path.exists():
        return {}
    try:
        values = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path.name}: not JSON: {error}") from error
    return _part(values, dict, path)  # type: ignore[no-any-return]


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{path.name}: cannot be read: {error}") from error


def _part(value: Any, kind: Any, path: Path) -> Any:
    if not isinstance(value, kind):
        raise UsageError(f"{path.name}: damaged, found {str(value)[:40]!r}")
    return value


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return _NONE
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
