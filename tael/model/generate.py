"""Text, one token after another: many at once, each by its own settings and its own luck.

A request's text does not depend on which others are written beside it, up to the rounding of
matrix products of other sizes; a text that has ended leaves the batch and costs nothing more.

Letters: B rows · V vocabulary.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tael.model.network import Network
from tael.model.reader import Reader, room
from tael.model.sample import candidates, draw, ruled
from tael.model.settings import Settings
from tael.model.stop import Growing

__all__ = ["Constraint", "End", "Piece", "Request", "Row", "Scored", "Written", "generate", "write"]

End = Literal["eos", "stop", "length"]


class Constraint(Protocol):
    """What a text must match, as far as it is written."""

    def allow(self, scores_V: Tensor) -> Tensor:
        """Return the scores, -inf where a token would break the match."""

    def take(self, id_: int) -> None:
        """Go on by a token."""

    @property
    def matched(self) -> bool:
        """Whether the text matches as it is."""

    @property
    def closed(self) -> bool:
        """Whether nothing can follow."""


@dataclass(frozen=True)
class Request:
    """A prompt (or a source) as ids, and what is wanted; `n` texts are written, each its own.

    `constraint` makes the watcher of one text.
    """

    ids: Sequence[int]
    settings: Settings
    seed: int = 0
    n: int = 1
    constraint: "ConstraintMaker | None" = None


class ConstraintMaker(Protocol):
    """Makes one watcher a text."""

    def __call__(self) -> Constraint:
        """Return a new one, at the beginning."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The model's own log-probability of a token, before penalties and temperature.

    `top`: the likeliest ids with theirs, as many as were asked for, the likeliest first.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Piece:
    """One token of one text; `text` is what became certain by it, and may be empty."""

    row: "Row"
    id: int
    text: str
    end: End | None


@dataclass(frozen=True)
class Written:
    """A finished text.

    `ids` holds the token that ended it too, `text` neither that nor a stop string. `complete`: a
    constrained text matches its grammar; false where max_tokens cut it off, None unconstrained.
    """

    text: str
    ids: tuple[int, ...]
    end: End
    prompt: int  # which prompt, from 0
    sample: int  # which of its texts, from 0
    prompt_tokens: int
    seed: int
    logprobs: tuple[Scored, ...] | None = None
    score: float | None = None  # of a beam: mean log-probability (length_penalty 1)
    complete: bool | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def tokens(self) -> int:
        """Tokens written, the one that ended the text included."""
        return len(self.ids)


class Row:
    """One text while it is written."""

    def __init__(
        self,
        network: Network,
        request: Request,
        prompt: int,
        sample: int,
        tokenizer: Tokenizer | None,
    ) -> None:
        self.request, self.prompt, self.sample = request, prompt, sample
        most = room(network, request.ids, request.settings)
        self.settings = replace(request.settings, max_tokens=most)
        both = network.config.stacks == "both"
        assert not both or self.settings.start is not None, "who opens a model looks at that"
        before = [self.settings.start or 0] if both else list(request.ids)
        self.ids, self.begin = before, len(before)
        self.luck = random.Random(f"{request.seed}/{sample}")
        self.scored: list[Scored] = []
        self.end: End | None = None
        self.constraint = request.constraint() if request.constraint else None
        behind = () if both else request.ids
        stop = self.settings.stop
        self.growing = Growing(tokenizer, behind, stop) if tokenizer is not None else None
        self.text = ""

    @property
    def written(self) -> int:
        """Tokens written so far."""
        return len(self.ids) - self.begin

    def take(self, id_: int) -> Piece:
        """Go on by a token; the piece says what it means."""
        settings, text = self.settings, ""
        self.ids.append(id_)
        if id_ in settings.end:
            self.end = "eos"
        elif id_ in settings.stop_ids:
            self.end = "stop"
        else:
            text = self.growing.feed(id_) if self.growing is not None else ""
            if self.constraint is not None:
                self.constraint.take(id_)
            if self.growing is not None and self.growing.stopped:
                self.end = "stop"
            elif self.constraint is not None and self.constraint.closed:
                self.end = "eos"
            elif self.written >= settings.max_tokens:
                self.end = "length"
        if self.end is not None and self.growing is not None:
            text += self.growing.end()
            if self.growing.stopped:
                self.end = "stop"
        self.text += text
        return Piece(self, id_, text, self.end)

    def finished(self, score: float | None = None) -> Written:
        """Return the finished text."""
        assert self.end is not None, "the text has not ended"
        return Written(
            text=self.text,
            ids=tuple(self.ids[self.begin :]),
            end=self.end,
            prompt=self.prompt,
            sample=self.sample,
            prompt_tokens=len(self.request.ids),
            seed=self.request.seed,
            logprobs=tuple(self.scored) if self.settings.logprobs is not None else None,
            score=score,
            complete=None if self.constraint is None else self.constraint.matched,
        )


