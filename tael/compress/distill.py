"""A linear student of the network: n-grams of the text, taught by gold labels and by the parent.

The parent also answers text that nobody has labelled, so the student learns from more text than a
linear model trained on the labels alone. How much it listens to the parent is chosen on dev, and
not at all is among the choices: the student is never worse there than what the labels allow.

Hinton et al. 2015, Distilling the Knowledge in a Neural Network, arXiv:1503.02531, section 2.

Letters: N texts · V n-grams · K columns that are learnt (one for two classes) · C classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tael.recipe.schema import Kind

__all__ = ["Lesson", "fit_soft", "lessons"]

_ITERATIONS = 200
_SETTLED = 1e-6  # of the loss an iteration: what comes after moves no label, and costs minutes


@dataclass(frozen=True)
class Lesson:
    """What the student is told: a target (N, C) and how much it counts (N,) for every text."""

    targets_NC: NDArray[np.float64]
    weights_N: NDArray[np.float64]


def lessons(gold_MC: NDArray[np.float64], taught_NC: NDArray[np.float64], share: float) -> Lesson:
    """Mix gold targets of the first M texts with the parent's for all N texts.

    A labelled text gets (1 - share) gold + share parent and counts 1; an unlabelled one gets the
    parent's and counts `share`. A row of NaN in `taught_NC` was not answered by the parent: there
    gold stands alone.
    """
    labelled = len(gold_MC)
    answered_N = np.isfinite(taught_NC).sum(axis=1) == taught_NC.shape[1]
    targets_NC = np.where(answered_N[:, None], taught_NC, 0.0)
    mixed_MC = (1 - share) * gold_MC + share * targets_NC[:labelled]
    targets_NC[:labelled] = np.where(answered_N[:labelled, None], mixed_MC, gold_MC)
    weights_N = np.where(answered_N, share, 0.0)
    weights_N[:labelled] = 1.0
    return Lesson(targets_NC, weights_N)


def fit_soft(
    x_NV: Any, lesson: Lesson, kind: Kind, penalty: float, start: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Fit a linear model to soft targets; return weights and, in the last row, biases (V + 1, K).

    `x_NV` is a sparse matrix. The loss is cross-entropy against the target distribution (`single`),
    against a probability a column (`multi`), or half the squared error (`regression`), times
    `penalty` (scikit-learn's C), plus half the squared weights; biases are free. Two classes are
    one column, the log-odds of the second, as in scikit-learn. `start` continues an earlier fit.
    """
    from scipy.optimize import minimize

    counted = np.flatnonzero(
        lesson.weights_N
    )  # a text that nobody answered costs time, adds nothing
    x_NV, targets_NK, weights_N = (
        x_NV[counted],
        lesson.targets_NC[counted],
        lesson.weights_N[counted],
    )
    if kind == "single" and targets_NK.shape[1] == 2:
        targets_NK, kind = targets_NK[:, 1:], "multi"
    shape = (x_NV.shape[1] + 1, targets_NK.shape[1])
    x_VN = x_NV.T.tocsr()

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w_VK, bias_K = flat.reshape(shape)[:-1], flat.reshape(shape)[-1]
        value, slope_NK = _loss(x_NV @ w_VK + bias_K, targets_NK, weights_N, kind)
        gradient = np.vstack([penalty * (x_VN @ slope_NK) + w_VK, penalty * slope_NK.sum(0)])
        return penalty * value + 0.5 * float((w_VK * w_VK).sum()), gradient.ravel()

    first = np.zeros(shape) if start is None else start
    options = {"maxiter": _ITERATIONS, "ftol": _SETTLED, "gtol": 1e-4 * penalty}
    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=options)
    fitted: NDArray[np.float64] = found.x.reshape(shape)
    return fitted


def _loss(
    z_NK: NDArray[np.float64],
    targets_NK: NDArray[np.float64],
    weights_N: NDArray[np.float64],
    kind: Kind,
) -> tuple[float, NDArray[np.float64]]:
    """Return the weighted loss and its slope with respect to z (N, K)."""
    weights_N1 = weights_N[:, None]
    if kind == "regression":
        off_NK = z_NK - targets_NK
        return 0.5 * float((weights_N1 * off_NK**2).sum()), weights_N1 * off_NK
    if kind == "multi":
        each_NK = np.logaddexp(0, z_NK) - targets_NK * z_NK
        slope_NK = 1 / (1 + np.exp(-np.clip(z_NK, -500, 500))) - targets_NK
    else:
        top_N1 = z_NK.max(axis=1, keepdims=True)
        log_sum_N1 = top_N1 + np.log(np.exp(z_NK - top_N1).sum(axis=1, keepdims=True))
        each_NK = targets_NK * (log_sum_N1 - z_NK)  # targets sum to 1
        slope_NK = np.exp(z_NK - log_sum_N1) - targets_NK
    return float((weights_N1 * each_NK).sum()), weights_N1 * slope_NK
