"""The feed-forward layer: the same two-layer perceptron at every position, gated or not.

Letters: B rows · T positions · D hidden · F ffn.
Vaswani et al. 2017, arXiv:1706.03762, section 3.3; GELU: Hendrycks & Gimpel 2016, arXiv:1606.08415;
gates: Shazeer 2020, GLU Variants Improve Transformer, arXiv:2002.05202.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tael.model.config import ModelConfig
from tael.model.dropout import Dropout

__all__ = ["FeedForward", "Stacked", "activation"]

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return the function that a config names; `config.ACTIVATIONS` lists them."""
    return _FUNCTIONS[name]


class Stacked(nn.Linear):
    """Several matrices that read the same input, their rows stacked: one product instead of many.

    `parts` are the rows of each, in order: checkpoints hold them apart.
    """

    def __init__(self, inputs: int, parts: tuple[int, ...], bias: bool) -> None:
        super().__init__(inputs, sum(parts), bias=bias)
        self.parts = parts


class FeedForward(nn.Module):
    """Widen, bend, narrow; with a gate, what is bent multiplies what is not."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        parts = (config.ffn,) * (2 if config.gated else 1)  # with a gate: the bent half first
        self.up = Stacked(config.hidden, parts, config.ffn_bias)
        self.down = nn.Linear(config.ffn, config.hidden, bias=config.ffn_bias)
        self.activation = activation(config.activation)
        self.gated = config.gated
        self.dropout = Dropout(config.ffn_dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return (B, T, D)."""
        x_BTF = self.up(x_BTD)
        if self.gated:
            gate_BTF, x_BTF = x_BTF.chunk(2, dim=-1)
            x_BTF = self.activation(gate_BTF) * x_BTF
        else:
            x_BTF = self.activation(x_BTF)
        x_BTD = self.down(self.dropout(x_BTF) if self.training else x_BTF)
        return x_BTD
