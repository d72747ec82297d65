"""Which labels are probably wrong: rows that a model which has not seen them contradicts.

The TF-IDF baseline is fitted five times, each time on the rows outside one fold, so that each row
is judged by a model that did not learn its label; a row's fold follows from its text alone. Which
rows are in doubt is confident learning's question (Northcutt, Jiang, Chuang 2021, arXiv:1911.00068,
section 3): a class counts against the given one where its probability reaches the mean of the rows
that have that label, which allows for rare classes and unsure models; so does the likeliest class.
They are ordered by the probability of the given label, the lowest first (Kuan, Mueller 2022,
Model-Agnostic Label Quality Scoring to Detect Real-World Label Errors, compare orders). By the
margin between two classes instead, a third fewer of the planted labels of a set with 13 classes
stood among the first 100; with two classes it is nearly the same order.

Letters: N rows · C classes.
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tael.data.dedup import normalised
from tael.data.fixes import escaped
from tael.data.record import Record, place
from tael.errors import DataError
from tael.evaluate.baseline import logistic, ridge, suited_grams, vectorize
from tael.files import write_bytes
from tael.model.linear import document
from tael.task.metrics import Kind, split_labels

__all__ = ["COLUMNS", "Suspect", "find_suspects", "write_suspects"]

COLUMNS = ("place", "text", "label", "suggested", "score")
_FOLDS = 5
_LEAST = 50  # rows: with fewer, a fold's model knows next to nothing
_STRENGTH = 10.0  # what dev chooses on every real set tried


@dataclass(frozen=True, slots=True)
class Suspect:
    """A record, the label that a model which has not seen it would give, and how strongly.

    `score` is how likely the given label is wrong, from 0 to 1 (several labels: the one that
    differs most); for a number, the difference in standard deviations.
    """

    record: Record
    suggested: str
    score: float


def find_suspects(
    records: Sequence[Record], labels: Sequence[str], kind: Kind = "single", *, most: int = 200
) -> list[Suspect]:
    """Return up to `most` records whose label is worth a look, the most doubtful first.

    Records that the model would label as they are do not come. The same records in another order
    give the same answer. Raises DataError for fewer than 50 records.
    """
    if len(records) < _LEAST:
        raise DataError(
            f"{len(records)} records are too few to find wrong labels among: at least {_LEAST}."
        )
    records = sorted(records, key=lambda record: (document(record), place(record)))
    texts = [document(record) for record in records]
    features = _features(texts)
    if features is None:
        return []
    folds_N = np.array([_fold(record) for record in records])
    if kind == "regression":
        found = _numbers(records, features, folds_N)
    elif kind == "multi":
        found = _sets(records, labels, features, folds_N)
    else:
        found = _classes(records, labels, features, folds_N)
    return found[:most]


def write_suspects(path: Path, suspects: Sequence[Suspect]) -> None:
    """Write a table to look through, in a spreadsheet too, and to hand back as `data.fixes`.

    Correct the column `label`, or write `drop` there; delete the rows whose label is right, or
    leave them. No cell is a formula: those that would be begin with a `'`.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for suspect in suspects:
        record = suspect.record
        cells = (place(record), str(record["text"]), str(record["label"]), suspect.suggested)
        writer.writerow([*map(escaped, cells), f"{suspect.score:.4f}"])
    # The mark at the beginning is what makes Excel read UTF-8.
    write_bytes(path, table.getvalue().encode("utf-8-sig", "replace"))


def _features(texts: Sequence[str]) -> Any:
    """Return all n-grams that suit the texts, side by side; None where there are none."""
    from scipy.sparse import hstack

    found = [vectorize(texts, grams)[1] for grams in suited_grams(texts)]
    found = [features for features in found if features is not None]
    return hstack(found, format="csr") if found else None


def _fold(record: Record) -> int:
    return hashlib.sha256(f"fold\n{normalised(record)}".encode()).digest()[0] % _FOLDS


