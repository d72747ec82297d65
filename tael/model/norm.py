"""Normalisation: brings every position's vector to one size, then scales it.

Ba et al. 2016, Layer Normalization, arXiv:1607.06450; Zhang & Sennrich 2019, Root Mean Square Layer
Normalization, arXiv:1910.07467.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tael.model.config import ModelConfig

__all__ = ["RMSNorm", "norm"]


class RMSNorm(nn.Module):
    """Divide by the root of the mean square, times (offset + weight); computed in float32."""

    def __init__(self, size: int, eps: float, offset: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((size,), 1.0 - offset))
        self.eps, self.offset = eps, offset

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the same shape and dtype."""
        if x_BTD.shape[-2] == 1 and not self.offset and torch.is_inference_mode_enabled():
            return self.weight * self._one(x_BTD)
        wide_BTD = x_BTD if x_BTD.dtype == torch.float64 else x_BTD.float()
        scaled_BTD = F.rms_norm(wide_BTD, self.weight.shape, eps=self.eps)
        if self.offset:
            return (scaled_BTD * (self.offset + self.weight.to(wide_BTD.dtype))).to(x_BTD.dtype)
        return self.weight * scaled_BTD.to(x_BTD.dtype)

    def _one(self, x_B1D: Tensor) -> Tensor:
        """Return one position's numbers at one size, in half the time.

        On a CPU rms_norm is eight kernels (torch 2.13), layer_norm is one: what it takes off is the
        mean, and that of numbers and their negatives together is 0.
        """
        size = x_B1D.shape[-1]
        both = F.layer_norm(torch.cat((x_B1D, -x_B1D), -1), (2 * size,), eps=self.eps)
        return both[..., :size]


def norm(config: ModelConfig, size: int | None = None) -> nn.Module:
    """Build the norm that the config names, for `size` numbers (the hidden size)."""
    size = config.hidden if size is None else size
    if config.norm == "rms":
        return RMSNorm(size, config.norm_eps, config.norm_offset)
    return nn.LayerNorm(size, eps=config.norm_eps, bias=config.norm_bias)
