"""Where a token stands: a learned vector per position.

Letters: B rows · T positions · D hidden.
Devlin et al. 2019, BERT, arXiv:1810.04805, figure 2.
"""

from torch import Tensor, nn

from tael.model.config import ModelConfig

__all__ = ["LearnedPositions"]


class LearnedPositions(nn.Embedding):
    """A table with one vector a position; the longest row is the table's length."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.max_positions, config.hidden)

    def forward(self, positions_BT: Tensor | None, length: int) -> Tensor:  # type: ignore[override]  # the table is asked by position, not by any ids
        """Return (B, T, D), or (T, D) for rows that all count 0, 1, 2, … (None)."""
        if positions_BT is None:
            return self.weight[:length]
        return super().forward(positions_BT)
