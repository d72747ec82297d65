"""The Transformer encoder: token ids to one vector a position.

Letters: B rows · T positions · D hidden.
Devlin et al. 2019, BERT, arXiv:1810.04805; no head here, those are in head.py.
"""

from torch import Tensor, nn

from tael.model.attention import visible
from tael.model.batch import Batch
from tael.model.block import Block
from tael.model.config import ModelConfig
from tael.model.norm import layer_norm
from tael.model.position import LearnedPositions

__all__ = ["Embedding", "Transformer"]


class Embedding(nn.Module):
    """What a token is, where it stands and which text it belongs to, summed and normalised."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab, config.hidden)
        self.positions = LearnedPositions(config)
        self.types = nn.Embedding(config.types, config.hidden)
        self.norm = layer_norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B, T, D)."""
        x_BTD: Tensor = self.tokens(batch.ids_BT)
        x_BTD = x_BTD + self.positions(batch.positions_BT, batch.ids_BT.shape[1])
        types = self.types.weight[0] if batch.types_BT is None else self.types(batch.types_BT)
        x_BTD = self.dropout(self.norm(x_BTD + types))
        return x_BTD


class Transformer(nn.Module):
    """An embedding and a stack of blocks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = Embedding(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(self, batch: Batch) -> Tensor:
        """Return (B, T, D); vectors at padding are finite and mean nothing."""
        mask_BHTS = visible(batch)
        x_BTD: Tensor = self.embedding(batch)
        for block in self.blocks:
            x_BTD = block(x_BTD, mask_BHTS)
        return x_BTD
