"""The labels of a data set: found, ordered, and refused where they are none. Needs no torch.

`tael check` and training look at labels through this one file, so that what check lets pass is
what training takes. `record["label"]` is text here, "" where it is missing.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tael.data.record import Record, place
from tael.errors import DataError, RecipeError
from tael.recipe.schema import Kind, Recipe

__all__ = [
    "Kind", "check", "check_labels", "check_unseen", "class_weights", "find_labels", "line",
    "mistake", "moments", "number", "parts", "survey",
]  # fmt: skip


_PLACES = 3  # shown of each fault
_NO_LABEL = {"nan", "inf", "infinity"}  # what failed arithmetic writes; never a class


def check(split: str, records: Sequence[Record], recipe: Recipe) -> None:
    """Raise DataError where labels are missing, `nan` or `inf`, or (regression) no numbers."""
    check_labels(split, records, recipe.data.labels)


def survey(splits: Mapping[str, Sequence[Record]], recipe: Recipe) -> dict[str, int]:
    """Return how often train has each label, the most frequent first; {} for a regression.

    Raises what `find_labels` raises, and `check_unseen` of the other splits.
    """
    kind = recipe.data.labels
    labels = find_labels(splits["train"], kind)
    for split, rows in splits.items():
        if split != "train":
            check_unseen(rows, labels, split, kind)
    if not labels:
        return {}
    counts = Counter(part for r in splits["train"] for part in parts(str(r["label"]), kind))
    return {label: counts[label] for label in sorted(labels, key=lambda one: -counts[one])}


def line(record: Record) -> str:
    """Return the label and the text, for a reader."""
    return f"{record['label']}  {record['text']}"


def check_labels(split: str, records: Sequence[Record], kind: Kind) -> None:
    """Raise DataError where labels are missing, `nan` or `inf`, or (regression) no numbers.

    Every fault is told with how many records have it, and the first places.
    """
    faults = _faulty(records, kind)
    if faults:
        told = [f"{len(rows)} with {fault} ({_where(rows)})" for fault, rows in faults.items()]
        raise DataError(
            f"{split}: of {len(records)} records, {'; '.join(told)}. Correct or remove these rows."
        )


def find_labels(records: Sequence[Record], kind: Kind) -> list[str]:
    """Return the classes of `records`, sorted, numbers by value; [] for regression.

    Raises DataError with the number of records and the first places where a label is missing, is
    `nan` or `inf`, or (regression) is no number; and where there is only one class, or one value.
    """
    check_labels("train", records, kind)
    found = {part for record in records for part in parts(_label(record), kind)}
    if len(found) < 2:
        only = f"only {next(iter(found))!r}" if found else "none"
        what = "values" if kind == "regression" else "classes"
        raise DataError(
            f"train: needs at least two {what} to learn, has {only} in {len(records)} records; "
            f"is `data.columns.label` the right column?"
        )
    return [] if kind == "regression" else sorted(found, key=_order)


def check_unseen(
    records: Sequence[Record], labels: Sequence[str], split: str, kind: Kind = "single"
) -> None:
    """Raise DataError for labels in `split` that are missing, no labels, or not among `labels`."""
    check_labels(split, records, kind)
    if kind == "regression":
        return
    known = set(labels)
    unseen: dict[str, list[Record]] = {}
    for record in records:
        for part in parts(_label(record), kind):
            if part not in known:
                unseen.setdefault(part, []).append(record)
    if unseen:
        found = [f"{label!r} ({_where(rows)})" for label, rows in list(unseen.items())[:_PLACES]]
        raise DataError(
            f"{split}: {len(unseen)} labels that train does not have: {', '.join(found)}; "
            f"train has {', '.join(list(labels)[:20])}. Correct them, or add such rows to train."
        )


def parts(label: str, kind: Kind) -> list[str]:
    """Return the labels in a record's label: several, separated by `|`, for multi; else one."""
    if kind != "multi":
        return [label]
    return list(dict.fromkeys(part.strip() for part in label.split("|") if part.strip()))


def mistake(answer: dict[str, Any], reference: Any, kind: Kind) -> tuple[str, str, float]:
    """Return the truth and the answer in words, and how wrong it is; 0 for a right one.

    How wrong: the score of a wrong label, the number of labels that are wrong, or the distance.
    """
    if kind == "regression":
        value = float(answer["value"])
        return f"{float(reference):g}", f"{value:.4g}", abs(value - float(reference))
    if kind == "multi":
        truth = parts(reference, kind) if isinstance(reference, str) else list(map(str, reference))
        said = list(answer["labels"])
        return " | ".join(truth) or "none", " | ".join(said) or "none", len({*truth} ^ {*said})
    label, truth_label = str(answer["label"]), str(reference)
    score = float(answer.get("scores", {}).get(label, answer.get("score", 1.0)))
    return truth_label, label, 0.0 if label == truth_label else score


def number(label: str) -> float | None:
    """Return the finite number that a label is; None where it is none."""
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def moments(records: Sequence[Record]) -> tuple[float, float]:
    """Return mean and deviation of the numbers in `label`; a deviation of 0 counts as 1."""
    values_N = np.array([float(record["label"]) for record in records])
    return float(values_N.mean()), float(values_N.std()) or 1.0


def class_weights(
    records: Sequence[Record], labels: Sequence[str], recipe: Recipe
) -> list[float] | None:
    """Return one weight a label; RecipeError for a weight of a label that is not there."""
    wanted, kind = recipe.train.class_weights, recipe.data.labels
    if wanted == "none" or not labels:
        return None
    if isinstance(wanted, dict):
        unknown = [label for label in wanted if label not in labels]
        if unknown:
            known = ", ".join(labels[:20])
            raise RecipeError([f"train.class_weights: no label {unknown[0]!r}; there are {known}"])
        return [float(wanted.get(label, 1.0)) for label in labels]
    counts = Counter(part for r in records for part in parts(str(r["label"]).strip(), kind))
    return [sum(counts.values()) / (len(labels) * counts[label]) for label in labels]


def _label(record: Record) -> str:
    return str(record.get("label") or "").strip()


def _faulty(records: Iterable[Record], kind: Kind) -> dict[str, list[Record]]:
    faults: dict[str, list[Record]] = {}
    for record in records:
        fault = _fault(_label(record), kind)
        if fault:
            faults.setdefault(fault, []).append(record)
    return faults


def _fault(label: str, kind: Kind) -> str | None:
    if kind == "multi":  # a text to which no label applies is an example too
        wrong = next((part for part in parts(label, kind) if _is_no_label(part)), None)
        return f"the label {wrong!r}" if wrong else None
    if not label:
        return "no label"
    if _is_no_label(label):
        return f"the label {label!r}"
    return "a label that is no number" if kind == "regression" and number(label) is None else None


def _is_no_label(label: str) -> bool:
    return label.lstrip("+-").casefold() in _NO_LABEL


def _where(records: Sequence[Record]) -> str:
    places = ", ".join(place(record) for record in records[:_PLACES])
    return f"{places}, …" if len(records) > _PLACES else places


def _order(label: str) -> tuple[bool, float, str]:
    value = number(label)
    return (value is None, value or 0.0, label)
