"""Price a run: measure every variant, draw the frontier, choose on dev, prove on test.

The choice is made once on dev and looked at once on test. What is not proved is not served: then
the parent is, or the baseline where the parent is below it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tael.compress.manifest import BASELINE, PARENT, Evidence, Variant, write_manifest
from tael.compress.variant import make_variants
from tael.data.clean import clean
from tael.data.read import read
from tael.data.record import Record
from tael.errors import FloorError, UsageError
from tael.evaluate.score import Score, score
from tael.files import write_text
from tael.machine.probe import describe
from tael.machine.tariff import cost_per_1000
from tael.price.choice import Priced, Quality, pareto
from tael.price.confirm import Proof, prove
from tael.price.decision import Decision, decide
from tael.price.floor import Floor, parse_floor
from tael.price.measure import Speed, Worker, measure, workers
from tael.price.page import page
from tael.price.sentence import sentence
from tael.recipe.load import section_yaml
from tael.recipe.schema import Recipe
from tael.task.answer import asked
from tael.task.base import Task
from tael.task.metrics import LOWER_IS_BETTER
from tael.train.progress import make_progress
from tael.train.run import Run

__all__ = ["TERMS", "Frontier", "price"]

# What pricing alone reads of a recipe: it may change after training.
TERMS = ("price", "machine.price_per_hour", "machine.currency")
_TRAFFIC = 512  # requests in the length mix: every round starts at another place in it


class Frontier(BaseModel):
    """What `frontier.json` holds; `sentence` says it to a person and stays out of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variants: list[Priced]
    floor: str
    chosen: str | None
    confirmed: bool
    baseline: str | None  # None: the task has none that could be served
    sentence: str = Field("", exclude=True)


def price(run: Path, recipe: Recipe | None = None, *, progress: bool = True) -> Frontier:
    """Make what variants are missing, measure all, and write `price/frontier.json` and its page.

    `recipe` brings floor, traffic and tariff; None: the run's own. `price/recipe.yaml` keeps them.
    Raises FloorError where no variant keeps the floor; the files are written even then.
    """
    opened = Run(run)
    recipe, task = recipe or opened.recipe, opened.task()
    variants = make_variants(opened, progress=progress)
    shown = make_progress(progress, recipe.machine.currency)
    try:
        folders = [run / "variants" / variant.id for variant in variants]
        with workers(folders) as running:
            scores = _scores(task, running, opened.records("dev"), shown.say)
            floor = _floor(recipe, task, scores[PARENT])
            traffic = _traffic(opened, recipe, task)
            bound = recipe.price.p95_ms
            speeds = measure(running, traffic, p95_ms=bound, say=shown.say)
            rows = _rows(variants, scores, speeds, recipe, floor)
            by_id = {worker.id: worker for worker in running}

            def on_test(candidate: str) -> Proof:
                shown.say(f"proving {candidate} on test")
                return _prove(task, floor, opened.records("test"), by_id[candidate], by_id[PARENT])

            decision = decide(rows, floor, on_test, p95_ms=bound, baseline=_baseline(rows))
    finally:
        shown.close()
    return _write(run, recipe, variants, rows, floor, decision)


def _scores(
    task: Task, running: Sequence[Worker], dev: Sequence[Record], say: Callable[[str], None]
) -> dict[str, dict[str, Score]]:
    references = task.references(dev)
    scores = {}
    for worker in running:
        say(f"scoring {worker.id} on {len(dev):,} dev rows")
        scores[worker.id] = score(task, worker.answers(dev), references)
    return scores


def _floor(recipe: Recipe, task: Task, scores: dict[str, Score]) -> Floor:
    lower = task.metric in LOWER_IS_BETTER
    default = f"{task.metric} {'<= 1.02' if lower else '>= 0.98'} * base"
    return parse_floor(recipe.price.floor or default, scores)


