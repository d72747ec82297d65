"""Learning from the same texts with their embeddings moved to where they are most misread.

Miyato et al. 2017, Adversarial Training Methods for Semi-Supervised Text Classification,
arXiv:1605.07725, section 3, in its common form (FGM): the embedding matrix is moved as a whole, not
the vectors of one text. Letters: V vocabulary · N tokens of the micro-batch · D hidden.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tael.train.depth import is_embedding

__all__ = ["Adversary"]


class Adversary:
    """Moves the token embedding of `network` by `size` along its gradient, and back."""

    def __init__(self, network: nn.Module, size: float) -> None:
        named = network.named_parameters()
        self._weight_VD = next(p for name, p in named if is_embedding(name) and p.ndim == 2)
        self._size = size

    def twice(self, backward: Callable[[], Tensor]) -> Tensor:
        """Add up the gradients of the micro-batch as it is and as it is misread.

        `backward` goes through the network both ways and returns the loss, here of the first time.
        The direction is this micro-batch's own, whatever gradients stand there already.
        """
        weight_VD = self._weight_VD
        earlier_VD = weight_VD.grad
        weight_VD.grad = None
        loss = backward()
        rows_N, own_ND = self._move()
        try:
            backward()
        finally:  # memory may run out here, and the step be tried again
            with torch.no_grad():
                weight_VD[rows_N] = own_ND
        if earlier_VD is not None:
            earlier_VD += self._gradient()
            weight_VD.grad = earlier_VD
        return loss

    @torch.no_grad()
    def _move(self) -> tuple[Tensor, Tensor]:
        """Move the rows that have a gradient; return which, and what they were."""
        gradient_VD = self._gradient()
        rows_N = gradient_VD.any(dim=1).nonzero().squeeze(1)
        gradient_ND = gradient_VD[rows_N].float()
        norm = gradient_ND.norm()
        own_ND = self._weight_VD[rows_N].clone()
        if torch.isfinite(norm) and norm > 0:  # what is not finite the guard finds in the loss
            moved_ND = own_ND.float() + gradient_ND * (self._size / norm)
            self._weight_VD[rows_N] = moved_ND.to(own_ND.dtype)
        return rows_N, own_ND

    def _gradient(self) -> Tensor:
        gradient_VD = self._weight_VD.grad
        assert gradient_VD is not None, "a backward pass reaches the embedding"
        return gradient_VD
