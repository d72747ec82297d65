"""Denoising for encoder-decoders: read a spoilt text, write what is missing, or all of it.

`SpanCorruption`: Raffel et al. 2020, T5, arXiv:1910.10683, section 3.1.4. `Denoising`: Lewis et al.
2019, BART, arXiv:1910.13461, section 2.2: text infilling and sentence permutation together.

Letters: B rows · T positions · N targets · V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from tokenizers import Tokenizer

from tael.errors import CheckpointError
from tael.model.batch import Batch
from tael.model.config import ModelConfig
from tael.model.head import VocabHead
from tael.task.language import packed
from tael.task.marks import Ids, Marks, sentence_ends, sentinels
from tael.task.writes import Writes

__all__ = ["Denoising", "SpanCorruption"]

Pair = tuple[Ids, Ids]  # what is read, and what is to be written; both with their end


class _ReadAndWrite(Writes, ABC):
    """What both have: an encoder reads a document, a decoder writes, a token at a time.

    `start` is what the decoder reads before its first token.
    """

    def __init__(self, marks: Marks, start: int, mask: float, span: float) -> None:
        self.marks, self.start, self.mask, self.span = marks, start, mask, span

    def wrap(self, piece: NDArray[np.integer], *, begins: bool = True, ends: bool = True) -> Ids:
        """Return a piece as it is: its marks are set once it is spoilt."""
        return piece.astype(np.int64)

    @abstractmethod
    def spoil(self, document: Ids, luck: np.random.Generator) -> Pair:
        """Return what is read and what is to be written of a document without marks."""

    def batch(
        self, rows: Sequence[Sequence[Ids]], capacity: int, generator: torch.Generator
    ) -> Batch:
        """Pack documents; the generator alone decides how they are spoilt.

        A document written stands in the row, and under the number, of the one that is read.
        """
        seed = int(torch.randint(1 << 62, (1,), generator=generator))
        luck = np.random.default_rng(seed)
        pairs = [[self.spoil(document, luck) for document in row] for row in rows]
        source = packed([[read for read, _ in row] for row in pairs], self.marks.pad)
        shifted = [[np.append(self.start, written[:-1]) for _, written in row] for row in pairs]
        made = packed(shifted, self.marks.pad)
        targets = np.concatenate([written for row in pairs for _, written in row])
        where_N = made.documents_BT.flatten().nonzero().flatten()
        return replace(
            made,
            targets=torch.from_numpy(targets),
            where_N=where_N,
            source=source,
            tokens=made.tokens + source.tokens,
        )

    def head(self, config: ModelConfig) -> VocabHead:
        """Build the head; its weights are not yet initialised."""
        return VocabHead(config, "seq2seq")


class SpanCorruption(_ReadAndWrite):
    """Stretches of the text become sentinels; they are written, each behind its own sentinel.

    As T5 was trained there is no sentinel behind the last stretch: the end token is there. A share
    `mask` of the tokens is hidden, in stretches of `span` tokens on average. Unlike T5's, the last
    stretch need not be the end of the text: of a short text that would always be what is hidden.
    """

    name = "span"

    def __init__(
        self, tokenizer: Tokenizer, marks: Marks, start: int, mask: float, span: float
    ) -> None:
        super().__init__(marks, start, mask, span)
        self.sentinels = sentinels(tokenizer)
        if not self.sentinels:
            raise CheckpointError(
                "tokenizer: no <extra_id_0>, which stands for a hidden stretch; "
                "expected a tokenizer of T5's kind; or set pretrain.objective=denoise"
            )

    def spoil(self, document: Ids, luck: np.random.Generator) -> Pair:
        """Return the text with sentinels for stretches, and the stretches behind sentinels.

        A text of one token keeps it, and has nothing to be written but the end.
        """
        eos, at = [self.marks.eos], 0
        read: list[Ids] = []
        written: list[Ids] = []
        kept, hidden = self._stretches(len(document), luck)
        for number, (keep, hide) in enumerate(zip(kept, hidden, strict=True)):
            mark = np.array([self.sentinels[number]])
            read += [document[at : at + keep], mark]
            written += [mark, document[at + keep : at + keep + hide]]
            at += keep + hide
        return _joined(*read, document[at:], eos), _joined(*written, eos)

    def _stretches(
        self, length: int, luck: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how much is kept before each hidden stretch, and the length of that."""
        if length < 2:
            none = np.zeros(0, dtype=np.int64)
            return none, none
        hide = min(max(1, round(self.mask * length)), length - 1)
        kept = length - hide
        count = min(max(1, round(hide / self.span)), kept + 1, len(self.sentinels))
        gaps = np.sort(luck.choice(kept + 1, count, replace=False))  # no two stretches touch
        return np.diff(gaps, prepend=0), _shared(hide, count, luck)


class Denoising(_ReadAndWrite):
    """Sentences in another order, with stretches of the text gone; all of it is to be written.

    Each stretch, of a length drawn from Poisson(`span`), becomes one [MASK]; a stretch of length 0
    is a [MASK] put in. A share `mask` of the tokens is hidden.
    """

    name = "denoise"

    def __init__(
        self, tokenizer: Tokenizer, marks: Marks, start: int, mask: float, span: float
    ) -> None:
        super().__init__(marks, start, mask, span)
        if marks.mask is None:
            raise CheckpointError(
                "tokenizer: no mask token, which stands for what is hidden; set "
                "pretrain.objective=span"
            )
        self.hole = marks.mask
        self._ends = sentence_ends(tokenizer)

    def spoil(self, document: Ids, luck: np.random.Generator) -> Pair:
        """Return the text shuffled and with holes, and the text."""
        bos, eos = self.marks.bos, self.marks.eos
        head = [] if bos is None else [bos]
        read = self._infill(self._permuted(document, luck), luck)
        return _joined(head, read, [eos]), _joined(head, document, [eos])

    def _permuted(self, document: Ids, luck: np.random.Generator) -> Ids:
        borders = np.flatnonzero(np.isin(document[:-1], self._ends)) + 1
        sentences = np.split(document, borders)
        return np.concatenate([sentences[at] for at in luck.permutation(len(sentences))])

    def _infill(self, document: Ids, luck: np.random.Generator) -> Ids:
        """Return the text with holes, each in place of so many tokens as was drawn."""
        left = round(self.mask * len(document))
        lengths = []
        while left > 0:
            lengths.append(min(left, int(luck.poisson(self.span))))
            left -= lengths[-1]
        # What stays is shared out around the holes; holes may touch, as in the paper.
        kept = len(document) - sum(lengths)
        cuts = np.sort(luck.integers(0, kept + 1, len(lengths)))
        parts, at, before = [], 0, 0
        for cut, length in zip(cuts.tolist(), lengths, strict=True):
            parts += [document[at : at + cut - before], np.array([self.hole])]
            at, before = at + cut - before + length, cut
        return np.concatenate([*parts, document[at:]])


def _joined(*parts: ArrayLike) -> Ids:
    return np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])


def _shared(total: int, parts: int, luck: np.random.Generator) -> NDArray[np.int64]:
    """Return `parts` whole numbers from 1 that sum up to `total`, each way as likely."""
    cuts = np.sort(luck.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)
