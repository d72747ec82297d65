"""Would more data help the network? Small runs on parts of a run's training records."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tael.compress.manifest import PARENT
from tael.data.form import Form
from tael.data.record import AT, Record
from tael.engine.predictor import open_engine
from tael.errors import UsageError
from tael.evaluate.learning import SHARES, Learning, learning_curve, subset
from tael.machine.tariff import training_cost
from tael.recipe.schema import Columns, Recipe
from tael.task.base import Task, find
from tael.task.outcomes import Outcomes
from tael.train.run import Run, is_finished
from tael.train.splits import write_records
from tael.train.train import train

__all__ = ["learn_parts", "network_learning"]

_LEAST = 100  # training records below which a quarter teaches a network nothing

Say = Callable[[str], None]


def learn_parts(run: Run, *, progress: bool = True, say: Say = lambda _: None) -> None:
    """Train the run's recipe on 25 % and 50 % of its training records, each a run in `curve/`.

    A part that is trained already is left as it is, an unfinished one goes on. `say` hears before
    what it will take, from what the whole run took. Raises UsageError for fewer than 100 training
    records, and what `train` raises.
    """
    records = run.records("train")
    if len(records) < _LEAST:
        raise UsageError(
            f"{run.folder}: {len(records):,} training records are too few for a learning curve of "
            f"the network; {_LEAST} are needed"
        )
    left = [part for part in _parts(run) if not is_finished(part[1])]
    seconds = sum(_seconds(run, share) for share, _ in left)
    tariff = run.recipe.machine
    money = training_cost(seconds, tariff.price_per_hour)
    say(
        f"learning curve: {len(left)} runs still to train, about {seconds / 60:.0f} minutes and "
        f"{money:.2g} {tariff.currency}, from what the whole run took"
    )
    for share, folder in left:
        train(_recipe(run, share, folder), folder, progress=progress)


def network_learning(run: Run) -> Learning | None:
    """Return the learning curve of the network; None where its parts are not trained yet."""
    parts = list(_parts(run))
    if not all(is_finished(folder) for _, folder in parts):
        return None
    task = run.task()
    rows = run.records("test") or run.records("dev")
    train_rows = len(run.records("train"))
    answered = [
        (share, round(share * train_rows), [_answered(folder, rows, task)])
        for share, folder in [*parts, (1.0, run.folder)]
    ]
    return learning_curve("network", task.metric, answered, seed=run.recipe.seed)


def _parts(run: Run) -> Iterator[tuple[float, Path]]:
    for share in SHARES[:-1]:
        yield share, run.folder / "curve" / f"{100 * share:.0f}"


def _answered(folder: Path, rows: list[Record], task: Task) -> Outcomes:
    answers = open_engine(folder, PARENT).predict(rows)
    return task.outcomes(answers, task.references(rows))


def _seconds(run: Run, share: float) -> float:
    """Guess what a part takes: preparation and pretraining as before, training by its share."""
    costs = json.loads((run.folder / "costs.json").read_text("utf-8"))["seconds"]
    same = run.recipe.train.steps is not None
    return float(
        sum(costs.get(phase, 0.0) for phase in ("tokenizer", "pretrain"))
        + costs.get("train", 0.0) * (1.0 if same else share)
    )


def _recipe(run: Run, share: float, folder: Path) -> Recipe:
    """Return the run's recipe with its own splits as files, train cut to a part."""
    recipe, data = run.recipe, run.recipe.data
    files = {
        "train": subset(run.records("train"), share, recipe.seed),
        "dev": run.records("dev"),
        "test": run.records("test"),
    }
    home = folder.parent / f"{folder.name}-data"
    for name, records in files.items():
        path = home / f"{name}.jsonl"
        if not path.exists():
            write_records(path, [_without_place(record) for record in records])
    columns = _own_columns(find(recipe.task).forms(data.columns), run.records("train"))
    given = {
        name: (home / f"{name}.jsonl",) if records else None for name, records in files.items()
    }
    update = given | {
        "columns": columns,
        "fixes": None, "group": None, "time": None, "encoding": "auto",
    }  # fmt: skip
    part = data.model_copy(update=update)
    return recipe.model_copy(update={"name": f"{recipe.name}-{folder.name}", "data": part})


def _own_columns(forms: Sequence[Form], records: Sequence[Record]) -> Columns:
    """Return the columns of records that a run has written: each role under its own name."""
    form = next(form for form in forms if all(role in records[0] for role in form.given))
    return Columns(**{role: role for role in (*form.given, *form.target)})


def _without_place(record: Record) -> Record:
    return {name: value for name, value in record.items() if name != AT}
