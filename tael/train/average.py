"""A running mean of the weights over the steps, which often scores better than the last of them.

Polyak & Juditsky 1992; exponentially weighted as in Tarvainen & Valpola 2017, arXiv:1703.01780.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    """The mean of the weights that learn, by name: `named` is what a checkpoint holds."""

    def __init__(self, learned: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.named = {name: one.detach().clone() for name, one in learned.items()}

    @torch.no_grad()
    def update(self, learned: Mapping[str, Tensor], step: int) -> None:
        """Take in the weights after `step` (from 0).

        Early on the mean forgets faster, or it would be the new weights of the start for long.
        """
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, mean in self.named.items():
            mean.lerp_(learned[name].detach(), 1 - keep)

    @contextmanager
    def instead(self, learned: Mapping[str, nn.Parameter]) -> Iterator[None]:
        """Let the parameters hold the mean while the block runs, and then their own again."""
        self._swap(learned)
        try:
            yield
        finally:
            self._swap(learned)

    @torch.no_grad()
    def _swap(self, learned: Mapping[str, nn.Parameter]) -> None:
        for name, mean in self.named.items():
            own = learned[name].detach().clone()
            learned[name].copy_(mean)
            mean.copy_(own)
