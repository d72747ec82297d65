"""Laws of the student's fit: the slope is the loss's own, and texts count as they should."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, vstack

from tael.compress import distill
from tael.compress.distill import Lesson, fit_soft, lessons

KINDS = ("single", "multi", "regression")


def problem(kind: str, columns: int, rows: int = 60, seed: int = 0) -> tuple[csr_matrix, Lesson]:
    """Return features and soft targets, some of which count less than others."""
    draw = np.random.default_rng(seed)
    x_NV = csr_matrix(draw.random((rows, 9)) * (draw.random((rows, 9)) < 0.6))
    targets_NC = draw.dirichlet([0.7] * columns, rows)
    if kind != "single":
        targets_NC = draw.random((rows, columns)) * (1 if kind == "multi" else 5)
    return x_NV, Lesson(targets_NC, draw.choice([0.3, 1.0], rows))


def answers(x_NV: csr_matrix, fitted: Any, kind: str) -> np.ndarray:
    """Return what the fitted model says: probabilities (of the last class for two) or numbers."""
    z_NK = x_NV @ fitted[:-1] + fitted[-1]
    if kind == "regression":
        return z_NK
    if kind == "multi" or z_NK.shape[1] == 1:
        return 1 / (1 + np.exp(-z_NK))
    return np.exp(z_NK) / np.exp(z_NK).sum(axis=1, keepdims=True)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(2, 5), st.integers(0, 2**31), st.floats(0.1, 30))
def test_the_slope_is_that_of_the_loss(kind: Any, columns: int, seed: int, scale: float) -> None:
    draw = np.random.default_rng(seed)
    z_NK = draw.normal(0, scale, (4, columns))
    _, lesson = problem(kind, columns, rows=4, seed=seed)
    _, slope_NK = distill._loss(z_NK, lesson.targets_NC, lesson.weights_N, kind)
    step = 1e-5
    for n, k in np.ndindex(z_NK.shape):
        ahead, behind = z_NK.copy(), z_NK.copy()
        ahead[n, k] += step
        behind[n, k] -= step
        losses = [
            distill._loss(z, lesson.targets_NC, lesson.weights_N, kind)[0] for z in (ahead, behind)
        ]
        seen = (losses[0] - losses[1]) / (2 * step)
        assert slope_NK[n, k] == pytest.approx(seen, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("z", [1e3, -1e3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_far_too_sure_has_a_finite_loss_and_slope(kind: Any, z: float) -> None:
    z_NK = np.array([[z, 0.0, -z]])
    loss, slope_NK = distill._loss(z_NK, np.array([[0.0, 1.0, 0.0]]), np.ones(1), kind)
    assert np.isfinite(loss)
    assert np.isfinite(slope_NK).all()
    assert loss > 0


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_model_says_on_average_is_what_it_was_told(kind: Any, columns: int) -> None:
    """Biases are free, so at the optimum no column is off as a whole."""
    x_NV, lesson = problem(kind, columns)
    said = answers(x_NV, fit_soft(x_NV, lesson, kind, 10.0), kind)
    told = lesson.targets_NC[:, -said.shape[1] :]
    weights_N1 = lesson.weights_N[:, None]
    assert (weights_N1 * said).sum(0) == pytest.approx((weights_N1 * told).sum(0), abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_order_nor_a_copy_at_half_weight_changes_the_fit(kind: Any) -> None:
    x_NV, lesson = problem(kind, 3)
    fitted = fit_soft(x_NV, lesson, kind, 1.0)
    order = np.random.default_rng(2).permutation(len(lesson.weights_N))
    other = Lesson(lesson.targets_NC[order], lesson.weights_N[order])
    assert fit_soft(x_NV[order], other, kind, 1.0) == pytest.approx(fitted, abs=2e-3)
    twice = Lesson(np.vstack([lesson.targets_NC] * 2), np.tile(lesson.weights_N / 2, 2))
    both = vstack([x_NV, x_NV], format="csr")
    assert fit_soft(both, twice, kind, 1.0) == pytest.approx(fitted, abs=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_where_the_fit_starts_does_not_matter(kind: Any) -> None:
    x_NV, lesson = problem(kind, 3)
    fitted = fit_soft(x_NV, lesson, kind, 1.0)
    start = np.random.default_rng(3).normal(0, 2, fitted.shape)
    again = fit_soft(x_NV, lesson, kind, 1.0, start)
    # Not the weights: the same number added to every class's bias changes no answer.
    near = 0.02 if kind == "regression" else 0.002  # numbers of 0 to 5 are not probabilities
    assert answers(x_NV, again, kind) == pytest.approx(answers(x_NV, fitted, kind), abs=near)


@given(st.floats(0, 1), st.integers(0, 6), st.integers(0, 2**31))
def test_a_mixture_of_distributions_is_one_and_lies_between_them(
    share: float, labelled: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    gold_MC = np.eye(3)[draw.integers(0, 3, labelled)].reshape(labelled, 3)
    taught_NC = draw.dirichlet([1] * 3, 8)
    taught_NC[draw.random(8) < 0.3] = np.nan
    before = taught_NC.copy()
    lesson = lessons(gold_MC, taught_NC, share)
    assert np.array_equal(taught_NC, before, equal_nan=True)  # the caller's stays as it was
    told = lesson.weights_N > 0
    assert lesson.targets_NC[told].sum(axis=1) == pytest.approx(1.0)
    assert (lesson.weights_N[:labelled] == 1).all()
    unanswered = np.isnan(taught_NC).any(axis=1)
    assert (lesson.weights_N[labelled:][unanswered[labelled:]] == 0).all()
    for n in range(labelled):
        low = np.minimum(gold_MC[n], np.nan_to_num(taught_NC[n], nan=1.0))
        assert (lesson.targets_NC[n] >= low - 1e-12).all() or unanswered[n]
        assert not unanswered[n] or (lesson.targets_NC[n] == gold_MC[n]).all()
