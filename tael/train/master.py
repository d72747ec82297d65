"""The weights that learn, in float32, beside the bfloat16 copies that the network computes with.

An update is often smaller than the last bit of a bfloat16 weight and would be lost there. So the
copies only compute, and take the masters' values anew after every step (Micikevicius et al. 2018,
Mixed Precision Training, arXiv:1710.03740, section 3.1).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Dtype", "Masters", "arithmetic"]

Dtype = Literal["float32", "bfloat16"]


class Masters:
    """Every parameter of a network by name: what learns, is checkpointed and is kept at the end.

    In float32 they are the network's own parameters, and nothing is copied.
    """

    def __init__(self, network: nn.Module, dtype: Dtype) -> None:
        self._own = dict(network.named_parameters())
        self.named: dict[str, nn.Parameter] = self._own
        if dtype == "bfloat16":
            self.named = {
                name: nn.Parameter(own.detach().float().clone(), own.requires_grad)
                for name, own in self._own.items()
            }
            self.publish()
        self._sums: dict[str, Tensor] = {}  # memory of the gradients: new pages every step are dear

    @property
    def learned(self) -> dict[str, nn.Parameter]:
        """Those that the optimiser changes."""
        return {name: one for name, one in self.named.items() if one.requires_grad}

    @torch.no_grad()
    def gather(self) -> None:
        """Add the gradients of a micro-batch to those of the masters, and clear them."""
        if self.named is self._own:
            return
        for name, own in self._own.items():
            if own.grad is None:
                continue
            master = self.named[name]
            if master.grad is not None:
                master.grad += own.grad
            elif name in self._sums:
                master.grad = self._sums[name].copy_(own.grad)
            else:
                master.grad = self._sums[name] = own.grad.float()
            own.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Give the network the masters' values, rounded."""
        if self.named is self._own:
            return
        for name, own in self._own.items():
            if own.dtype != torch.bfloat16:
                own.data = self.named[name].detach().bfloat16()
            elif own.requires_grad:  # what does not learn is what it was
                own.copy_(self.named[name])

    @torch.no_grad()
    def settle(self) -> None:
        """Give the network the masters themselves: it computes in float32 from here on."""
        for name, own in self._own.items():
            own.data = self.named[name].detach()

    def clear(self) -> None:
        """Forget all gradients."""
        for one in self.named.values():
            one.grad = None


def arithmetic(network: nn.Module, dtype: Dtype) -> AbstractContextManager[None]:
    """Return the context of a forward pass in `dtype`, whatever the network's weights are."""
    own = next(network.parameters())
    if dtype == "float32" or own.dtype == torch.bfloat16:
        return nullcontext()
    return torch.autocast(own.device.type, torch.bfloat16)
