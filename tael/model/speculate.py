"""Several tokens a pass: guess cheaply what comes, let the network judge all guesses at once.

What is written is what would have been written without: each token is chosen from the network's
own scores, by the same settings and the same luck, and a guess only saves the pass where it is what
was chosen. In lower precision a pass over several tokens rounds otherwise than one over each, so
near-ties may fall otherwise; in float64 texts are equal by test.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from tokenizers import Tokenizer

from tael.errors import UsageError
from tael.model.generate import Piece, Request, Row, choose
from tael.model.network import Network
from tael.model.reader import Reader

__all__ = ["Draft", "Guesser", "Lookup", "speculate"]

_MOST = 15  # a pass takes up to 16 tokens where a window is kept: the last one and the guesses


class Guesser(Protocol):
    """Says what might come next; wrong guesses cost time, never a word."""

    def guess(self, ids: Sequence[int], most: int) -> list[int]:
        """Return up to `most` ids that may follow these."""


class Lookup:
    """What followed the last few tokens when they stood in the text before.

    Yang et al. 2023, Inference with Reference, arXiv:2304.04487. It pays where a text repeats its
    prompt: summaries, corrections, code.
    """

    def __init__(self, match: int = 3, count: int = 10) -> None:
        self.match, self.count = match, count

    def guess(self, ids: Sequence[int], most: int) -> list[int]:
        """Return what followed the latest and longest match."""
        for size in range(min(self.match, len(ids) - 1), 0, -1):
            last = list(ids[-size:])
            for start in range(len(ids) - size - 1, -1, -1):
                if list(ids[start : start + size]) == last:
                    after = start + size
                    return list(ids[after : after + min(self.count, most)])
        return []


class Draft:
    """What a smaller network of the same vocabulary takes for the likeliest.

    Leviathan et al. 2023, arXiv:2211.17192; guesses here are only taken where they are what the
    large network chooses, so that the text stays that of its seed. One object is one text.
    """

    def __init__(self, network: Network, capacity: int, count: int = 4) -> None:
        if network.kind != "clm":
            raise UsageError(f"generate: a draft model must be a causal one, not {network.kind!r}")
        self.network, self.capacity, self.count = network, capacity, count
        self.reader: Reader | None = None
        self.known: list[int] = []  # what it has read

    def guess(self, ids: Sequence[int], most: int) -> list[int]:
        """Return the ids that it would write, one pass each; none beyond its table of positions."""
        config, count = self.network.config, min(self.count, most)
        beyond = config.position == "learned" and len(ids) + count > config.max_positions
        if count == 0 or beyond or any(id_ >= config.vocab for id_ in ids):
            return []
        self._catch_up(ids)
        guesses: list[int] = []
        while True:
            assert self.reader is not None, "it has just read"
            guesses.append(int(self.reader.logits_BV[0].argmax()))
            if len(guesses) == count:
                return guesses
            self.reader.read([guesses[-1:]])
            self.known.append(guesses[-1])

    def _catch_up(self, ids: Sequence[int]) -> None:
        """Read what is new, and take back guesses that were wrong."""
        if self.reader is None:
            self.reader = Reader(self.network, [ids], self.capacity - len(ids), None)
        else:
            pairs = zip(self.known, ids, strict=False)
            same = next((n for n, (a, b) in enumerate(pairs) if a != b), len(self.known))
            self.reader.forget(len(self.known) - same)
            for start in range(same, len(ids), _MOST):
                self.reader.read([list(ids[start : start + _MOST])])
        self.known = list(ids)


@torch.inference_mode()
def speculate(
    network: Network, request: Request, guesser: Guesser, tokenizer: Tokenizer | None = None
) -> Iterator[Piece]:
    """Yield the tokens of one text, as `write` does for a request of `n` = 1."""
    row = Row(network, request, 0, 0, tokenizer)
    settings = row.settings
    reader = Reader(network, [request.ids], settings.max_tokens + _MOST, settings.start)
    piece = row.take(choose(reader.logits_BV, [row])[0])
    yield piece
    while piece.end is None:
        # The last token needs no guess after it, nor is there always a place for one.
        most = min(_MOST, settings.max_tokens - row.written - 1)
        guesses = guesser.guess(row.ids, most)
        guesses = guesses[
            : next((n for n, g in enumerate(guesses) if g >= network.config.vocab), most)
        ]
        logits_BTV = reader.read([[row.ids[-1], *guesses]])
        for n, guess in enumerate([*guesses, None]):
            piece = row.take(choose(logits_BTV[:, n], [row])[0])
            yield piece
            if piece.end is not None:
                return
            if piece.id != guess:
                reader.forget(len(guesses) - n)
                break
