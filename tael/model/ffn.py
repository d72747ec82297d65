"""The feed-forward layer: the same two-layer perceptron at every position.

Letters: B rows · T positions · D hidden · F ffn.
Vaswani et al. 2017, arXiv:1706.03762, section 3.3; GELU: Hendrycks & Gimpel 2016, arXiv:1606.08415.
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from tael.model.config import ModelConfig

__all__ = ["FeedForward", "activation"]

_tanh_gelu = partial(F.gelu, approximate="tanh")
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "relu": F.relu,
    "silu": F.silu,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return the function that a config names; `config.ACTIVATIONS` lists them."""
    return _FUNCTIONS[name]


class FeedForward(nn.Module):
    """Widen, bend, narrow."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden, config.ffn)
        self.down = nn.Linear(config.ffn, config.hidden)
        self.activation = activation(config.activation)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return (B, T, D)."""
        x_BTF = self.activation(self.up(x_BTD))
        x_BTD = self.down(x_BTF)
        return x_BTD
