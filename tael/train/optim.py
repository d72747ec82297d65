"""AdamW, the penalties on the weights, and the size of a step."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

__all__ = ["clip", "make_optimizer", "penalty", "set_rate"]


def make_optimizer(learned: Mapping[str, nn.Parameter], decay: float) -> AdamW:
    """Return AdamW with decoupled decay on matrices; biases and norms (vectors) have none.

    Loshchilov and Hutter 2019, arXiv:1711.05101. The fused kernel updates all in one pass.
    """
    parameters = list(learned.values())
    groups = [
        {"params": [p for p in parameters if _is_weight(p)], "weight_decay": decay},
        {"params": [p for p in parameters if not _is_weight(p)], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=0.0, fused=True)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every group of `optimizer`."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def penalty(learned: Mapping[str, Tensor], l1: float, l2: float) -> Tensor:
    """Return l1·Σ|w| + l2·Σw² over the matrices, as a scalar with a gradient."""
    weights = [one for one in learned.values() if _is_weight(one)]
    return torch.stack([l1 * w.abs().sum() + l2 * w.square().sum() for w in weights]).sum()


def clip(learned: Mapping[str, Tensor], largest: float) -> float:
    """Scale the gradients to a norm of at most `largest` (0: any); return what it was."""
    gradients = [one.grad for one in learned.values() if one.grad is not None]
    norm = float(nn.utils.get_total_norm(gradients))
    if largest and norm > largest:
        for gradient in gradients:
            gradient *= largest / norm
    return norm


def _is_weight(parameter: Tensor) -> bool:
    return parameter.ndim > 1
