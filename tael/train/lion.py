"""Lion: a step of one size in every number, up or down as a running mean of the gradient says."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer

__all__ = ["Lion"]


class Lion(Optimizer):
    """Half of Adam's memory; wants a third to a tenth of its rate, and as much more decay.

    Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, arXiv:2302.06675, section 3.
    A parameter's state is `exp_avg`, the running mean.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient, in place."""
        for group in self.param_groups:
            rate, (near, far) = group["lr"], group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["exp_avg"] = torch.zeros_like(parameter)
                mean = state["exp_avg"]
                direction = torch.lerp(parameter.grad, mean, near).sign_()
                parameter.mul_(1 - rate * group["weight_decay"]).add_(direction, alpha=-rate)
                mean.lerp_(parameter.grad, 1 - far)
