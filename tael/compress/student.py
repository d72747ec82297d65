"""The two linear variants of a run: the sceptic's baseline, and the student of the network.

Letters: N texts · M of them labelled · V n-grams · K columns learnt · C classes.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tael.compress.distill import fit_soft, lessons
from tael.compress.parent import parent_logits
from tael.data.leak import unseen
from tael.data.prepare import texts
from tael.data.record import Record
from tael.evaluate.baseline import fit_tfidf
from tael.model.config import ModelConfig
from tael.model.linear import Grams, LinearModel, document
from tael.model.network import Network
from tael.task.base import Answer, Example
from tael.task.classify import Classify
from tael.train.run import Run, Split

__all__ = ["Taught", "baseline", "teach", "within_budget"]

_SPLITS: tuple[Split, ...] = ("train", "dev", "test")
_SHARES = (0.0, 0.3, 0.7)  # how much the student listens to the parent; 0: to the labels alone
_PENALTIES = (1.0, 10.0)
_GRAMS = 200_000  # n-grams kept, the most frequent: about 50 MB in memory
_UNLABELLED = 50_000  # texts
# Arithmetic spent on the parent's answers: some 30 seconds of two cores. Counted and not timed, so
# that the student does not depend on how busy the machine is.
_FLOPS = 2.5e12


@dataclass(frozen=True)
class Taught:
    """The student, how it was made, and the numbers of its lessons."""

    model: LinearModel
    how: str
    notes: dict[str, float | int | str]


def baseline(run: Run, task: Classify) -> LinearModel:
    """Return TF-IDF with a linear model, fitted on train, its settings chosen on dev."""
    return fit_tfidf(run.records("train"), run.records("dev"), task.kind, task.labels)


def teach(
    run: Run, network: Network, task: Classify, grams: Grams, say: Callable[[str], None]
) -> Taught:
    """Teach a linear student from gold labels and the parent's answers; choose the mix on dev."""
    train, dev = run.records("train"), run.records("dev")
    unlabelled = _unlabelled(run)
    records = [*train, *unlabelled]
    say(f"asking the parent about up to {len(records):,} texts")
    taught_NC = _answered(network, task, records, labelled=len(train))
    gold_MC = _gold(task, train)
    say("fitting the linear student")
    best = _best(task, records, dev, gold_MC, taught_NC, grams)
    answered = int(np.isfinite(taught_NC).all(axis=1).sum())
    how = (
        f"n-gram model taught by {len(train):,} labels and the parent's answers to {answered:,} "
        f"texts; listens to the parent by {best.share:g}, C={best.penalty:g}, chosen on dev"
    )
    notes: dict[str, float | int | str] = {
        "labelled": len(train),
        "unlabelled": len(unlabelled),
        "answered_by_parent": answered,
        "share": best.share,
        "penalty": best.penalty,
        "ngrams": len(best.model.vocabulary),
    }
    return Taught(best.model, how, notes)


def within_budget(
    lengths: Sequence[int], config: ModelConfig, labelled: int, flops: float = _FLOPS
) -> list[int]:
    """Return the texts that the parent is asked about, in order, for at most `flops` arithmetic.

    Unlabelled texts come first, for there the parent says something new; what is left of the budget
    goes to the labelled ones (the first `labelled`).
    """
    matrices = config.layers * (4 * config.hidden**2 + 2 * config.hidden * config.ffn)
    order = [*range(labelled, len(lengths)), *range(labelled)]
    spent = np.cumsum([2.0 * matrices * lengths[index] for index in order])
    return sorted(index for index, total in zip(order, spent, strict=True) if total <= flops)


@dataclass(frozen=True)
class _Candidate:
    model: LinearModel
    share: float
    penalty: float
    quality: float


def _best(
    task: Classify,
    records: Sequence[Record],
    dev: Sequence[Record],
    gold_MC: NDArray[np.float64],
    taught_NC: NDArray[np.float64],
    grams: Grams,
) -> _Candidate:
    """Fit every mix and strength, each from where the last one ended; return the best on dev."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        analyzer=grams.unit,
        ngram_range=(grams.low, grams.high),
        sublinear_tf=True,
        min_df=2 if len(records) > 100 else 1,
        max_features=_GRAMS,
    )
    x_NV = vectorizer.fit_transform([document(record) for record in records])
    vocabulary = vectorizer.get_feature_names_out().tolist()
    dev_texts, references = [document(record) for record in dev], task.references(dev)
    best: _Candidate | None = None
    for share in _SHARES:
        fitted: NDArray[np.float64] | None = None
        lesson = lessons(gold_MC, taught_NC, share)
        for penalty in _PENALTIES:
            fitted = fit_soft(x_NV, lesson, task.kind, penalty, fitted)
            model = LinearModel(
                grams, vocabulary, vectorizer.idf_, fitted[:-1], fitted[-1], outputs=task.classes
            )
            answers = task.decode(model.logits(dev_texts))
            quality = task.metrics(answers, references)[task.metric]
            if best is None or quality > best.quality:
                best = _Candidate(model, share, penalty, quality)
    assert best is not None, "there are shares and penalties to try"
    return best


def _answered(
    network: Network, task: Classify, records: Sequence[Record], *, labelled: int
) -> NDArray[np.float64]:
    """Return the parent's probabilities (or numbers), (N, C); NaN where the budget ends."""
    plain = [{key: record[key] for key in record if key != "label"} for record in records]
    examples: list[Example] = task.encode_many(plain)
    asked = within_budget([len(example) for example in examples], network.config, labelled)
    taught_NC = np.full((len(records), task.classes), np.nan)
    if asked:
        logits_NC = parent_logits(network, task, [examples[index] for index in asked])
        taught_NC[asked] = [_numbers(answer) for answer in task.decode(logits_NC)]
    return taught_NC


def _numbers(answer: Answer) -> list[float]:
    return [answer["value"]] if "value" in answer else list(answer["scores"].values())


def _gold(task: Classify, records: Sequence[Record]) -> NDArray[np.float64]:
    """Return the true targets (M, C): one-hot, several-hot, or the number."""
    references = task.references(records)
    if task.kind == "regression":
        return np.array(references, np.float64)[:, None]
    index = {label: place for place, label in enumerate(task.labels)}
    gold_MC = np.zeros((len(records), len(index)))
    for row, reference in enumerate(references):
        for label in [reference] if isinstance(reference, str) else reference:
            gold_MC[row, index[label]] = 1.0
    return gold_MC


def _unlabelled(run: Run) -> list[Record]:
    """Return the pretraining texts that stand in no split: dev and test stay unseen."""
    paths: tuple[Path, ...] | None = run.recipe.pretrain.text
    if paths is None:
        return []
    known = [record for split in _SPLITS for record in run.records(split)]
    counts: Counter[str] = Counter()
    found = unseen(texts(paths, run.recipe.data, counts), known, counts)
    return [{"text": text} for text in islice(found, _UNLABELLED)]
