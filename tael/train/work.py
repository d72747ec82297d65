"""How much a step computes: real tokens, computed positions, and the operations that teach.

Letters: B rows · T positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tael.machine.work import Rates
from tael.model.batch import Batch
from tael.model.block import Block
from tael.model.head import VocabHead
from tael.model.network import Network
from tael.model.transformer import EncoderDecoder, Transformer

__all__ = ["Meter", "Work"]


@dataclass(frozen=True, slots=True)
class Work:
    """What micro-batches take: `tokens` are real, `positions` computed, padding among them."""

    tokens: int = 0
    positions: int = 0
    flops: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.tokens + other.tokens,
            self.positions + other.positions,
            self.flops + other.flops,
        )


class Meter:
    """Counts the work of batches by the sizes of one network, as they are when it is made.

    Parts that do not learn cost less: no gradient of their weights, and below the lowest part that
    learns none at all. The operations of a module that is no `Network` are not known, and count 0.
    """

    def __init__(self, network: nn.Module) -> None:
        self._stacks, self._rates = list[Transformer](), list[Rates]()
        self._read = self._target = 0.0
        self._by_document = True
        if isinstance(network, Network):
            self._measure(network)

    def count(self, window: Sequence[Batch]) -> Work:
        """Return the work of the micro-batches of a step."""
        return sum((self._of(batch) for batch in window), Work())

    def _measure(self, network: Network) -> None:
        body = network.body
        self._stacks = [body.encoder, body.decoder] if isinstance(body, EncoderDecoder) else [body]
        learns = _learns(body.embedding)
        for stack in self._stacks:
            self._rates.append(_stack_rates(stack, learns))
            learns = learns or _learns(stack)
        self._read = sum(_flops(part, learns) for part in _readers(self._stacks[-1]))
        self._target = _head_flops(network, learns)
        self._by_document = network.kind in ("classify", "pool")

    def _of(self, batch: Batch) -> Work:
        parts = [batch] if batch.source is None else [batch.source, batch]
        flops = 0.0
        for stack, rates, part in zip(self._stacks, self._rates, parts, strict=False):
            tokens, pairs, near = _seen(part, stack)
            flops += rates.flops(tokens, pairs, 0, near)
        if batch.source is not None and self._stacks:
            flops += self._read * int((batch.source.documents_BT != 0).sum())
            flops += self._rates[-1].pair * _crossed(batch, batch.source)
        flops += self._target * self._targets(batch)
        return Work(batch.tokens, sum(part.ids_BT.numel() for part in parts), flops)

    def _targets(self, batch: Batch) -> int:
        if batch.where_N is not None:
            return len(batch.where_N)
        return batch.ids_BT.shape[0] if self._by_document else batch.tokens


def _stack_rates(stack: Transformer, learns: bool) -> Rates:
    """Return the rates of a stack of layers; `learns`: whether something below it does."""
    token, pairs = 0.0, {False: 0.0, True: 0.0}
    config = stack.config
    for number in range(stack.depth):
        block = stack.blocks[number // config.sharing]
        assert isinstance(block, Block)
        learns = learns or _learns(block)
        token += _flops(block, learns)
        # Two products of queries, keys and values, each forward and twice backward.
        mixing = 4 * config.heads * config.width
        pairs[config.is_local(number)] += mixing * (3 if learns else 1)
    token += _flops(stack.embedding.widen, learns)
    token -= sum(_flops(part, learns) for part in _readers(stack))  # these meet the source instead
    return Rates(token, pairs[False], 0.0, pairs[True])


def _readers(stack: Transformer) -> list[nn.Module]:
    """Return what makes keys and values of a source, layer by layer; empty where nothing does."""
    return [
        block.cross.kv
        for n in range(stack.depth)
        if isinstance(block := stack.blocks[n // stack.config.sharing], Block)
        and block.cross is not None
    ]


def _head_flops(network: Network, learns: bool) -> float:
    """Return the operations of a target in the head, the tied embedding as its last matrix."""
    if network.head is None:
        return 0.0
    flops = _flops(network.head, learns or _learns(network.head))
    if isinstance(network.head, VocabHead) and network.head.weight is None:
        table = network.body.embedding.tokens.weight
        flops += table.numel() * (2 + 2 * learns + 2 * table.requires_grad)
    return flops


def _flops(part: nn.Module, learns: bool) -> float:
    """Return the operations of a vector in the matrices of `part`.

    2 a weight forward; 2 for the gradient of what came in, where something at or below it `learns`;
    2 for the gradient of the weight itself, where it does.
    """
    return float(sum(w.numel() * (2 + 2 * learns + 2 * w.requires_grad) for w in _matrices(part)))


def _matrices(part: nn.Module) -> Iterator[Tensor]:
    return (w for w in part.parameters() if w.ndim > 1)


def _learns(part: nn.Module) -> bool:
    return any(w.requires_grad for w in part.parameters())


def _seen(batch: Batch, stack: Transformer) -> tuple[int, int, int]:
    """Return real tokens, the pairs that see each other, and those within the window.

    Summed over a document's places p, 2 p + 1 is the square of its length, and p + 1 are the pairs
    that look back; with a window, each place counts at most the window.
    """
    at_BT, real_BT = batch.positions_BT, batch.documents_BT != 0
    if at_BT is None:
        at_BT = torch.arange(batch.ids_BT.shape[1], device=batch.ids_BT.device)[None]
    seen_BT = (at_BT + 1 if stack.causal else 2 * at_BT + 1) * real_BT
    near = 0
    if stack.config.window is not None:
        near = int(seen_BT.clamp(max=stack.config.window).sum())
    return int(real_BT.sum()), int(seen_BT.sum()), near


def _crossed(batch: Batch, source: Batch) -> int:
    """Return the pairs of a written and a read token of the same document."""
    most = int(max(batch.documents_BT.max(), source.documents_BT.max())) + 1
    row_B1 = torch.arange(len(batch.ids_BT), device=batch.ids_BT.device)[:, None] * most
    counts = [
        torch.bincount(
            (part.documents_BT + row_B1)[part.documents_BT != 0], minlength=len(row_B1) * most
        )
        for part in (batch, source)
    ]
    return int((counts[0] * counts[1]).sum())
