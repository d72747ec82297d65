"""Gather what a run measured and answered, and write its report and model card."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tael.compress.manifest import BASELINE, PARENT
from tael.compress.variant import make_variants
from tael.data.record import Record
from tael.engine.load import load
from tael.engine.predictor import Engine, open_engine
from tael.evaluate.answered import Split
from tael.evaluate.baseline import majority
from tael.evaluate.evidence import Evidence
from tael.evaluate.learning import Learning, baseline_learning
from tael.evaluate.report import write_report
from tael.evaluate.robust import Robustness, measure_robustness
from tael.evaluate.slices import word_counts
from tael.evaluate.wording import speaking
from tael.machine.probe import describe
from tael.model.linear import LinearModel, document
from tael.page.words import Lang, Words
from tael.recipe.fingerprint import fingerprint
from tael.recipe.load import resolved_yaml
from tael.road.learning import learn_parts, network_learning
from tael.task.answer import lengths_by_record
from tael.task.base import Answer, Task
from tael.task.classify import Classify
from tael.train import guard
from tael.train.run import Run

__all__ = ["report", "write"]

_WRITTEN, _BEGINNING, _GOES_ON = 6, 40, 60  # samples of what is written: characters, and tokens
SAMPLE = 2000  # train records answered for the report: enough for ± 2 points

Say = Callable[[str], None]


def write(
    run: str | Path,
    *,
    lang: Lang | None = None,
    learning_curve: bool = False,
    progress: bool = True,
    say: Say = lambda _: None,
) -> str:
    """Write the report of a finished run anew and return its first sentence.

    With `learning_curve` the recipe is first trained on parts of the data (`learn_parts`). The
    variants are made where they are missing. Raises RunError where another process works in the
    run.
    """
    opened = Run(Path(run))
    if learning_curve:
        learn_parts(opened, progress=progress, say=say)
    with guard.writable(opened.folder), guard.locked(opened.folder):
        make_variants(opened, progress=progress)
        return report(opened, lang=lang, say=say)


def report(run: Run, *, lang: Lang | None = None, say: Say = lambda _: None) -> str:
    """Write report.html, report.json, model-card.md and curves/; return the first sentence.

    The parent (the trained network in float32) answers a sample of train, dev and test, and the
    baselines dev and test. Of a classification, too: the parent and the variant that was chosen,
    where the run is priced, answer changed texts, and TF-IDF learns from parts of train. `lang`
    None: as the recipe says. `say` hears what takes time, before it does.
    """
    parent = open_engine(run.folder, PARENT)
    words = speaking(lang or run.recipe.lang)
    train, dev = run.records("train"), run.records("dev")
    records = {"train": _sample(train, run.recipe.seed), "dev": dev, "test": run.records("test")}
    splits = {name: _answer(parent, rows) for name, rows in records.items() if rows}
    evidence = Evidence(
        name=run.recipe.name,
        task=parent.task.name,
        kind=None,
        labels=parent.task.labels,
        metric=parent.task.metric,
        splits=splits,
        lay=parent.task.outcomes,
        judge=parent.task.mistake,
        metric_words=parent.task.metric_words,
        sceptic=parent.task.baseline,
        history=_history(run.folder / "metrics.jsonl"),
        counts=_counts(run.folder / "data" / "report.json"),
        costs=json.loads((run.folder / "costs.json").read_text("utf-8")),
        currency=run.recipe.machine.currency,
        recipe=fingerprint(run.recipe),
        recipe_yaml=resolved_yaml(run.recipe),
        machine=describe(),
        parameters=sum(weight.numel() for weight in run.network().parameters()),
        steps_per_epoch=len(train) / run.recipe.train.batch,
        notes=_notes(words, len(train), len(records["train"]), splits, parent.task),
        seed=run.recipe.seed,
        lang=words.lang,
    )
    task = parent.task
    if isinstance(task, Classify):
        evidence = _labelled(run, evidence, parent, task, say)
    else:
        evidence = _plain(run, evidence, task)
    return write_report(run.folder, evidence).sentence


def _labelled(run: Run, evidence: Evidence, parent: Engine, task: Classify, say: Say) -> Evidence:
    """Return the evidence with what only labels have: TF-IDF, slices, changed texts, a curve."""
    tfidf, splits, train = open_engine(run.folder, BASELINE), evidence.splits, run.records("train")
    constant = majority(task.references(train), task.kind, task.labels)
    judged = {name: split for name, split in splits.items() if name != "train"}
    main = next(name for name in ("test", "dev", "train") if name in splits)
    return replace(
        evidence,
        kind=task.kind,
        baselines={
            "majority": {name: constant.predict(one.records) for name, one in judged.items()},
            "tfidf": {name: tfidf.predict(one.records) for name, one in judged.items()},
        },
        known=word_counts(str(record["text"]) for record in train),
        robustness=_robustness(run, parent, splits[main], say),
        learning=_learning(run, tfidf, splits[main], say),
    )


def _plain(run: Run, evidence: Evidence, task: Task) -> Evidence:
    """Return the evidence with the task's own baselines, and the network's learning curve."""
    found = task.baselines(run.records("train"), run.records("dev"))
    judged = {name: split for name, split in evidence.splits.items() if name != "train"}
    return replace(
        evidence,
        baselines={
            name: {split: one.predict(part.records) for split, part in judged.items()}
            for name, one in found.items()
        },
        learning=[one for one in [network_learning(run)] if one is not None],
        written=_written(run) if task.name == "clm" else (),
    )


def _written(run: Run) -> list[tuple[str, str]]:
    """Let the network go on from the beginnings of some texts of dev, or of train."""
    texts = [str(one["text"]) for one in (run.records("dev") or run.records("train"))]
    if len(texts) == 1:  # a long one, begun at several places
        size = -(-len(texts[0]) // _WRITTEN)
        texts = [texts[0][at : at + size] for at in range(0, len(texts[0]), size)]
    begun = [text[:_BEGINNING] for text in texts[:: -(-len(texts) // _WRITTEN)]]
    seed = run.recipe.seed
    said = load(run.folder).generate(begun, max_tokens=_GOES_ON, temperature=0.8, seed=seed)
    return [(before, after.text) for before, after in zip(begun, said, strict=True)]


def _robustness(run: Run, parent: Engine, part: Split, say: Say) -> list[Robustness]:
    """Ask the parent and what is served, if that is another, the same changed texts."""
    engines = [parent]
    chosen = _chosen(run.folder / "price" / "frontier.json")
    if chosen not in (None, PARENT):
        engines.append(open_engine(run.folder, chosen))
    task = parent.task
    assert isinstance(task, Classify), "the only task so far that has a report"
    return [
        measure_robustness(
            engine,
            part,
            task.kind,
            task.labels,
            task.metric,
            system=engine.variant.id,
            seed=run.recipe.seed,
            say=say,
        )
        for engine in engines
    ]


def _chosen(frontier: Path) -> str | None:
    if not frontier.is_file():
        return None
    chosen: str | None = json.loads(frontier.read_text("utf-8"))["chosen"]
    return chosen


def _learning(
    run: Run,
    tfidf: Engine,
    part: Split,
    say: Say,
) -> list[Learning]:
    """Return the curve of the baseline, and of the network where its parts are trained."""
    task = tfidf.task
    assert isinstance(task, Classify), "the only task so far that has a report"

    def answer(model: LinearModel) -> list[Answer]:
        return task.decode(model.logits([document(task.repaired(one)) for one in part.records]))

    train = run.records("train")
    say(f"learning curve of TF-IDF: 25 % and 50 % of {len(train):,} training records, three times")
    found = baseline_learning(
        LinearModel.load(tfidf.folder),
        answer,
        train,
        run.records("dev"),
        part.references,
        kind=task.kind,
        labels=task.labels,
        metric=task.metric,
        seed=run.recipe.seed,
    )
    return [one for one in (found, network_learning(run)) if one is not None]


def _sample(records: Sequence[Record], seed: int) -> list[Record]:
    if len(records) <= SAMPLE:
        return list(records)
    return random.Random(seed).sample(list(records), SAMPLE)


def _answer(engine: Engine, records: Sequence[Record]) -> Split:
    references = engine.task.references(records)
    return Split(engine.predict(records), references, records)


def _notes(
    words: Words, train: int, sampled: int, splits: Mapping[str, Split], task: Task
) -> list[str]:
    notes = []
    if sampled < train:
        notes.append(
            words(
                "Train scores are of a random sample: {sample} of its {all} records.",
                sample=f"{sampled:,}", all=f"{train:,}",
            )
        )  # fmt: skip
    lengths = [lengths_by_record(task.encode_many(one.records)) for one in splits.values()]
    kept = [tokens for some, _ in lengths for tokens in some]
    cut = [lost for _, some in lengths for lost in some if lost]
    if cut:
        tokens = sum(kept) + sum(cut)
        notes.append(
            words(
                "{cut} of {all} texts are longer than data.max_tokens ({most}): {share} of all "
                "tokens are cut.",
                cut=f"{len(cut):,}", all=f"{len(kept):,}", most=task.max_tokens,
                share=words.percent(sum(cut) / tokens),
            )
        )  # fmt: skip
    return notes


def _history(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _counts(path: Path) -> dict[str, Any]:
    counts: dict[str, Any] = json.loads(path.read_text("utf-8")).get("counts", {})
    return counts
