"""Metrics of classification and regression in numpy, for one set of weights or a thousand at once.

A bootstrap resample is a count per row, so every metric here is a function of weights (R, N): sums
per class by one matrix product, areas under the curve and ranks by orders that are sorted once.
With weights of 1 each equals scikit-learn's metric of that name; where scikit-learn warns and puts
0, so do we without the warning; where it has no answer (an area with one class), it is NaN.

Letters: N records · C classes · R resamples · G groups of equal values.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tael.errors import DataError
from tael.recipe.schema import Kind
from tael.task.base import Answer
from tael.task.outcomes import Floats, Outcomes, figures

__all__ = [
    "LOWER_IS_BETTER",
    "Floats",
    "Kind",
    "Labels",
    "Numbers",
    "OneLabel",
    "Outcomes",
    "calibration",
    "confusion",
    "measure",
    "outcomes",
    "per_class",
    "split_labels",
]

LOWER_IS_BETTER = frozenset(
    {"ece", "mse", "rmse", "mae", "perplexity", "bits_per_char", "bits_per_byte", "loss"}
)
_BINS = 15  # of equal width over the confidence, for the expected calibration error


def outcomes(
    kind: Kind, answers: Sequence[Answer], references: Sequence[Any], labels: Sequence[str]
) -> Outcomes:
    """Lay answers beside references; raises DataError for a reference that is no known label."""
    if kind == "regression":
        values = [float(answer["value"]) for answer in answers]
        return Numbers(np.array([float(r) for r in references]), np.array(values))
    if kind == "multi":
        return Labels(
            _indicators([split_labels(reference) for reference in references], labels),
            _indicators([answer["labels"] for answer in answers], labels),
            _scores(answers, labels),
        )
    return OneLabel(
        _indices(references, labels),
        _indices([answer["label"] for answer in answers], labels),
        _scores(answers, labels),
    )


def measure(
    kind: Kind, answers: Sequence[Answer], references: Sequence[Any], labels: Sequence[str]
) -> dict[str, float]:
    """Return every metric of these answers, by name. NaN where undefined."""
    return figures(outcomes(kind, answers, references, labels))


def per_class(
    kind: Kind, answers: Sequence[Answer], references: Sequence[Any], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return label, precision, recall, f1 and support of every class, in the order of `labels`."""
    found = outcomes(kind, answers, references, labels)
    assert isinstance(found, OneLabel | Labels), "a regression has no classes"
    hit_C, guess_C, truth_C = (sums[0] for sums in found.sums(np.ones((1, found.size))))
    f1_C = _ratio(2 * hit_C, guess_C + truth_C)
    columns = (_ratio(hit_C, guess_C), _ratio(hit_C, truth_C), f1_C, truth_C)
    return [
        {
            "label": label,
            "precision": float(p),
            "recall": float(r),
            "f1": float(f),
            "support": int(n),
        }
        for label, p, r, f, n in zip(labels, *columns, strict=True)
    ]


def confusion(
    answers: Sequence[Answer], references: Sequence[Any], labels: Sequence[str]
) -> NDArray[np.int64]:
    """Return how often each true label (row) was answered as each label (column), (C, C)."""
    truth_N = _indices(references, labels)
    guess_N = _indices([answer["label"] for answer in answers], labels)
    size = len(labels)
    return np.bincount(truth_N * size + guess_N, minlength=size * size).reshape(size, size)


