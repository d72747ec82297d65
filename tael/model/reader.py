"""A network that reads several texts side by side and says what it expects next of each.

Letters: B rows · T new positions · S positions of the source · V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tael.errors import DataError
from tael.model.batch import Batch
from tael.model.cache import Cache
from tael.model.finite import check
from tael.model.network import Network
from tael.model.settings import Settings
from tael.model.step import Stepper, can_step
from tael.model.transformer import Transformer

__all__ = ["Reader", "room", "tensor_of"]


class Reader:
    """Texts as far as they are read, and the scores of each one's next token, `logits_BV`.

    `prompts` are what a decoder goes on from, or the source of an encoder-decoder, whose decoder
    begins with `start`. There is room for `more` tokens a text. CheckpointError where scores are
    NaN or infinite.
    """

    def __init__(
        self, network: Network, prompts: Sequence[Sequence[int]], more: int, start: int | None
    ) -> None:
        self.network = network
        self.device = network.body.embedding.tokens.weight.device
        both = network.config.stacks == "both"
        self._positions = [1 if both else len(prompt) for prompt in prompts]
        longest = 1 if both else max(map(len, prompts))
        kind = next(p.dtype for p in network.parameters() if p.is_floating_point())
        self.cache = Cache(network.config, len(prompts), longest + more, kind, self.device)
        self.stepper = None
        if isinstance(network.body, Transformer) and can_step(network.body):
            self.stepper = Stepper(network.body, kind)
        self._real_BT = torch.ones(len(prompts), 64, dtype=torch.int32, device=self.device)
        if both:
            assert start is not None, "a decoder that reads a source begins with something"
            batch = self._step([[start]] * len(prompts), 0, _source(prompts, self.device))
            self.logits_BV = network.logits(batch, self.cache)[:, -1]
        else:
            self.logits_BV = network.logits(_left(prompts, self.device), self.cache)
        check(self.logits_BV, network)

    def read(self, ids_BT: Sequence[Sequence[int]]) -> Tensor:
        """Read new tokens, as many of each text; return (B, T, V), which ends in `logits_BV`."""
        batch = self._step(ids_BT, None, None)
        length = batch.ids_BT.shape[1]
        self._positions = [at + length for at in self._positions]
        if self.stepper is not None and length == 1 and torch.is_inference_mode_enabled():
            assert self.network.head is not None, "what writes has a head"
            hidden_B1D = self.stepper(batch, self.cache)
            tokens = self.network.body.embedding.tokens.weight
            logits_BTV: Tensor = self.network.head(hidden_B1D, batch, tokens)
        else:
            logits_BTV = self.network.logits(batch, self.cache)
        check(logits_BTV, self.network)
        self.logits_BV = logits_BTV[:, -1]
        return logits_BTV

    def select(self, rows: Sequence[int]) -> None:
        """Let row i go on from what row `rows[i]` has read."""
        if list(rows) == list(range(len(self._positions))):
            return
        self.cache.reorder(rows)
        self._positions = [self._positions[row] for row in rows]
        self.logits_BV = self.logits_BV[torch.as_tensor(rows, device=self.device)]

    def forget(self, count: int) -> None:
        """Take back the last `count` tokens of every text, up to 16; `logits_BV` is stale then."""
        self.cache.forget(count)
        self._positions = [at - count for at in self._positions]

    def _step(self, ids_BT: Sequence[Sequence[int]], at: int | None, source: Batch | None) -> Batch:
        rows, length = len(ids_BT), len(ids_BT[0])
        if rows > len(self._real_BT):
            self._real_BT = self._real_BT[:1].expand(rows, -1)
        starts = [at] * rows if at is not None else self._positions
        positions_BT = torch.tensor(
            [[start + n for n in range(length)] for start in starts], device=self.device
        )
        return Batch(
            torch.tensor(ids_BT, device=self.device),
            self._real_BT[:rows, :length],
            positions_BT=positions_BT,
            layout="full",
            source=source,
        )


def room(network: Network, prompt: Sequence[int], settings: Settings) -> int:
    """Return how many tokens may be written after a prompt.

    DataError for an empty prompt, an id that the network does not know, or one that is longer than
    a table of positions. Other positions are computed, so they go on as far as is asked.
    """
    config = network.config
    if not prompt:
        raise DataError("generate: a prompt has no tokens; write at least one character")
    wrong = next((id_ for id_ in prompt if not 0 <= id_ < config.vocab), None)
    if wrong is not None:
        raise DataError(f"generate: id {wrong} of a prompt is not below vocab ({config.vocab})")
    if config.position != "learned":
        return settings.max_tokens
    read = 1 if config.stacks == "both" else len(prompt)
    if len(prompt) > config.max_positions or read >= config.max_positions:
        raise DataError(
            f"generate: a prompt has {len(prompt):,} tokens, the model has places for "
            f"{config.max_positions:,}; shorten it"
        )
    return min(settings.max_tokens, config.max_positions - read)


def tensor_of(
    prompts: Sequence[Sequence[int]], device: torch.device, *, left: bool
) -> tuple[Tensor, Tensor]:
    """Return ids (B, T), 0 at padding, and int32 ones at real tokens; padding on one side."""
    length = max(map(len, prompts))
    ids_BT = torch.zeros(len(prompts), length, dtype=torch.int64)
    real_BT = torch.zeros(len(prompts), length, dtype=torch.int32)
    for row, prompt in enumerate(prompts):
        at = slice(length - len(prompt), None) if left else slice(0, len(prompt))
        ids_BT[row, at] = torch.tensor(prompt)
        real_BT[row, at] = 1
    return ids_BT.to(device), real_BT.to(device)


def _left(prompts: Sequence[Sequence[int]], device: torch.device) -> Batch:
    """Return prompts that end in the same column: the last states stand side by side."""
    ids_BT, real_BT = tensor_of(prompts, device, left=True)
    rows, length = ids_BT.shape
    last_B = torch.arange(rows, device=device) * length + length - 1
    if all(len(prompt) == length for prompt in prompts):
        return Batch(ids_BT, real_BT, where_N=last_B, layout="full")
    positions_BT = (real_BT.cumsum(dim=1) - 1).clamp(min=0)
    return Batch(ids_BT, real_BT, positions_BT=positions_BT, where_N=last_B, layout="packed")


def _source(prompts: Sequence[Sequence[int]], device: torch.device) -> Batch:
    ids_BT, real_BT = tensor_of(prompts, device, left=False)
    even = all(len(prompt) == ids_BT.shape[1] for prompt in prompts)
    return Batch(ids_BT, real_BT, layout="full" if even else "padded")
