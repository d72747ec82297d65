"""One block of the encoder: attention and feed-forward, each with its residual sum and norm.

Letters: B rows · T positions · D hidden.
"""

import torch
from torch import Tensor, nn

from tael.model.attention import Attention
from tael.model.config import ModelConfig
from tael.model.ffn import FeedForward
from tael.model.norm import layer_norm

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
    """Post-norm as in BERT: the norm stands after each residual sum."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = layer_norm(config)
        self.ffn = FeedForward(config)
        self.ffn_norm = layer_norm(config)
        self.drop = nn.Sequential(nn.Dropout(config.dropout), DropPath(config.droppath))

    def forward(self, x_BTD: Tensor, mask_BHTS: Tensor | None) -> Tensor:
        """Return (B, T, D)."""
        x_BTD = self.attention_norm(x_BTD + self.drop(self.attention(x_BTD, mask_BHTS)))
        x_BTD = self.ffn_norm(x_BTD + self.drop(self.ffn(x_BTD)))
        return x_BTD
