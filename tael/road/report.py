"""Gather what a run measured and answered, and write its report and model card."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tael.compress.manifest import BASELINE, PARENT
from tael.data.record import Record
from tael.engine.predictor import Engine, open_engine
from tael.evaluate.baseline import majority
from tael.evaluate.evidence import Evidence, Split
from tael.evaluate.report import write_report
from tael.machine.probe import describe
from tael.recipe.fingerprint import fingerprint
from tael.recipe.load import resolved_yaml
from tael.task.classify import Classify
from tael.train.run import Run

__all__ = ["report"]

SAMPLE = 2000  # train records answered for the report: enough for ± 2 points


def report(run: Run) -> str:
    """Write report.html, report.json, model-card.md and curves/; return the first sentence.

    The parent (the trained network in float32) answers a sample of train, dev and test; majority
    and TF-IDF answer dev and test.
    """
    parent, tfidf = open_engine(run.folder, PARENT), open_engine(run.folder, BASELINE)
    task = parent.task
    assert isinstance(task, Classify), "the only task so far that has a report"
    train = run.records("train")
    records = {"train": _sample(train, run.recipe.seed), "dev": run.records("dev")}
    records["test"] = run.records("test")
    splits = {name: _answer(parent, rows) for name, rows in records.items() if rows}
    constant = majority(task.references(train), task.kind, task.labels)
    judged = {name: split for name, split in splits.items() if name != "train"}
    evidence = Evidence(
        name=run.recipe.name,
        task=task.name,
        kind=task.kind,
        labels=task.labels,
        metric=task.metric,
        splits=splits,
        baselines={
            "majority": {name: constant.predict(one.records) for name, one in judged.items()},
            "tfidf": {name: tfidf.predict(one.records) for name, one in judged.items()},
        },
        history=_history(run.folder / "metrics.jsonl"),
        counts=_counts(run.folder / "data" / "report.json"),
        costs=json.loads((run.folder / "costs.json").read_text("utf-8")),
        currency=run.recipe.machine.currency,
        recipe=_dotted(fingerprint(run.recipe)),
        recipe_yaml=resolved_yaml(run.recipe),
        machine=describe(),
        parameters=sum(weight.numel() for weight in run.network().parameters()),
        steps_per_epoch=len(train) / run.recipe.train.batch,
        notes=_notes(len(train), len(records["train"]), splits, task),
        seed=run.recipe.seed,
    )
    return write_report(run.folder, evidence).sentence


def _sample(records: Sequence[Record], seed: int) -> list[Record]:
    if len(records) <= SAMPLE:
        return list(records)
    return random.Random(seed).sample(list(records), SAMPLE)


def _answer(engine: Engine, records: Sequence[Record]) -> Split:
    references = engine.task.references(records)
    return Split(engine.predict(records), references, records)


def _notes(train: int, sampled: int, splits: dict[str, Split], task: Classify) -> list[str]:
    notes = []
    if sampled < train:
        notes.append(f"train scores are of a random sample: {sampled:,} of its {train:,} records")
    examples = [e for split in splits.values() for e in task.encode_many(split.records)]
    cut = [example.cut for example in examples if example.cut]
    if cut:
        tokens = sum(map(len, examples)) + sum(cut)
        notes.append(
            f"{len(cut):,} of {len(examples):,} texts are longer than data.max_tokens "
            f"({task.max_tokens}): {sum(cut) / tokens:.1%} of all tokens are cut"
        )
    return notes


def _history(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _counts(path: Path) -> dict[str, Any]:
    counts: dict[str, Any] = json.loads(path.read_text("utf-8")).get("counts", {})
    return counts


def _dotted(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _dotted(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat
