"""Networks and documents that the tests of this room share."""

from collections.abc import Callable

import pytest
import torch
from decoder_samples import small_decoder
from model_samples import CONFIG, generator
from torch import Tensor

from tael.model.config import ModelConfig
from tael.model.head import ClassifyHead, Head, VocabHead
from tael.model.network import Network, build


@pytest.fixture
def tiny() -> Callable[..., Network]:
    """Make a small network whose weights are large enough for every path to matter."""

    def make(head: type[Head] | None = None, config: ModelConfig = CONFIG) -> Network:
        heads: dict[type[Head] | None, Head | None] = {
            None: None,
            ClassifyHead: ClassifyHead(config, 3),
            VocabHead: VocabHead(config),
        }
        network = build(config, heads[head], seed=1)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(8).add_(0.01 * torch.randn(parameter.shape, generator=generator()))
        return network.eval()

    return make


@pytest.fixture
def documents() -> list[Tensor]:
    """Five documents of different lengths, without specials or padding ids."""
    return [torch.randint(5, 61, (n,), generator=generator(n)) for n in (7, 3, 12, 1, 5)]


@pytest.fixture
def decoder() -> Network:
    """A small decoder in float64 that has much to choose from."""
    return small_decoder()
