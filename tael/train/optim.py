"""AdamW, the penalties on the weights, and the arithmetic of a step."""

from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW

__all__ = ["clip", "make_optimizer", "penalty", "precision", "set_rate"]

Dtype = Literal["float32", "bfloat16"]


def make_optimizer(network: nn.Module, decay: float) -> AdamW:
    """Return AdamW with decoupled decay on matrices; biases and norms (vectors) have none.

    Loshchilov and Hutter 2019, arXiv:1711.05101. The fused kernel updates all in one pass.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if _is_weight(p)], "weight_decay": decay},
        {"params": [p for p in parameters if not _is_weight(p)], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=0.0, fused=True)


def set_rate(optimizer: AdamW, rate: float) -> None:
    """Set the learning rate of every group of `optimizer`."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def penalty(network: nn.Module, l1: float, l2: float) -> Tensor:
    """Return l1·Σ|w| + l2·Σw² over the matrices, as a scalar with a gradient."""
    weights = [p for p in network.parameters() if p.requires_grad and _is_weight(p)]
    return torch.stack([l1 * p.abs().sum() + l2 * p.square().sum() for p in weights]).sum()


def clip(network: nn.Module, largest: float) -> float:
    """Scale the gradients of `network` to a norm of at most `largest` (0: any); return the norm."""
    limit = largest or float("inf")
    return float(nn.utils.clip_grad_norm_(network.parameters(), limit))


def precision(network: nn.Module, dtype: Dtype) -> AbstractContextManager[None]:
    """Return the context of a forward pass: bfloat16 arithmetic over float32 master weights."""
    device = next(network.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16")


def _is_weight(parameter: Tensor) -> bool:
    return parameter.ndim > 1
