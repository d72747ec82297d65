"""A network: the Transformer and the head that stands on it.

Letters: B rows · T positions · N documents or targets · D hidden · C classes · V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tael.model.batch import Batch
from tael.model.cache import Cache
from tael.model.config import ModelConfig
from tael.model.head import Head, HeadKind
from tael.model.norm import RMSNorm
from tael.model.transformer import EncoderDecoder, Transformer

__all__ = ["ForExport", "Network", "build", "initialise", "shapes"]

_FILLS = ("uniform_", "kaiming_uniform_", "normal_", "fill_", "ones_", "zeros_", "zero_")
_SPREAD = 0.02  # standard deviation of new weights, as BERT has it


class Network(nn.Module):
    """`body` reads, `head` (or None) answers.

    `raw` is the `config.json` of the folder it was opened from, which says how it is saved again.
    """

    def __init__(self, config: ModelConfig, head: Head | None = None) -> None:
        super().__init__()
        self.config = config
        self.body = EncoderDecoder(config) if config.stacks == "both" else Transformer(config)
        self.head = head
        self.raw: dict[str, Any] | None = None

    @property
    def kind(self) -> HeadKind:
        """Which head it carries."""
        return "none" if self.head is None else self.head.kind

    def forward(
        self, batch: Batch, cache: Cache | None = None, keep: list[Tensor] | None = None
    ) -> Tensor:
        """Return the hidden states (B, T, D); `keep` collects those of every layer."""
        if isinstance(self.body, EncoderDecoder):
            hidden_BTD: Tensor = self.body(batch, cache, keep)
        else:
            hidden_BTD = self.body(batch, None, cache, keep)
        return hidden_BTD

    def logits(self, batch: Batch, cache: Cache | None = None) -> Tensor:
        """Return the head's scores: (N, C), (N, V) or (B, T, V), or (N, D) for a summary."""
        assert self.head is not None, "a network without a head has no logits"
        embedding_VD = self.body.embedding.tokens.weight
        logits_NC: Tensor = self.head(self(batch, cache), batch, embedding_VD)
        return logits_NC


class _NoFill(TorchFunctionMode):
    """Filling a tensor without memory would import a compiler, and take a second to do nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def shapes() -> Iterator[None]:
    """Build networks without memory and without drawing numbers: shapes only."""
    with torch.device("meta"), _NoFill():
        yield


class ForExport(nn.Module):
    """The same network as a function of plain tensors, for torch.export and ONNX."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_BT: Tensor, mask_BT: Tensor, types_BT: Tensor) -> Tensor:
        """Return logits; ids and types int64, mask 1 at real tokens and 0 at padding.

        The mask is always applied: a graph cannot look whether there is padding.
        """
        return self.network.logits(Batch(ids_BT, mask_BT, types_BT, layout="padded"))


def build(config: ModelConfig, head: Head | None = None, seed: int = 0) -> Network:
    """Build a network with new weights in `body` and `head`; the seed decides all of them."""
    network = Network(config, head)
    initialise(network, seed)
    return network


def initialise(module: nn.Module, seed: int) -> None:
    """Overwrite the weights in place: truncated normal (0.02, cut at two deviations), biases 0."""
    generator = torch.Generator().manual_seed(seed)
    cut = 2 * _SPREAD
    for part in module.modules():
        weight = getattr(part, "weight", None)
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
        elif isinstance(part, RMSNorm):
            nn.init.constant_(part.weight, 1.0 - part.offset)
        elif isinstance(weight, nn.Parameter):
            nn.init.trunc_normal_(weight, 0, _SPREAD, -cut, cut, generator=generator)
        bias = getattr(part, "bias", None)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)