def _traffic(run: Run, recipe: Recipe, task: Task) -> list[Record]:
    """Return up to _TRAFFIC records in a random, fixed order: any part of it has the same mix."""
    path = recipe.price.traffic
    if path is None:
        records = list(run.records("test"))
    else:
        data = recipe.data
        raw = read([path], encoding=data.encoding, on_error=data.on_error, txt=data.txt)
        forms = task.forms(data.columns)
        records = list(clean(raw, data.columns, data.clean, Counter(), labelled=False, forms=forms))
    if not records:
        raise UsageError(
            f"price.traffic: no texts in {path or 'the test split'}; name a file that has some"
        )
    order = np.random.default_rng(0).permutation(len(records))[:_TRAFFIC]
    return [asked(task, records[at]) for at in order.tolist()]


def _baseline(rows: Sequence[Priced]) -> str | None:
    return BASELINE if any(row.id == BASELINE for row in rows) else None


def _rows(
    variants: Sequence[Variant],
    scores: dict[str, dict[str, Score]],
    speeds: dict[str, Speed],
    recipe: Recipe,
    floor: Floor,
) -> list[Priced]:
    rows = []
    for variant in variants:
        found, speed = scores[variant.id][floor.metric], speeds[variant.id]
        cost = None
        if speed.throughput > 0:
            tariff = recipe.machine.price_per_hour
            cost = cost_per_1000(tariff, speed.throughput, recipe.price.utilisation)
        rows.append(
            Priced(
                id=variant.id,
                runtime=variant.runtime,
                precision=variant.precision,
                quality=Quality(
                    metric=floor.metric, value=found.value, low=found.low, high=found.high
                ),
                p50_ms=speed.p50_ms,
                p95_ms=speed.p95_ms,
                throughput=speed.throughput,
                peak_bytes=speed.peak_bytes,
                bytes=variant.bytes,
                cost_per_1000=cost,
            )
        )
    front = pareto(rows, floor)
    return [row.model_copy(update={"on_frontier": row.id in front}) for row in rows]


def _prove(
    task: Task, floor: Floor, test: Sequence[Record], candidate: Worker, parent: Worker
) -> Proof:
    references = task.references(test)
    answers = candidate.answers(test)
    base = answers if candidate is parent else parent.answers(test)
    ours, theirs = (task.outcomes(part, references) for part in (answers, base))
    return prove(ours, theirs, floor)


def _write(
    run: Path,
    recipe: Recipe,
    variants: Sequence[Variant],
    rows: list[Priced],
    floor: Floor,
    decision: Decision,
) -> Frontier:
    """Write the evidence into the manifests, then the files of `price/`, `frontier.json` last."""
    machine = describe()
    for variant, row in zip(variants, rows, strict=True):
        evidence = Evidence(
            metric=row.quality.metric,
            quality=row.quality.value,
            low=row.quality.low,
            high=row.quality.high,
            p50_ms=row.p50_ms,
            p95_ms=row.p95_ms,
            throughput=row.throughput,
            peak_bytes=row.peak_bytes,
            cost_per_1000=row.cost_per_1000,
            currency=recipe.machine.currency,
            machine=machine,
        )
        folder = run / "variants" / variant.id
        write_manifest(folder, variant.model_copy(update={"evidence": evidence}))
    told = sentence(rows, floor, decision, recipe)
    frontier = Frontier(
        variants=rows,
        floor=str(floor),
        chosen=decision.chosen,
        confirmed=decision.confirmed,
        baseline=_baseline(rows),
        sentence=told,
    )
    folder = run / "price"
    write_text(folder / "recipe.yaml", section_yaml(recipe, TERMS))
    write_text(folder / "frontier.html", page(rows, floor, decision, recipe, machine))
    write_text(folder / "frontier.json", frontier.model_dump_json(indent=2) + "\n")
    if decision.chosen is None:
        raise FloorError(f"{folder / 'frontier.json'}: {told}")
    return frontier
