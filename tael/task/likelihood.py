"""How likely a language model finds texts: their total log-probability, by windows where long.

Letters: B rows · T positions · N targets · D hidden · V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tael.model.head import VocabHead
from tael.model.network import Network
from tael.task.language import packed
from tael.task.marks import Ids

__all__ = ["Told", "likelihood", "windows"]

_TOKENS = 4096  # positions computed at once
_SCORES = 1 << 22  # scores of the vocabulary held at once


@dataclass(frozen=True, slots=True)
class Told:
    """What a model makes of one text: Σ log P in nats, over how many tokens, how many it guessed.

    `right`: tokens that the model had as the likeliest one.
    """

    logprob: float
    tokens: int
    right: int


@dataclass(frozen=True, slots=True)
class _Window:
    """A stretch of a text that is read at once; the targets before `first` were counted before."""

    text: int
    start: int
    end: int
    first: int


def windows(length: int, capacity: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and first new target of each window over `length` tokens to be told.

    The first window tells `capacity` tokens, each further one `stride` new ones, behind
    `capacity - stride` that are read again: every token is told once, and all but the first ones
    from at least so much before them.
    """
    end = min(capacity, length)
    yield 0, end, 0
    while end < length:
        first, end = end, min(end + stride, length)
        yield max(0, end - capacity), end, first


@torch.inference_mode()
def likelihood(
    network: Network,
    texts: Sequence[Ids],
    capacity: int,
    *,
    first: Sequence[int] | None = None,
    pad: int = 0,
) -> list[Told]:
    """Return what the network makes of each text: of every token but the first.

    `capacity` tokens are read at once; of a longer text half of them again at each step.
    `first[i]`: the place in text i from which tokens are counted (1: all that have one before).
    """
    cuts = [
        _Window(n, start, end, new)
        for n, ids in enumerate(texts)
        for start, end, new in windows(len(ids) - 1, capacity, max(1, capacity // 2))
        if len(ids) > 1
    ]
    sums = np.zeros((len(texts), 3))
    for group in _grouped(cuts):
        part = [cuts[at] for at in group]
        told_N, right_N = _tell(network, [texts[w.text][w.start : w.end + 1] for w in part], pad)
        begin = 0
        for window in part:
            size = window.end - window.start
            least = max(window.first, (first[window.text] - 1) if first is not None else 0)
            new = slice(begin + max(0, least - window.start), begin + size)
            sums[window.text] += (told_N[new].sum(), len(told_N[new]), right_N[new].sum())
            begin += size
    return [Told(float(total), int(count), int(right)) for total, count, right in sums]


def _grouped(cuts: Sequence[_Window]) -> Iterator[list[int]]:
    """Cut the windows into groups of like lengths, the longest first."""
    order = sorted(range(len(cuts)), key=lambda at: cuts[at].start - cuts[at].end)
    begin = 0
    while begin < len(order):
        longest = cuts[order[begin]].end - cuts[order[begin]].start
        size = max(1, _TOKENS // longest)
        yield order[begin : begin + size]
        begin += size


def _tell(
    network: Network, parts: Sequence[Ids], pad: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return log P of every token but the first of each part, and whether it was the likeliest."""
    batch = packed([[part[:-1]] for part in parts], pad)
    hidden_ND = network(batch).flatten(0, 1)[batch.documents_BT.flatten() > 0]
    targets_N = torch.from_numpy(np.concatenate([part[1:] for part in parts]))
    head, embedding_VD = network.head, network.body.embedding.tokens.weight
    assert isinstance(head, VocabHead), "a language model has a head of its vocabulary"
    rows = max(1, _SCORES // network.config.vocab)
    told, right = [], []
    for start in range(0, len(targets_N), rows):
        wanted_N, some_ND = targets_N[start : start + rows], hidden_ND[start : start + rows]
        logits_NV: Tensor = head(some_ND, batch, embedding_VD).float()
        at_N = logits_NV.gather(1, wanted_N[:, None])[:, 0]
        told.append((at_N.double() - logits_NV.logsumexp(1).double()).numpy())
        right.append((logits_NV.argmax(1) == wanted_N).numpy())
    return np.concatenate(told), np.concatenate(right)
