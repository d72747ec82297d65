"""The loss of a vocabulary, a few rows at a time: batch × vocabulary is never held at once.

The gradient is computed with the loss, while a chunk's scores are still in the cache, so nothing of
the size of the scores waits for the backward pass.

Letters: N targets · D hidden · V vocabulary · R rows of a chunk.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["summed_cross_entropy"]

_CHUNK_BYTES = 8 << 20  # of float32 scores: they stay in the last cache between their passes
_FEWEST = 16  # rows
_PRODUCTS = 16  # chunks whose matrix products are computed as one: few sums of whole gradients


def summed_cross_entropy(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    bias_V: Tensor | None = None,
    *,
    smoothing: float = 0.0,
    cap: float | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Return Σ -log softmax(hidden · weightᵀ + bias)[target], a float32 scalar with a gradient.

    Matrix products are in the dtype of `hidden_ND`, the softmax in float32 (float64 for float64).
    `smoothing`: the share of each target that is spread over the vocabulary (Szegedy et al. 2016,
    arXiv:1512.00567, section 7). `cap`: scores become cap · tanh(score / cap). `chunk`: rows at
    once; by default as many as a cache holds. It has no second derivative.
    """
    rows = chunk or max(_FEWEST, _CHUNK_BYTES // (4 * weight_VD.shape[0]))
    # Looked up here: inside the function autograd has switched it off.
    slopes = torch.is_grad_enabled()
    with torch.autocast(hidden_ND.device.type, enabled=False):
        dtype = hidden_ND.dtype
        bias_V = None if bias_V is None else bias_V.to(dtype)
        total: Tensor = _Summed.apply(  # type: ignore[no-untyped-call]
            hidden_ND, weight_VD.to(dtype), bias_V, targets_N, smoothing, cap, rows, slopes
        )
    return total


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        smoothing: float,
        cap: float | None,
        rows: int,
        slopes: bool,
    ) -> Tensor:
        bend = _Bend(smoothing, cap, rows)
        exact = torch.promote_types(hidden_ND.dtype, torch.float32)
        total = hidden_ND.new_zeros((), dtype=exact)
        one = len(targets_N) <= rows * _PRODUCTS
        found = _Slopes(hidden_ND, weight_VD, bias_V, one) if slopes else None
        for start in range(0, len(targets_N), rows * _PRODUCTS):
            part = slice(start, start + rows * _PRODUCTS)
            scores_NV = hidden_ND[part] @ weight_VD.T
            if bias_V is not None:
                scores_NV += bias_V
            total += bend.into_slopes_(scores_NV, targets_N[part], exact)
            if found is not None:
                found.add(part, scores_NV)
        ctx.found = found
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        found: _Slopes | None = ctx.found
        assert found is not None, "the gradients of this loss were taken already"
        ctx.found = None  # they are scaled where they lie
        slopes = (found.hidden_ND, found.weight_VD, found.bias_V)
        return (*(None if one is None else one.mul_(outer) for one in slopes), *[None] * 5)


class _Slopes:
    """The gradients of the states, of the matrix and of the bias, added up part by part."""

    def __init__(
        self, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, one: bool
    ) -> None:
        self._states_ND, self._matrix_VD = hidden_ND, weight_VD
        # Parts are added up in float32: a sum of many in bfloat16 loses the small ones.
        exact = torch.promote_types(hidden_ND.dtype, torch.float32)
        self._dtype = hidden_ND.dtype if one else exact
        self.hidden_ND = torch.zeros_like(hidden_ND)
        self.weight_VD: Tensor | None = None
        self.bias_V = None if bias_V is None else bias_V.new_zeros(bias_V.shape, dtype=exact)

    def add(self, part: slice, slope_NV: Tensor) -> None:
        """Add what the rows of `part` say; `slope_NV` is the gradient of their scores."""
        states_ND = self._states_ND[part]
        torch.mm(slope_NV, self._matrix_VD, out=self.hidden_ND[part])
        if self.bias_V is not None:
            self.bias_V += slope_NV.sum(0, dtype=self.bias_V.dtype)
        product_VD = slope_NV.T @ states_ND
        if self.weight_VD is None:
            self.weight_VD = product_VD.to(self._dtype)
        else:
            self.weight_VD += product_VD


@dataclass(frozen=True, slots=True)
class _Bend:
    """The softmax, a few rows at a time: they stay in the last cache between its passes."""

    smoothing: float
    cap: float | None
    rows: int

    def into_slopes_(self, scores_NV: Tensor, targets_N: Tensor, exact: torch.dtype) -> Tensor:
        """Return the summed loss; its gradient takes the place of the scores."""
        total = scores_NV.new_zeros((), dtype=exact)
        for start in range(0, len(targets_N), self.rows):
            part = slice(start, start + self.rows)
            scores_RV = scores_NV[part].to(exact)
            bent_RV = None if self.cap is None else (scores_RV / self.cap).tanh_()
            if self.cap is not None and bent_RV is not None:
                torch.mul(bent_RV, self.cap, out=scores_RV)
            loss, slope_RV = _loss_and_slope_(scores_RV, targets_N[part], self.smoothing)
            total += loss
            if bent_RV is not None:  # the derivative of cap · tanh(score / cap)
                slope_RV.mul_(bent_RV.square_().neg_().add_(1))
            if slope_RV.data_ptr() != scores_NV[part].data_ptr():
                scores_NV[part] = slope_RV
        return total


def _loss_and_slope_(
    scores_RV: Tensor, targets_R: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return the summed loss and its gradient, which takes the place of the scores."""
    at_R1 = targets_R[:, None]
    wanted = scores_RV.gather(1, at_R1).sum() * (1 - smoothing)
    if smoothing:
        wanted += smoothing * scores_RV.mean(1).sum()
    top_R = scores_RV.amax(1)
    shares_RV = torch.softmax(scores_RV, 1, out=scores_RV)
    # The largest share is exp(top - log Σ exp): one pass, and it is never too small for its log.
    norm_R = top_R - shares_RV.amax(1).log_()
    loss = norm_R.sum() - wanted
    if smoothing:
        shares_RV -= smoothing / shares_RV.shape[1]
    ones_R1 = shares_RV.new_full((1, 1), smoothing - 1).expand_as(at_R1)
    return loss, shares_RV.scatter_add_(1, at_R1, ones_R1)
