"""Score a variant of a run on its test split or on any labelled file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tael.data.clean import clean
from tael.data.read import read
from tael.data.record import Record
from tael.engine.predictor import open_engine
from tael.errors import DataError, UsageError
from tael.evaluate.score import score
from tael.recipe.load import load_recipe
from tael.recipe.schema import Recipe
from tael.road.served import Remote
from tael.road.writer import evaluate_writer, writes_alone
from tael.task.base import Predictor, find
from tael.train.run import Run

__all__ = ["evaluate", "read_records", "recipe_for"]

# What a file of records may say otherwise than the files of the run did.
_READING = ("data.columns", "data.encoding", "data.on_error", "data.txt")


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    variant: str | None = None,
    overrides: Sequence[str] = (),
    *,
    served: str | None = None,
    key: str = "",
) -> dict[str, dict[str, float]]:
    """Return `{metric: {"value", "low", "high"}}` of the chosen variant (or `variant`).

    `served` is the address of a running service (http://HOST:PORT) that answers in its place, asked
    with the API key `key`.
    `data` is a labelled file in the recipe's format, unless `overrides` (`data.columns.text=…`)
    say otherwise; None takes the run's own test split. No row of it is dropped: an empty text is
    answered like any other. `run` may also be a model that writes (a GGUF file, a folder): texts
    are measured, and pairs and choices judged, by likelihood. Raises DataError for missing or
    unknown labels, with their places.
    """
    if writes_alone(Path(run)):
        for name, given in (("--variant", variant), ("--served", served)):
            if given is not None:
                raise UsageError(f"{name} has no effect: {run} is a model, not a run")
        return evaluate_writer(Path(run), data, overrides)
    opened = Run(Path(run))
    if data is None:
        if overrides:
            raise UsageError(
                f"override {overrides[0]}: has no effect on the run's own test split; name a "
                "file: --data FILE"
            )
        records = opened.records("test")
    else:
        records, _ = read_records(Path(data), recipe_for(opened, overrides), labelled=True)
    who: Predictor
    if served is None:
        engine = open_engine(opened.folder, variant)
        task, who = engine.task, engine
    elif variant is not None:
        raise UsageError("--variant has no effect on a running service; start it with --variant")
    else:
        task = opened.task()
        who = Remote(served, key, task, opened.recipe.serve.max_texts)
    task.check_known(str(data or "test"), records)
    references = task.references(records)
    scores = score(task, who.predict(records), references, seed=opened.recipe.seed)
    return {
        name: {"value": one.value, "low": one.low, "high": one.high} for name, one in scores.items()
    }


def recipe_for(run: Run, overrides: Sequence[str]) -> Recipe:
    """Return the recipe of `run` with `overrides` laid over it, which say how a file is read.

    Raises UsageError for other keys, and for a second text more or less than the run learnt from.
    """
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in _READING):
            raise UsageError(
                f"override {override}: only how the file is read can differ from the run: "
                f"{', '.join(_READING)}"
            )
    recipe = load_recipe(run.folder / "recipe.yaml", overrides)
    learnt, given = run.recipe.data.columns.text_pair, recipe.data.columns.text_pair
    if (learnt is None) != (given is None):
        raise UsageError(
            "override data.columns.text_pair: the run learnt from "
            f"{'two texts' if learnt else 'one text'} a record, and answers nothing else"
        )
    return recipe


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
            forms=find(recipe.task).forms(data.columns),
        )
    )
    if not records:
        raise DataError(f"{path}: no rows")
    return records, dict(counts)
