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
        wide_BTD = x_BTD if x_BTD.dtype == torch.float64 else x_BTD.float()
        if self.offset:
            scaled_BTD = F.rms_norm(wide_BTD, self.weight.shape, eps=self.eps)
            return (scaled_BTD * (self.offset + self.weight.to(wide_BTD.dtype))).to(x_BTD.dtype)
        return self.weight * F.rms_norm(wide_BTD, self.weight.shape, eps=self.eps).to(x_BTD.dtype)


def norm(config: ModelConfig, size: int | None = None) -> nn.Module:
    """Build the norm that the config names, for `size` numbers (the hidden size)."""
    size = config.hidden if size is None else size
    if config.norm == "rms":
        return RMSNorm(size, config.norm_eps, config.norm_offset)
    return nn.LayerNorm(size, eps=config.norm_eps, bias=config.norm_bias)
