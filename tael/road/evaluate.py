"""Score a variant of a run on its test split or on any labelled file."""

from collections import Counter
from pathlib import Path
from typing import Any

from tael.data.clean import clean
from tael.data.read import read
from tael.data.record import Record
from tael.engine.predictor import open_engine
from tael.errors import DataError
from tael.evaluate.score import score
from tael.recipe.schema import Recipe
from tael.task.classify import Classify
from tael.task.labels import check_unseen
from tael.train.run import Run

__all__ = ["evaluate", "read_records"]


def evaluate(
    run: str | Path, data: str | Path | None = None, variant: str | None = None
) -> dict[str, dict[str, float]]:
    """Return `{metric: {"value", "low", "high"}}` of the chosen variant (or `variant`).

    `data` is a labelled file in the recipe's format; None takes the run's own test split. No
    row of it is dropped: an empty text is answered like any other. Raises DataError for missing
    or unknown labels, with their places.
    """
    opened = Run(Path(run))
    if data is None:
        records = opened.records("test")
    else:
        records, _ = read_records(Path(data), opened.recipe, labelled=True)
    engine = open_engine(opened.folder, variant)
    task = engine.task
    assert isinstance(task, Classify), "the only task so far that is scored"
    check_unseen(records, task.labels, str(data or "test"), task.kind)
    references = task.references(records)
    scores = score(task, engine.predict(records), references, seed=opened.recipe.seed)
    return {
        name: {"value": one.value, "low": one.low, "high": one.high} for name, one in scores.items()
    }


def read_records(
    path: Path, recipe: Recipe, *, labelled: bool
) -> tuple[list[Record], dict[str, Any]]:
    """Read a file with the run's columns, repairs and encoding; every row is kept, empty or not.

    Returns the records and what was counted on the way.
    """
    counts: Counter[str] = Counter()
    data = recipe.data
    rows = read(
        (path,), encoding=data.encoding, on_error=data.on_error, txt=data.txt, counts=counts
    )
    records = list(
        clean(
            rows,
            data.columns,
            data.clean,
            counts,
            labelled=labelled,
            keep_empty=True,
        )
    )
    if not records:
        raise DataError(f"{path}: no rows")
    return records, dict(counts)
