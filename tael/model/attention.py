"""Multi-head attention, and the mask that keeps documents apart.

Letters: B rows · T query positions · S key positions · H heads · K head size · D hidden.
Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762, section 3.2.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from tael.model.batch import Batch
from tael.model.config import ModelConfig

__all__ = ["Attention", "visible"]


def visible(batch: Batch) -> Tensor | None:
    """Say which keys a query sees: bool, (B, 1, 1, S) or (B, 1, T, S); None where it sees all.

    In packed rows padding sees padding, so no row of scores is empty and none becomes NaN.
    """
    if batch.layout == "full":
        return None
    documents_BT = batch.documents_BT
    if batch.layout == "padded":
        return (documents_BT != 0)[:, None, None, :]
    return (documents_BT[:, :, None] == documents_BT[:, None, :])[:, None]


class Attention(nn.Module):
    """Every position gathers what it needs from the positions it may see."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        # Query, key and value share one matrix (rows in this order): one product instead of three.
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden)
        self.out = nn.Linear(config.hidden, config.hidden)

    def forward(self, x_BTD: Tensor, mask_BHTS: Tensor | None) -> Tensor:
        """Return (B, T, D); the mask is true where a query may look and may broadcast."""
        qkv_BTHK = self.qkv(x_BTD).unflatten(-1, (3, self.heads, -1))
        q_BHTK, k_BHSK, v_BHSK = qkv_BTHK.permute(2, 0, 3, 1, 4).unbind(0)
        out_BHTK = F.scaled_dot_product_attention(
            q_BHTK,
            k_BHSK,
            v_BHSK,
            attn_mask=mask_BHTS,
            dropout_p=self.dropout if self.training else 0.0,
        )
        out_BTD: Tensor = self.out(out_BHTK.transpose(1, 2).flatten(2))
        return out_BTD
