"""What the objectives on text without labels share: their special tokens, and packed rows.

Letters: B rows · T positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tael.data.lexicon import Lexicon
from tael.errors import CheckpointError
from tael.model.batch import Batch, Layout

__all__ = ["SENTINELS", "Ids", "Marks", "marks", "packed", "sentence_ends", "sentinels"]

Ids = NDArray[np.int64]

SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))  # as T5 has
_ENDS = (".", "!", "?", "。", "！", "？", "…", "\n")


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids of the tokens that open, close and fill rows; `bos` None where a model has none."""

    bos: int | None
    eos: int
    pad: int
    mask: int | None = None


def marks(lexicon: Lexicon) -> Marks:
    """Return the marks of a tokenizer; CheckpointError where nothing closes a text.

    Tokenizers trained here open with [CLS] and close with [SEP], whatever the architecture.
    """
    roles = lexicon.roles
    eos = roles.eos if roles.eos is not None else roles.sep
    if eos is None:
        raise CheckpointError(
            "tokenizer: no token closes a text, so a model could not learn to stop; name one as "
            "eos_token in its tokenizer_config.json"
        )
    bos = roles.bos if roles.bos is not None else roles.cls
    # GPT-2 has one token for both: a text would begin with its end, which is how it was trained.
    pad = roles.pad if roles.pad is not None else eos
    return Marks(bos, eos, pad, roles.mask)


def sentinels(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of <extra_id_0>, <extra_id_1>, … as far as a tokenizer has them."""
    found = map(tokenizer.token_to_id, SENTINELS)
    return [id_ for id_ in found if id_ is not None]


def sentence_ends(tokenizer: Tokenizer) -> Ids:
    """Return the ids of the units that end a sentence or a line, by their last character."""
    texts = ((id_, tokenizer.decode([id_])) for id_ in tokenizer.get_vocab().values())
    found = [id_ for id_, text in texts if text.rstrip(" ").endswith(_ENDS)]
    return np.array(sorted(found), dtype=np.int64)


def packed(rows: Sequence[Sequence[Ids]], pad: int, size: int | None = None) -> Batch:
    """Lay documents out in rows as long as the longest, without targets.

    Positions restart at every document. `size`: the documents, where a row's are not all its own.
    """
    lengths = [sum(map(len, row)) for row in rows]
    shape = (len(rows), max(lengths))
    ids_BT = np.full(shape, pad, dtype=np.int64)
    documents_BT = np.zeros(shape, dtype=np.int32)
    positions_BT = np.zeros(shape, dtype=np.int64)
    for b, row in enumerate(rows):
        start = 0
        for number, document in enumerate(row, 1):
            end = start + len(document)
            ids_BT[b, start:end] = document
            documents_BT[b, start:end] = number
            positions_BT[b, start:end] = np.arange(len(document))
            start = end
    return Batch(
        torch.from_numpy(ids_BT),
        torch.from_numpy(documents_BT),
        positions_BT=torch.from_numpy(positions_BT),
        size=sum(map(len, rows)) if size is None else size,
        tokens=sum(lengths),
        layout=_layout(rows, lengths),
    )


def _layout(rows: Sequence[Sequence[Ids]], lengths: Sequence[int]) -> Layout:
    if any(len(row) > 1 for row in rows):
        return "packed"
    return "full" if min(lengths) == max(lengths) else "padded"
