"""Soft targets: with hard ones the fit is scikit-learn's own; laws of the mixture."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression, Ridge

from tael.compress.distill import Lesson, fit_soft, lessons


def features(rows: int = 120, columns: int = 12, seed: int = 0) -> csr_matrix:
    generator = np.random.default_rng(seed)
    return csr_matrix(generator.random((rows, columns)) * (generator.random((rows, columns)) < 0.5))


def hard(classes: int, rows: int = 120) -> tuple[np.ndarray, np.ndarray]:
    labels = np.random.default_rng(1).integers(0, classes, rows)
    return labels, np.eye(classes)[labels]


@pytest.mark.parametrize("penalty", [1.0, 10.0])
def test_two_hard_classes_are_fitted_as_scikit_learn_fits_them(penalty: float) -> None:
    x, (labels, targets) = features(), hard(2)
    theirs = LogisticRegression(C=penalty, tol=1e-8, max_iter=2000).fit(x, labels)
    ours = fit_soft(x, Lesson(targets, np.ones(120)), "single", penalty)
    assert np.allclose(ours[:-1, 0], theirs.coef_[0], atol=2e-3)
    assert ours[-1, 0] == pytest.approx(theirs.intercept_[0], abs=2e-3)


def test_several_hard_classes_are_fitted_as_scikit_learn_fits_them() -> None:
    x, (labels, targets) = features(), hard(4)
    theirs = LogisticRegression(C=10, tol=1e-8, max_iter=2000).fit(x, labels)
    ours = fit_soft(x, Lesson(targets, np.ones(120)), "single", 10)
    z = x @ ours[:-1] + ours[-1]
    found = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert np.allclose(found, theirs.predict_proba(x), atol=2e-3)


def test_numbers_are_fitted_as_ridge_fits_them() -> None:
    x = features()
    numbers = np.random.default_rng(2).normal(size=(120, 1))
    theirs = Ridge(alpha=0.5).fit(x.toarray(), numbers[:, 0])
    ours = fit_soft(x, Lesson(numbers, np.ones(120)), "regression", 2.0)
    assert np.allclose(ours[:-1, 0], theirs.coef_, atol=2e-3)
    assert ours[-1, 0] == pytest.approx(float(theirs.intercept_), abs=2e-3)


def test_a_soft_target_is_the_two_hard_ones_it_is_mixed_from() -> None:
    x = features(40)
    soft = np.random.default_rng(3).dirichlet([1, 1, 1], 40)
    once = fit_soft(x, Lesson(soft, np.ones(40)), "single", 1)
    twice = csr_matrix(np.repeat(x.toarray(), 3, axis=0))
    parts = Lesson(np.tile(np.eye(3), (40, 1)), soft.ravel())
    assert np.allclose(once, fit_soft(twice, parts, "single", 1), atol=2e-3)


def test_a_text_that_counts_nothing_changes_nothing() -> None:
    x, (_, targets) = features(), hard(2)
    weights = np.ones(120)
    weights[60:] = 0
    few = fit_soft(x[:60], Lesson(targets[:60], np.ones(60)), "multi", 1)
    assert np.allclose(fit_soft(x, Lesson(targets, weights), "multi", 1), few, atol=2e-3)
    assert not np.allclose(fit_soft(x, Lesson(targets, np.ones(120)), "multi", 1), few, atol=2e-3)


def test_a_share_of_nothing_leaves_the_gold_labels_alone() -> None:
    gold, taught = np.eye(2)[[0, 1]], np.array([[0.3, 0.7], [0.4, 0.6], [0.9, 0.1]])
    lesson = lessons(gold, taught, 0.0)
    assert lesson.targets_NC[:2].tolist() == gold.tolist()
    assert lesson.weights_N.tolist() == [1, 1, 0]


def test_half_a_share_stands_between_gold_and_parent() -> None:
    gold, taught = np.eye(2)[[0, 1]], np.array([[0.4, 0.6], [np.nan, np.nan], [0.9, 0.1]])
    lesson = lessons(gold, taught, 0.5)
    assert np.allclose(lesson.targets_NC, [[0.7, 0.3], [0, 1], [0.9, 0.1]])
    assert lesson.weights_N.tolist() == [1, 1, 0.5]
