"""The one batch that every network takes, padded or packed.

Letters: B rows · T positions · N targets.
"""

from dataclasses import dataclass
from typing import Literal, Optional

from torch import Tensor

__all__ = ["Batch", "Layout"]

# full: one document fills each row, so nothing needs a mask; padded: one document a row, then
# padding; packed: several documents may share a row, or padding stands elsewhere. What is right for
# packed is right for all.
Layout = Literal["full", "padded", "packed"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of token ids; several documents may share a row and never see each other.

    `documents_BT` is 0 at padding, else the number of the document in its row, from 1.
    `positions_BT` restarts at every document; None means 0, 1, 2, … in every row.
    `where_N` holds flat indices (into B·T): of the positions that are predicted (masked LM), or of
    the token that stands for each document where a row holds several (classification); else None.
    `layout` is said by whoever cuts the batch, so that no forward pass has to look at the data.
    `source`: what an encoder-decoder reads; this batch is then what it writes. A document of the
    one belongs to the document of the same row and number of the other.
    `prefix_BT`: true where a decoder may look ahead: every query of a document sees its prefix.
    """

    ids_BT: Tensor  # int64
    documents_BT: Tensor  # int32
    types_BT: Tensor | None = None  # int64, segment ids; None means all 0
    positions_BT: Tensor | None = None  # int64
    targets: Tensor | None = None  # what the task's loss compares with
    where_N: Tensor | None = None  # int64
    size: int = 0  # documents
    tokens: int = 0  # real tokens: padding not counted
    layout: Layout = "packed"
    source: Optional["Batch"] = None
    prefix_BT: Tensor | None = None  # bool
