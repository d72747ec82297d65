"""Every metric equals scikit-learn's, also where a class is absent, and never warns."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from tael.errors import DataError
from tael.task.metrics import (
    Floats,
    Labels,
    Numbers,
    OneLabel,
    calibration,
    confusion,
    measure,
    outcomes,
    per_class,
)

LABELS = ["a", "b", "c", "d"]


def single_answers(
    seed: int, size: int = 200, classes: int = 4, decimals: int = 1
) -> tuple[list[dict[str, Any]], list[str]]:
    """Draw answers whose scores have many ties, and references that often agree with them."""
    rng = np.random.default_rng(seed)
    labels = LABELS[:classes]
    scores = rng.dirichlet(np.ones(classes), size).round(decimals)
    guess = scores.argmax(1)
    truth = np.where(rng.random(size) < 0.5, guess, rng.integers(0, classes, size))
    answers = [
        {"label": labels[g], "scores": dict(zip(labels, map(float, row), strict=True))}
        for g, row in zip(guess, scores, strict=True)
    ]
    return answers, [labels[t] for t in truth]


def sklearn_single(answers: list[dict[str, Any]], truth: list[str]) -> dict[str, float]:
    guess = [answer["label"] for answer in answers]
    options: dict[str, Any] = {"zero_division": 0}
    return {
        "accuracy": sk.accuracy_score(truth, guess),
        "f1": sk.f1_score(truth, guess, average="macro", **options),
        "f1_weighted": sk.f1_score(truth, guess, average="weighted", **options),
        "precision": sk.precision_score(truth, guess, average="macro", **options),
        "recall": sk.recall_score(truth, guess, average="macro", **options),
        "precision_weighted": sk.precision_score(truth, guess, average="weighted", **options),
        "recall_weighted": sk.recall_score(truth, guess, average="weighted", **options),
        "mcc": sk.matthews_corrcoef(truth, guess),
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_single_label_metrics_equal_sklearn(seed: int, classes: int) -> None:
    answers, truth = single_answers(seed, classes=classes)
    labels = LABELS[:classes]
    found = measure("single", answers, truth, labels)
    for name, value in sklearn_single(answers, truth).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    scores = np.array([[answer["scores"][label] for label in labels] for answer in answers])
    areas = [
        sk.roc_auc_score(np.array(truth) == label, scores[:, i]) for i, label in enumerate(labels)
    ]
    expected = areas[-1] if classes == 2 else np.mean(areas)
    assert found["auroc"] == pytest.approx(expected, abs=1e-12)
    assert (confusion(answers, truth, labels) == sk.confusion_matrix(
        truth, [a["label"] for a in answers], labels=labels)).all()  # fmt: skip


@pytest.mark.parametrize(
    ("truth", "guess"),
    [
        (["a"] * 6, ["a"] * 6),  # one class, all right
        (["a", "b", "a", "b"], ["a"] * 4),  # one class answered
        (["a"] * 4, ["b"] * 4),  # nothing right
        (["a", "b", "c"], ["a", "b", "b"]),  # a class never answered, another absent
        (["a"], ["b"]),
    ],
)
def test_degenerate_answers_equal_sklearn_without_a_warning(
    truth: list[str], guess: list[str]
) -> None:
    answers = [{"label": g, "scores": {x: float(x == g) for x in LABELS}} for g in guess]
    found = measure("single", answers, truth, LABELS)
    with pytest.MonkeyPatch.context():
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = sklearn_single(answers, truth)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_auroc_with_one_class_is_undefined_and_the_rest_is_not() -> None:
    answers = [{"label": "a", "scores": {"a": 0.7, "b": 0.3}}] * 3
    found = measure("single", answers, ["a"] * 3, ["a", "b"])
    assert np.isnan(found.pop("auroc"))
    assert all(np.isfinite(value) for value in found.values())


def test_scores_that_are_all_equal_give_an_area_of_a_half() -> None:
    answers = [{"label": "a", "scores": {"a": 0.6, "b": 0.4}}] * 4
    assert measure("single", answers, ["a", "b", "b", "a"], ["a", "b"])["auroc"] == 0.5


def test_answers_without_scores_have_no_area_and_no_calibration() -> None:
    found = measure("single", [{"label": "a"}, {"label": "b"}], ["a", "a"], ["a", "b"])
    assert found["accuracy"] == 0.5
    assert not {"auroc", "ece"} & found.keys()


def test_calibration_error_is_the_gap_between_confidence_and_truth() -> None:
    answers, truth = single_answers(3, decimals=6)
    top = np.array([max(answer["scores"].values()) for answer in answers])
    right = np.array([a["label"] == t for a, t in zip(answers, truth, strict=True)])
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (top >= low) & (top < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(top[inside].mean() - right[inside].mean())
    assert measure("single", answers, truth, LABELS)["ece"] == pytest.approx(expected, abs=1e-9)
    bins = calibration(answers, truth)
    assert sum(count for _, _, count in bins) == len(truth)
    assert sum(share * count for _, share, count in bins) == pytest.approx(right.sum())


def multi_answers(seed: int) -> tuple[list[dict[str, Any]], list[str], Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    scores = rng.random((150, 4)).round(2)
    truth = (rng.random((150, 4)) < scores).astype(float)
    guess = (scores > 0.5).astype(float)
    answers = [
        {
            "labels": [label for label, on in zip(LABELS, row, strict=True) if on],
            "scores": dict(zip(LABELS, map(float, s), strict=True)),
        }
        for row, s in zip(guess, scores, strict=True)
    ]
    references = ["|".join(x for x, on in zip(LABELS, row, strict=True) if on) for row in truth]
    return answers, references, truth, guess, scores


@pytest.mark.parametrize("seed", range(3))
def test_multi_label_metrics_equal_sklearn(seed: int) -> None:
    answers, references, truth, guess, scores = multi_answers(seed)
    found = measure("multi", answers, references, LABELS)
    assert found["f1"] == pytest.approx(sk.f1_score(truth, guess, average="macro"))
    assert found["f1_micro"] == pytest.approx(sk.f1_score(truth, guess, average="micro"))
    assert found["f1_weighted"] == pytest.approx(sk.f1_score(truth, guess, average="weighted"))
    assert found["precision"] == pytest.approx(sk.precision_score(truth, guess, average="macro"))
    assert found["recall"] == pytest.approx(sk.recall_score(truth, guess, average="macro"))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(truth, scores, average="macro"))


def test_a_label_that_nobody_has_or_gives_scores_zero() -> None:
    answers, references, truth, guess, _ = multi_answers(1)
    found = measure("multi", answers, references, [*LABELS[:4]])
    wider = [{**a, "scores": {**a["scores"], "e": 0.0}} for a in answers]
    absent = measure("multi", wider, references, [*LABELS, "e"])
    assert absent["f1"] == pytest.approx(found["f1"] * 4 / 5)
    assert absent["auroc"] == pytest.approx(found["auroc"])  # no area, so not in the mean
    assert absent["f1_micro"] == pytest.approx(sk.f1_score(truth, guess, average="micro"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_regression_metrics_equal_sklearn_and_scipy(seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=120).round(1) + offset
    guess = truth + rng.normal(size=120).round(1)
    answers = [{"value": float(value)} for value in guess]
    found = measure("regression", answers, list(truth), [])
    assert found["mse"] == pytest.approx(sk.mean_squared_error(truth, guess))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, guess))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, guess))
    assert found["r2"] == pytest.approx(sk.r2_score(truth, guess), abs=1e-9)
    assert found["pearson"] == pytest.approx(stats.pearsonr(truth, guess)[0], abs=1e-9)
    assert found["spearman"] == pytest.approx(stats.spearmanr(truth, guess)[0], abs=1e-9)


def test_a_constant_answer_has_no_correlation_and_no_warning() -> None:
    found = measure("regression", [{"value": 0.1}] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], [])
    assert np.isnan(found["pearson"])
    assert np.isnan(found["spearman"])
    assert found["r2"] == pytest.approx(sk.r2_score([1, 2, 3, 4, 5], [0.1] * 5))


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_a_weight_is_the_same_as_that_many_copies(kind: str) -> None:
    rng = np.random.default_rng(5)
    truth, guess = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    scores = rng.random((60, 3)).round(1)
    weights = rng.integers(0, 4, 60)
    copied = np.repeat(np.arange(60), weights)

    def lay(rows: Any) -> Any:
        if kind == "regression":
            return Numbers(scores[rows, 0], scores[rows, 1])
        if kind == "multi":
            on = (scores[rows] > 0.4).astype(float), (scores[rows][:, ::-1] > 0.4).astype(float)
            return Labels(*on, scores[rows])
        return OneLabel(truth[rows], guess[rows], scores[rows])

    weighted = lay(np.arange(60)).metrics(weights[None].astype(float))
    plain = lay(copied).metrics(np.ones((1, len(copied))))
    for name, value in plain.items():
        assert weighted[name] == pytest.approx(value, abs=1e-9), name


def test_per_class_figures_equal_sklearn() -> None:
    answers, truth = single_answers(2)
    columns = sk.precision_recall_fscore_support(
        truth, [answer["label"] for answer in answers], labels=LABELS, zero_division=0
    )
    for row, expected in zip(
        per_class("single", answers, truth, LABELS), np.array(columns).T, strict=True
    ):
        found = [row["precision"], row["recall"], row["f1"], row["support"]]
        assert found == pytest.approx(list(expected))


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_a_reference_that_is_no_label_is_refused_by_name(kind: Any) -> None:
    answers = [{"label": "a", "labels": ["a"]}]
    with pytest.raises(DataError, match="'z' is not one that the model knows"):
        outcomes(kind, answers, ["z"], LABELS)
