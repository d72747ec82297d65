"""Small networks and batches for the tests of this room."""

import torch
from torch import Tensor

from tael.model.batch import Batch
from tael.model.config import ModelConfig

CONFIG = ModelConfig(vocab=61, hidden=24, layers=2, heads=3, ffn=40, max_positions=32)


def padded(documents: list[Tensor], extra: int = 0, pad: int = 0) -> Batch:
    """One document a row; `extra` columns of padding more than needed."""
    length = max(map(len, documents)) + extra
    ids_BT = torch.full((len(documents), length), pad)
    documents_BT = torch.zeros(len(documents), length, dtype=torch.int32)
    for b, document in enumerate(documents):
        ids_BT[b, : len(document)] = document
        documents_BT[b, : len(document)] = 1
    return Batch(ids_BT, documents_BT, layout="padded")


def packed(documents: list[Tensor], padding: int = 2) -> Batch:
    """All documents in one row, some padding last."""
    positions = [torch.arange(len(document)) for document in documents]
    numbers = [torch.full((len(d),), n, dtype=torch.int32) for n, d in enumerate(documents, 1)]
    zeros = torch.zeros(padding, dtype=torch.int64)
    return Batch(
        torch.cat([*documents, zeros])[None],
        torch.cat([*numbers, zeros.int()])[None],
        positions_BT=torch.cat([*positions, zeros])[None],
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
