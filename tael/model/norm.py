"""Normalisation: brings every position's vector to mean 0 and variance 1, then scales it.

Ba et al. 2016, Layer Normalization, arXiv:1607.06450.
"""

from torch import nn

from tael.model.config import ModelConfig

__all__ = ["layer_norm"]


def layer_norm(config: ModelConfig) -> nn.Module:
    """Build the norm that stands after each residual sum."""
    return nn.LayerNorm(config.hidden, eps=config.norm_eps)