def generate(
    network: Network, requests: Sequence[Request], tokenizer: Tokenizer | None = None
) -> list[Written]:
    """Write all that is asked for; texts come in the order of requests, their samples in a row.

    Raises DataError for a prompt that the network has no places for.
    """
    done = [
        piece.row.finished()
        for piece in write(network, requests, tokenizer)
        if piece.end is not None
    ]
    return sorted(done, key=lambda written: (written.prompt, written.sample))


@torch.inference_mode()
def write(
    network: Network, requests: Sequence[Request], tokenizer: Tokenizer | None = None
) -> Iterator[Piece]:
    """Yield each token of each text as soon as it is chosen: the way to stream."""
    if not requests:
        return
    rows = [
        Row(network, request, prompt, sample, tokenizer)
        for prompt, request in enumerate(requests)
        for sample in range(request.n)
    ]
    more = max(row.settings.max_tokens for row in rows)
    reader = Reader(network, [r.ids for r in requests], more, requests[0].settings.start)
    reader.select([row.prompt for row in rows])  # each prompt is read once for all its texts
    while True:
        pieces = [
            row.take(id_) for row, id_ in zip(rows, choose(reader.logits_BV, rows), strict=True)
        ]
        yield from pieces
        going = [n for n, row in enumerate(rows) if row.end is None]
        if not going:
            return
        if len(going) < len(rows):
            reader.select(going)
            rows = [rows[n] for n in going]
        reader.read([[row.ids[-1]] for row in rows])


def choose(logits_BV: Tensor, rows: Sequence[Row]) -> list[int]:
    """Return the next token of each row, by its settings, and note its log-probability if asked."""
    scores_BV = logits_BV
    if any(row.settings.ruled or row.constraint is not None for row in rows):
        scores_BV = torch.stack([_allowed(*pair) for pair in zip(logits_BV, rows, strict=True)])
    chosen: list[int] = scores_BV.argmax(dim=-1).tolist()
    kinds: dict[Settings, list[int]] = {}
    for n, row in enumerate(rows):
        if row.settings.temperature:
            kinds.setdefault(row.settings, []).append(n)
    for settings, at in kinds.items():
        few_BV = scores_BV if len(at) == len(rows) else scores_BV[at]
        drawn = draw(candidates(few_BV, settings), [rows[n].luck.random() for n in at])
        for n, id_ in zip(at, drawn, strict=True):
            chosen[n] = id_
    for n, row in enumerate(rows):
        if row.settings.logprobs is not None:
            row.scored.append(_scored(logits_BV[n], chosen[n], row.settings.logprobs))
    return chosen


def _allowed(logits_V: Tensor, row: Row) -> Tensor:
    scores_V = logits_V
    if row.settings.ruled:
        scores_V = ruled(logits_V.float(), row.ids, row.written, row.settings)
    return scores_V if row.constraint is None else row.constraint.allow(scores_V)


def _scored(logits_V: Tensor, id_: int, count: int) -> Scored:
    logprobs_V = logits_V.float().log_softmax(dim=-1)
    top = logprobs_V.topk(min(count, len(logprobs_V)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return Scored(id_, float(logprobs_V[id_]), tuple(pairs))
