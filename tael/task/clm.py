"""Causal language modelling: say every next token of a text, its end included.

Radford et al. 2018, GPT, section 3.1. A text is `BOS tokens EOS`: the first token is told from BOS,
and EOS is learned, so that a model stops by itself. Rows are packed: several documents a row, none
of which sees another.

Letters: B rows · T positions · N targets · V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from tael.model.batch import Batch
from tael.model.config import ModelConfig
from tael.model.head import VocabHead
from tael.task.language import packed
from tael.task.marks import Ids, Marks
from tael.task.writes import Writes

__all__ = ["CausalLM"]


class CausalLM(Writes):
    """The objective of a decoder; every token that has one before it is a target.

    `smoothing`: the share of a target that is spread over the vocabulary.
    """

    name = "clm"

    def __init__(self, marks: Marks, smoothing: float = 0.0) -> None:
        self.marks, self.smoothing = marks, smoothing

    def wrap(self, piece: NDArray[np.integer], *, begins: bool = True, ends: bool = True) -> Ids:
        """Return a stretch of a text with BOS where the text begins and EOS where it ends.

        There is one BOS whatever the tokenizer's own template says: the piece is without.
        """
        bos, eos = self.marks.bos, self.marks.eos
        before = [bos] if begins and bos is not None else []
        after = [eos] if ends else []
        return np.array([*before, *piece.tolist(), *after], dtype=np.int64)

    def batch(
        self,
        rows: Sequence[Sequence[Ids]],
        capacity: int,
        generator: torch.Generator | None = None,
    ) -> Batch:
        """Pack documents into rows: all but the last token are read, all but the first are told.

        Nothing is left to chance, so the generator is not asked.
        """
        read = packed([[document[:-1] for document in row] for row in rows], self.marks.pad)
        length = read.ids_BT.shape[1]
        assert length <= capacity, f"a row of {length} tokens does not fit {capacity}"
        targets = np.concatenate([document[1:] for row in rows for document in row])
        where_N = read.documents_BT.flatten().nonzero().flatten()
        return replace(read, targets=torch.from_numpy(targets), where_N=where_N)

    def head(self, config: ModelConfig) -> VocabHead:
        """Build the head; its weights are not yet initialised."""
        return VocabHead(config, "clm")
