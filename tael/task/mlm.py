"""Masked-language-model pretraining: hide some tokens, learn to say which they were.

Devlin et al. 2019, BERT, arXiv:1810.04805, section 3.1, task 1; masked anew each time as in
Liu et al. 2019, RoBERTa, arXiv:1907.11692, section 4.1. Rows are packed: several documents a row.

Letters: B rows · T positions · N targets · V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tael.data.tokenizer import Specials
from tael.model.batch import Batch, Layout
from tael.model.config import ModelConfig
from tael.model.head import VocabHead
from tael.task.writes import Writes

__all__ = ["MaskedLM"]

_AS_MASK, _AS_RANDOM = 0.8, 0.1  # what a chosen token is shown as; the rest stay what they are


class MaskedLM(Writes):
    """The pretraining objective; `mask` is the share of ordinary tokens that become targets."""

    name = "mlm"

    def __init__(self, specials: Specials, vocab: int, mask: float = 0.15) -> None:
        self.specials, self.vocab, self.mask = specials, vocab, mask
        self._special = torch.tensor(sorted(astuple(specials)))
        ordinary_V = torch.ones(vocab, dtype=torch.bool)
        ordinary_V[self._special] = False
        self._ordinary = ordinary_V.nonzero().flatten()

    def wrap(
        self, piece: NDArray[np.integer], *, begins: bool = True, ends: bool = True
    ) -> NDArray[np.int64]:
        """Return `[CLS] piece [SEP]`, wherever in its text it stands, as texts are classified."""
        cls, sep = self.specials.cls, self.specials.sep
        return np.concatenate([[cls], piece.astype(np.int64), [sep]])

    def batch(
        self, rows: Sequence[Sequence[NDArray[np.int64]]], capacity: int, generator: torch.Generator
    ) -> Batch:
        """Pack documents (ids with their special tokens) into rows, and choose the targets.

        The batch is as long as its longest row, at most `capacity`. The same generator state gives
        the same batch; special tokens are never targets, exactly the share `mask` of the others is.
        """
        lengths = [sum(len(document) for document in row) for row in rows]
        length = max(lengths)
        assert length <= capacity, f"a row of {length} tokens does not fit {capacity}"
        ids_BT = np.full((len(rows), length), self.specials.pad, dtype=np.int64)
        documents_BT = np.zeros((len(rows), length), dtype=np.int32)
        positions_BT = np.zeros((len(rows), length), dtype=np.int64)
        for b, row in enumerate(rows):
            start = 0
            for number, document in enumerate(row, 1):
                end = start + len(document)
                ids_BT[b, start:end] = document
                documents_BT[b, start:end] = number
                positions_BT[b, start:end] = np.arange(len(document))
                start = end
        shown_BT, where_N, targets_N = self._hide(torch.from_numpy(ids_BT), generator)
        return Batch(
            shown_BT,
            torch.from_numpy(documents_BT),
            positions_BT=torch.from_numpy(positions_BT),
            targets=targets_N,
            where_N=where_N,
            size=sum(len(row) for row in rows),
            tokens=sum(lengths),
            layout=_layout(rows, lengths),
        )

    def _hide(self, ids_BT: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the network is shown, where it must answer, and what was there."""
        flat = ids_BT.flatten()
        candidates = torch.isin(flat, self._special, invert=True).nonzero().flatten()
        count = max(1, round(self.mask * len(candidates))) if len(candidates) else 0
        order = torch.randperm(len(candidates), generator=generator)
        where_N = candidates[order[:count]].sort().values
        targets_N = flat[where_N]
        luck_N = torch.rand(count, generator=generator)
        drawn_N = torch.randint(len(self._ordinary), (count,), generator=generator)
        shown_N = torch.where(luck_N < _AS_MASK + _AS_RANDOM, self._ordinary[drawn_N], targets_N)
        shown_N[luck_N < _AS_MASK] = self.specials.mask
        shown = flat.clone()
        shown[where_N] = shown_N
        return shown.view_as(ids_BT), where_N, targets_N

    def head(self, config: ModelConfig) -> VocabHead:
        """Build the head; its weights are not yet initialised."""
        return VocabHead(config)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy summed over the targets, in float32."""
        assert batch.targets is not None, "a batch without targets has no loss"
        return F.cross_entropy(logits.float(), batch.targets, reduction="sum")


def _layout(rows: Sequence[Sequence[NDArray[np.int64]]], lengths: list[int]) -> Layout:
    if any(len(row) > 1 for row in rows):
        return "packed"
    return "full" if min(lengths) == max(lengths) else "padded"
