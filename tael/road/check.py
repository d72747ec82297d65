"""The verb `check`: what a recipe would meet, found out before any compute is spent.

Nothing here imports torch or scikit-learn: a check takes a second or two.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tael.data.folder import is_pattern
from tael.data.prepare import prepare
from tael.data.record import Record, place
from tael.errors import CheckpointError, DataError, RecipeError, UsageError
from tael.files import write_text
from tael.model.config import ModelConfig
from tael.model.families import find as find_family
from tael.model.fresh import new_config
from tael.recipe.load import near
from tael.recipe.package import resolve
from tael.recipe.schema import Compress, Recipe
from tael.road.estimate import Estimate, Sizes, estimate
from tael.task.base import TASKS, find
from tael.train.rates import curves, drawn
from tael.train.rates import page as rate_page

__all__ = ["Checked", "check", "check_terms", "plot_rate", "sizes_of"]

_SIZES = (  # of a checkpoint, as its config.json may call them
    ("hidden_size", "dim"), ("num_hidden_layers", "n_layers"),
    ("intermediate_size", "hidden_dim"), ("vocab_size",),
)  # fmt: skip

_FIRST_ROWS = 10_000
_SHOWN_LABELS = 30
_WIDTH = 70  # characters of a record that are shown


@dataclass(frozen=True)
class Checked:
    """A recipe that is in order, with what it was seen to hold."""

    rows: dict[str, int]
    labels: dict[str, int]
    samples: list[Record]
    shown: list[str]  # the same in a line each
    counts: dict[str, int]
    estimate: Estimate
    limit: int | None  # rows looked at in each file, where that cut something off
    full: bool
    currency: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "rows": self.rows,
            "labels": self.labels,
            "samples": self.samples,
            "counts": self.counts,
            "estimate": asdict(self.estimate),
            "first_rows_only": self.limit,
        }

    def lines(self) -> list[str]:
        """Return the check for a reader, the answer first."""
        looked = "all rows read"
        if self.limit:
            looked = f"looked at the first {self.limit:,} rows of each of train, dev and test"
        if not self.full:
            looked += " for exact duplicates only; --full reads all and looks for near ones"
        labels = [f"{label} {count:,}" for label, count in self.labels.items()]
        if len(labels) > _SHOWN_LABELS:
            labels[_SHOWN_LABELS:] = [f"and {len(labels) - _SHOWN_LABELS} more"]
        return [
            f"in order: {looked}",
            "rows: " + " · ".join(f"{split} {count:,}" for split, count in self.rows.items()),
            *(f"  {name}: {count:,}" for name, count in self._told()),
            *([f"labels in train: {' · '.join(labels)}"] if labels else []),
            *self.shown,
            self.estimate.line(self.currency, at_least=bool(self.limit)),
        ]

    def _told(self) -> Iterator[tuple[str, int]]:
        """Yield what was counted, without zeros and what the line above says already."""
        for name, count in self.counts.items():
            if count and not name.endswith(" rows"):
                yield name, count


def check(recipe: Recipe, *, full: bool = False) -> Checked:
    """Look at what `recipe` names: task, files, columns, labels, checkpoint, floor.

    Reads the first 10,000 rows of the data and removes exact duplicates only, all rows and near
    duplicates too where `full`. Raises the TaelError that a run would meet, DataError with all
    absent files at once.
    """
    _check_task(recipe.task)
    _check_files(recipe)
    sizes = sizes_of(recipe)
    check_terms(recipe)
    data = recipe.data
    limit = None if full else _FIRST_ROWS
    task = find(recipe.task)
    look = partial(task.check, recipe=recipe)
    forms = task.forms(data.columns)
    splits = prepare(data, recipe.seed, limit=limit, near=full, look=look, forms=forms)
    by_split = {"train": splits.train, "dev": splits.dev, "test": splits.test}
    read = [splits.counts.get(f"{split}: rows read", 0) for split in by_split]
    return Checked(
        rows={split: len(records) for split, records in by_split.items()},
        labels=task.survey(by_split, recipe),
        samples=splits.train[:3],
        shown=[_sample(record, task.line(record)) for record in splits.train[:3]],
        counts=dict(splits.counts),
        estimate=estimate(recipe, splits.train, sizes),
        limit=limit if limit in read else None,
        full=full,
        currency=recipe.machine.currency,
    )


def plot_rate(recipe: Recipe, checked: Checked) -> list[str]:
    """Draw the learning rate of every stage as lines; write it as a page, NAME-rate.html, too."""
    found = curves(recipe, checked.rows["train"])
    target = Path(f"{recipe.name}-rate.html")
    write_text(target, rate_page(recipe, found))
    short = checked.limit is not None and recipe.train.steps is None
    return [
        *(line for curve in found for line in drawn(curve)),
        *(["train is longer than that: its rows were not all read; see --full"] if short else []),
        f"wrote {target}",
    ]


def _check_task(task: str) -> None:
    if task not in TASKS:
        raise UsageError(f"task: unknown task {task!r}{near(task, list(TASKS))}")


def _check_files(recipe: Recipe) -> None:
    absent = [
        f"{path}: no such file; {key} names it"
        for key, paths in _named_files(recipe)
        for path in paths
        if not path.exists() and not is_pattern(path)
    ]
    if absent:
        raise DataError("\n".join(absent))


def _named_files(recipe: Recipe) -> Iterator[tuple[str, Sequence[Path]]]:
    data = recipe.data
    yield from (("data.train", data.train), ("data.dev", data.dev or ()))
    yield from (("data.test", data.test or ()), ("pretrain.text", recipe.pretrain.text or ()))
    yield "data.fixes", [data.fixes] if data.fixes else []
    yield "price.traffic", [recipe.price.traffic] if recipe.price.traffic else []


def check_terms(recipe: Recipe) -> None:
    """Raise what would be raised at the end: variants that cannot be, a floor that is none.

    Also an absent traffic file.

    A run and a pricing look here first, so that no compute is spent before it is told.
    """
    _check_task(recipe.task)
    wanted, can = recipe.compress.variants, find(recipe.task).variants
    cannot = [name for name in wanted if name not in can]
    if cannot and wanted != Compress().variants:
        raise RecipeError(
            [
                f"compress.variants: {cannot[0]} cannot be made for task {recipe.task}; "
                f"it has {', '.join(can)}"
            ]
        )
    if recipe.price.floor is not None:
        from tael.price.floor import check_floor

        check_floor(recipe.price.floor, recipe)
    traffic = recipe.price.traffic
    if traffic is not None and not traffic.exists() and not is_pattern(traffic):
        raise DataError(f"{traffic}: no such file; price.traffic names it")


def sizes_of(recipe: Recipe) -> Sizes:
    """Return the sizes of the recipe's model; CheckpointError for a folder that does not say."""
    model = recipe.model
    hidden, layers, ffn, vocab = model.hidden, model.layers, model.ffn, recipe.tokenizer.vocab
    if model.from_ is not None:
        config = _checkpoint_config(model.from_)
        said = [next((config[n] for n in names if n in config), None) for names in _SIZES]
        sizes = [size for size in said if isinstance(size, int)]
        if len(sizes) < len(_SIZES):
            names = ", ".join(" or ".join(names) for names in _SIZES)
            raise CheckpointError(f"{model.from_}/config.json: needs whole numbers {names}")
        hidden, layers, ffn, vocab = sizes
        return Sizes(hidden, layers, ffn, vocab, _read(config))
    fresh = new_config(model, vocab, recipe.data.max_tokens)
    return Sizes(hidden, layers, ffn, vocab, fresh)


def _read(config: dict[str, Any]) -> ModelConfig | None:
    """Return all that a checkpoint says of itself; None where opening it will be refused."""
    try:
        return find_family(config.get("model_type")).read(config)
    except (CheckpointError, ArithmeticError, LookupError, TypeError, ValueError):
        return None


def _checkpoint_config(source: str) -> dict[str, Any]:
    try:
        folder = resolve(source, weights=False)
    except UsageError as error:
        raise UsageError(f"model.from: {error}") from error
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"model.from: {folder / 'config.json'} cannot be read ({error}); it must be a "
            f"folder in Hugging Face BERT layout"
        ) from error
    return config if isinstance(config, dict) else {}


def _sample(record: Record, line: str) -> str:
    short = " ".join(line.split())
    short = short if len(short) <= _WIDTH else f"{short[: _WIDTH - 1]}…"
    return f"  {os.path.basename(place(record))}  {short}"
