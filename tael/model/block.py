"""One layer: attention and feed-forward, each with its residual sum and its norm.

Letters: B rows · T positions · D hidden.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tael.model.attention import Attention, Memory, Store, View
from tael.model.config import ModelConfig
from tael.model.dropout import Dropout
from tael.model.ffn import FeedForward
from tael.model.norm import norm

__all__ = ["Block", "DropPath"]


class DropPath(nn.Module):
    """Skip a residual branch for whole rows while training; its expectation stays the same.

    Huang et al. 2016, Deep Networks with Stochastic Depth, arXiv:1603.09382; every block has the
    same chance here (there it grows with depth), so that one number says all.
    """

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return x with some rows 0 and the others scaled by 1 / (1 - chance)."""
        if self.chance == 0 or not self.training:
            return x_BTD
        keep = 1 - self.chance
        kept_B11 = torch.empty(x_BTD.shape[0], 1, 1, device=x_BTD.device).bernoulli_(keep)
        return x_BTD * (kept_B11 / keep).to(x_BTD.dtype)


class Block(nn.Module):
    """A layer of a stack; `cross`: one that also reads a source.

    post: norm(x + f(x)), as in the paper and BERT; pre: x + f(norm(x)), as most since; sandwich:
    x + norm(f(norm(x))).
    """

    def __init__(self, config: ModelConfig, *, cross: bool = False, first: bool = False) -> None:
        super().__init__()
        self.place = config.norm_place
        self.attention = Attention(config)
        self.attention_norm = norm(config) if config.first_norm or not first else nn.Identity()
        self.cross = Attention(config, cross=True) if cross else None
        self.cross_norm = norm(config) if cross else None
        self.ffn = FeedForward(config)
        self.ffn_norm = norm(config)
        after = config.norm_place == "sandwich"
        self.attention_after = norm(config) if after else None
        self.cross_after = norm(config) if after and cross else None
        self.ffn_after = norm(config) if after else None
        self.drop = nn.Sequential(Dropout(config.dropout), DropPath(config.droppath))

    def forward(
        self, x_BTD: Tensor, view: View, memory: Memory | None = None, store: Store | None = None
    ) -> Tensor:
        """Return (B, T, D)."""
        x_BTD = self._join(
            x_BTD,
            self.attention_norm,
            lambda x: self.attention(x, view, store),
            self.attention_after,
        )
        if self.cross is not None and self.cross_norm is not None:
            read = self.cross.read
            assert memory is not None, "a layer that reads a source is given one"
            x_BTD = self._join(
                x_BTD, self.cross_norm, lambda x: read(x, memory, store), self.cross_after
            )
        return self._join(x_BTD, self.ffn_norm, self.ffn, self.ffn_after)

    def _join(
        self,
        x_BTD: Tensor,
        norm: nn.Module,
        branch: Callable[[Tensor], Tensor],
        after: nn.Module | None,
    ) -> Tensor:
        change_BTD = branch(x_BTD if self.place == "post" else norm(x_BTD))
        if after is not None:
            change_BTD = after(change_BTD)
        if self.training:
            change_BTD = self.drop(change_BTD)
        x_BTD = x_BTD + change_BTD
        if self.place == "post":
            x_BTD = norm(x_BTD)
        return x_BTD