def _classes(
    records: Sequence[Record], labels: Sequence[str], features: Any, folds_N: NDArray[Any]
) -> list[Suspect]:
    index = {label: number for number, label in enumerate(labels)}
    given_N = np.array([index[str(record["label"])] for record in records])
    chance_NC = np.full((len(records), len(labels)), np.nan)
    # Four fifths of two folds' rows are the same: the next model starts where this one ended.
    model = logistic(_STRENGTH).set_params(warm_start=True)
    for fold in range(_FOLDS):
        learn_N, judge_N = folds_N != fold, folds_N == fold
        if judge_N.any() and len(set(given_N[learn_N])) > 1:
            if hasattr(model, "classes_") and set(model.classes_) != set(given_N[learn_N]):
                model = logistic(_STRENGTH).set_params(warm_start=True)
            model.fit(features[learn_N], given_N[learn_N])
            chance_NC[judge_N] = 0.0
            chance_NC[np.ix_(judge_N, model.classes_)] = model.predict_proba(features[judge_N])
    return _ranked(records, labels, given_N, chance_NC)


def _ranked(
    records: Sequence[Record],
    labels: Sequence[str],
    given_N: NDArray[Any],
    chance_NC: NDArray[np.float64],
) -> list[Suspect]:
    judged_N = ~np.isnan(chance_NC[:, 0])
    usual_C = np.array(
        [
            chance_NC[judged_N & (given_N == c), c].mean()
            if (judged_N & (given_N == c)).any()
            else np.inf
            for c in range(len(labels))
        ]
    )
    rows = np.arange(len(records))
    own_N = chance_NC[rows, given_N]
    other_NC = chance_NC.copy()
    other_NC[rows, given_N] = -1.0
    confident_NC = np.where(other_NC >= usual_C, other_NC, -1.0)
    sure_N = confident_NC.max(axis=1) > 0
    best_N = np.where(sure_N, confident_NC.argmax(axis=1), other_NC.argmax(axis=1))
    margin_N = chance_NC[rows, best_N] - own_N
    order = sorted(
        (row for row in rows[judged_N] if sure_N[row] or margin_N[row] > 0),
        key=lambda row: (own_N[row], -margin_N[row]),
    )
    return [Suspect(records[n], labels[best_N[n]], float(1 - own_N[n])) for n in order]


def _sets(
    records: Sequence[Record], labels: Sequence[str], features: Any, folds_N: NDArray[Any]
) -> list[Suspect]:
    sets = [set(split_labels(record["label"])) for record in records]
    given_NC = np.array([[label in names for label in labels] for names in sets])
    chance_NC = given_NC.astype(float)  # where nothing was learnt nothing is contradicted
    for fold in range(_FOLDS):
        learn_N, judge_N = folds_N != fold, folds_N == fold
        for c in range(len(labels)):
            truth_N = given_NC[learn_N, c]
            if judge_N.any() and truth_N.any() and not truth_N.all():
                model = logistic(_STRENGTH).fit(features[learn_N], truth_N)
                chance_NC[judge_N, c] = model.predict_proba(features[judge_N])[:, 1]
    # The margin between "has the label" and "has it not", against what is given.
    doubt_N = np.where(given_NC, 1 - 2 * chance_NC, 2 * chance_NC - 1).max(axis=1)
    suggested = [
        "|".join(label for label, chance in zip(labels, row, strict=True) if chance > 0.5)
        for row in chance_NC
    ]
    order = np.argsort(-doubt_N, kind="stable")
    return [
        Suspect(records[n], suggested[n], float(1 + doubt_N[n]) / 2)
        for n in order
        if doubt_N[n] > 0
    ]


def _numbers(records: Sequence[Record], features: Any, folds_N: NDArray[Any]) -> list[Suspect]:
    given_N = np.array([float(record["label"]) for record in records])
    said_N = given_N.copy()
    for fold in range(_FOLDS):
        learn_N, judge_N = folds_N != fold, folds_N == fold
        if judge_N.any() and learn_N.any():
            model = ridge(1.0).fit(features[learn_N], given_N[learn_N])
            said_N[judge_N] = model.predict(features[judge_N])
    gap_N = np.abs(said_N - given_N) / (given_N.std() or 1.0)
    order = np.argsort(-gap_N, kind="stable")
    return [Suspect(records[n], f"{said_N[n]:.4g}", float(gap_N[n])) for n in order if gap_N[n] > 0]