def calibration(
    answers: Sequence[Answer], references: Sequence[Any], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return (mean confidence, share that was right, number of answers) of every bin in use."""
    confidence_N = np.array([max(answer["scores"].values()) for answer in answers])
    right_N = np.array([a["label"] == str(r) for a, r in zip(answers, references, strict=True)])
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    return [
        (float(confidence_N[inside].mean()), float(right_N[inside].mean()), int(inside.sum()))
        for inside in (bin_N == number for number in range(bins))
        if inside.any()
    ]


def split_labels(reference: Any) -> list[str]:
    """Return the labels of a multi-label reference: a list of them, or text with `|` between."""
    if isinstance(reference, str):
        return [part.strip() for part in reference.split("|") if part.strip()]
    return [str(part) for part in reference]


class OneLabel:
    """One true label and one answered label a record, with a score for every class."""

    def __init__(
        self, truth_N: NDArray[np.int64], guess_N: NDArray[np.int64], scores_NC: Floats | None
    ) -> None:
        self.size = len(truth_N)
        classes = 1 + int(max(truth_N.max(initial=0), guess_N.max(initial=0)))
        if scores_NC is not None:
            classes = max(classes, scores_NC.shape[1])
        self.right_N = (truth_N == guess_N).astype(np.float64)
        self._truth_NC = np.eye(classes)[truth_N]
        self._guess_NC = np.eye(classes)[guess_N]
        self._areas: list[_Area] = []
        self._calibration: tuple[Floats, Floats] | None = None
        if scores_NC is not None:
            # With two classes the areas of both are one number: the second class's is taken.
            columns = range(classes) if classes > 2 else range(classes - 1, classes)
            self._areas = [_Area(truth_N == column, scores_NC[:, column]) for column in columns]
            top_N = scores_NC.max(axis=1)
            bin_N = np.clip((top_N * _BINS).astype(int), 0, _BINS - 1)
            self._calibration = np.eye(_BINS)[bin_N], self.right_N - top_N

    def sums(self, weight_RN: Floats) -> tuple[Floats, Floats, Floats]:
        """Return hits, answers and true records of every class, each (R, C)."""
        hit_NC = self._truth_NC * self.right_N[:, None]
        return weight_RN @ hit_NC, weight_RN @ self._guess_NC, weight_RN @ self._truth_NC

    def metrics(self, weight_RN: Floats) -> dict[str, Floats]:
        """Return accuracy, f1 (macro), f1_weighted, precision, recall, mcc, and auroc and ece."""
        hit_RC, guess_RC, truth_RC = self.sums(weight_RN)
        total_R = weight_RN.sum(axis=1)
        # As scikit-learn: a class that is neither true nor answered is not part of the mean.
        seen_RC = (guess_RC + truth_RC) > 0
        found = {"accuracy": _ratio(hit_RC.sum(axis=1), total_R)}
        found |= _averages(hit_RC, guess_RC, truth_RC, seen_RC)
        found["mcc"] = _matthews(hit_RC, guess_RC, truth_RC, total_R)
        if self._areas:
            found["auroc"] = _mean_defined([area(weight_RN) for area in self._areas])
        if self._calibration is not None:
            bins_NB, gap_N = self._calibration
            gap_RB = weight_RN @ (bins_NB * gap_N[:, None])
            found["ece"] = _ratio(np.abs(gap_RB).sum(axis=1), total_R)
        return found


class Labels:
    """Any number of true and answered labels a record, with a score for every class."""

    def __init__(self, truth_NC: Floats, guess_NC: Floats, scores_NC: Floats | None) -> None:
        self.size = len(truth_NC)
        self.right_N = (truth_NC == guess_NC).all(axis=1).astype(np.float64)
        self._truth_NC, self._guess_NC = truth_NC, guess_NC
        self._areas: list[_Area] = []
        if scores_NC is not None:
            columns = zip(truth_NC.T > 0, scores_NC.T, strict=True)
            self._areas = [_Area(truth_N, scores_N) for truth_N, scores_N in columns]

    def sums(self, weight_RN: Floats) -> tuple[Floats, Floats, Floats]:
        """Return hits, answers and true records of every class, each (R, C)."""
        hit_NC = self._truth_NC * self._guess_NC
        return weight_RN @ hit_NC, weight_RN @ self._guess_NC, weight_RN @ self._truth_NC

    def metrics(self, weight_RN: Floats) -> dict[str, Floats]:
        """Return f1 (macro, weighted, micro), precision, recall, accuracy (all right), auroc."""
        hit_RC, guess_RC, truth_RC = self.sums(weight_RN)
        found = _averages(hit_RC, guess_RC, truth_RC, np.ones(hit_RC.shape, dtype=bool))
        both_R = (guess_RC + truth_RC).sum(axis=1)
        found["f1_micro"] = _ratio(2 * hit_RC.sum(axis=1), both_R)
        found["accuracy"] = _ratio(weight_RN @ self.right_N, weight_RN.sum(axis=1))
        if self._areas:
            found["auroc"] = _mean_defined([area(weight_RN) for area in self._areas])
        return found


class Numbers:
    """A true and an answered number a record."""

    def __init__(self, truth_N: Floats, guess_N: Floats) -> None:
        self.size = len(truth_N)
        self._truth_ranks, self._guess_ranks = _Ranks(truth_N), _Ranks(guess_N)
        error_N = guess_N - truth_N
        # Moments about the mean: with large numbers those about zero would lose their digits.
        truth_N, guess_N = truth_N - truth_N.mean(), guess_N - guess_N.mean()
        self._moments_N8 = np.stack(
            [
                np.ones(self.size), error_N**2, np.abs(error_N),
                truth_N, guess_N, truth_N**2, guess_N**2, truth_N * guess_N,
            ],
            axis=1,
        )  # fmt: skip

    def metrics(self, weight_RN: Floats) -> dict[str, Floats]:
        """Return mse, rmse, mae, r2, pearson and spearman."""
        total_R, *sums = (weight_RN @ self._moments_N8).T
        square_R, absolute_R, x_R, y_R, xx_R, yy_R, xy_R = (sum_R / total_R for sum_R in sums)
        spread_R = xx_R - x_R**2
        defined_R = spread_R > 1e-12 * xx_R
        r2_R = 1 - square_R / np.where(defined_R, spread_R, 1)
        # As scikit-learn: with a constant truth, 1 for no error at all, else 0.
        r2_R = np.where(defined_R, r2_R, np.where(square_R == 0, 1.0, 0.0))
        return {
            "mse": square_R,
            "rmse": np.sqrt(square_R),
            "mae": absolute_R,
            "r2": r2_R,
            "pearson": _correlation(xy_R - x_R * y_R, spread_R, xx_R, yy_R - y_R**2, yy_R),
            "spearman": self._spearman(weight_RN),
        }

    def _spearman(self, weight_RN: Floats) -> Floats:
        x_RN, y_RN = self._truth_ranks(weight_RN), self._guess_ranks(weight_RN)
        total_R1 = weight_RN.sum(axis=1, keepdims=True)
        middle_R1 = (total_R1 + 1) / 2
        x_RN, y_RN = x_RN - middle_R1, y_RN - middle_R1
        xx_R = np.einsum("rn,rn,rn->r", weight_RN, x_RN, x_RN)
        yy_R = np.einsum("rn,rn,rn->r", weight_RN, y_RN, y_RN)
        xy_R = np.einsum("rn,rn,rn->r", weight_RN, x_RN, y_RN)
        return _correlation(xy_R, xx_R, xx_R + 1, yy_R, yy_R + 1)


class _Ordered:
    """Values in ascending order, equal ones in one group."""

    def __init__(self, values_N: Floats) -> None:
        self.order_N = np.argsort(values_N, kind="stable")
        sorted_N = values_N[self.order_N]
        first_N = np.r_[True, sorted_N[1:] != sorted_N[:-1]]
        self.starts_G = np.flatnonzero(first_N)
        self.group_N = np.cumsum(first_N) - 1  # of the sorted values
        self.ties = len(self.starts_G) < len(values_N)

    def sums(self, sorted_RN: Floats) -> Floats:
        """Return the sum over every group, (R, G)."""
        return np.add.reduceat(sorted_RN, self.starts_G, axis=1) if self.ties else sorted_RN


class _Area:
    """Area under the ROC curve: the chance that a positive stands above a negative, ties half."""

    def __init__(self, positive_N: NDArray[np.bool_], scores_N: Floats) -> None:
        self._ordered = _Ordered(scores_N)
        self._positive_N = positive_N[self._ordered.order_N].astype(np.float64)

    def __call__(self, weight_RN: Floats) -> Floats:
        sorted_RN = weight_RN[:, self._ordered.order_N]
        positive_RN = sorted_RN * self._positive_N
        positive_RG = self._ordered.sums(positive_RN)
        negative_RG = self._ordered.sums(sorted_RN - positive_RN)
        below_RG = np.cumsum(negative_RG, axis=1)
        pairs_R = positive_RG.sum(axis=1) * below_RG[:, -1]
        below_RG -= negative_RG / 2
        wins_R = np.einsum("rg,rg->r", positive_RG, below_RG)
        return np.where(pairs_R > 0, wins_R / np.where(pairs_R > 0, pairs_R, 1), np.nan)


class _Ranks:
    """Ranks from 1 within a weighted sample, equal values sharing the mean of theirs."""

    def __init__(self, values_N: Floats) -> None:
        self._ordered = _Ordered(values_N)
        self._group_N = np.empty(len(values_N), dtype=np.int64)
        self._group_N[self._ordered.order_N] = self._ordered.group_N

    def __call__(self, weight_RN: Floats) -> Floats:
        weight_RG = self._ordered.sums(weight_RN[:, self._ordered.order_N])
        rank_RG = np.cumsum(weight_RG, axis=1) - (weight_RG - 1) / 2
        return rank_RG[:, self._group_N]


def _averages(
    hit_RC: Floats, guess_RC: Floats, truth_RC: Floats, seen_RC: NDArray[np.bool_]
) -> dict[str, Floats]:
    seen_R = seen_RC.sum(axis=1)
    f1_RC = _ratio(2 * hit_RC, guess_RC + truth_RC)
    precision_RC, recall_RC = _ratio(hit_RC, guess_RC), _ratio(hit_RC, truth_RC)
    true_R = truth_RC.sum(axis=1)
    return {
        "f1": _ratio((f1_RC * seen_RC).sum(axis=1), seen_R),
        "f1_weighted": _ratio((f1_RC * truth_RC).sum(axis=1), true_R),
        "precision": _ratio((precision_RC * seen_RC).sum(axis=1), seen_R),
        "recall": _ratio((recall_RC * seen_RC).sum(axis=1), seen_R),
        "precision_weighted": _ratio((precision_RC * truth_RC).sum(axis=1), true_R),
        "recall_weighted": _ratio((recall_RC * truth_RC).sum(axis=1), true_R),
    }


def _matthews(hit_RC: Floats, guess_RC: Floats, truth_RC: Floats, total_R: Floats) -> Floats:
    both_R = hit_RC.sum(axis=1) * total_R - (guess_RC * truth_RC).sum(axis=1)
    guess_R = total_R**2 - (guess_RC**2).sum(axis=1)
    truth_R = total_R**2 - (truth_RC**2).sum(axis=1)
    return _ratio(both_R, np.sqrt(guess_R * truth_R))


def _ratio(part: Any, whole: Any) -> Floats:
    """Divide; 0 where there is nothing to divide by."""
    whole = np.asarray(whole, dtype=np.float64)
    return np.asarray(np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0))


def _mean_defined(values: Sequence[Floats]) -> Floats:
    """Average over the classes that have an area; NaN where none has."""
    values_CR = np.stack(values)
    defined_CR = ~np.isnan(values_CR)
    count_R = defined_CR.sum(axis=0)
    sum_R = np.where(defined_CR, values_CR, 0).sum(axis=0)
    return np.where(count_R > 0, sum_R / np.maximum(count_R, 1), np.nan)


def _correlation(xy_R: Floats, xx_R: Floats, x_R: Floats, yy_R: Floats, y_R: Floats) -> Floats:
    """Return xy / √(xx · yy); NaN where a spread is lost in the rounding of its own terms."""
    defined_R = (xx_R > 1e-12 * x_R) & (yy_R > 1e-12 * y_R)
    scale_R = np.sqrt(np.where(defined_R, xx_R * yy_R, 1))
    return np.where(defined_R, np.clip(xy_R / scale_R, -1, 1), np.nan)


def _indices(values: Sequence[Any], labels: Sequence[str]) -> NDArray[np.int64]:
    known = {label: index for index, label in enumerate(labels)}
    try:
        return np.array([known[str(value)] for value in values], dtype=np.int64)
    except KeyError as error:
        raise _unknown(error.args[0], labels) from error


def _indicators(values: Sequence[Sequence[str]], labels: Sequence[str]) -> Floats:
    known = {label: index for index, label in enumerate(labels)}
    found_NC = np.zeros((len(values), len(labels)))
    for row, names in enumerate(values):
        for name in names:
            if name not in known:
                raise _unknown(name, labels)
            found_NC[row, known[name]] = 1
    return found_NC


def _unknown(name: str, labels: Sequence[str]) -> DataError:
    some = ", ".join(labels[:10]) + (", …" if len(labels) > 10 else "")
    return DataError(
        f"label {name!r} is not one that the model knows ({some}): mend it in the data, or train "
        "again with records of it in `data.train`"
    )


def _scores(answers: Sequence[Answer], labels: Sequence[str]) -> Floats | None:
    """Return the scores (N, C); None where an answer hides them."""
    if not answers or any("scores" not in answer for answer in answers):
        return None
    return np.array([[answer["scores"][label] for label in labels] for answer in answers])
