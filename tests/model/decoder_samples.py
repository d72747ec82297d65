"""A random decoder, and prompts of unequal lengths; needs no reference."""

import torch
from model_samples import generator

from tael.model.config import ModelConfig
from tael.model.head import VocabHead
from tael.model.network import Network, build

DECODER = ModelConfig(
    vocab=41, hidden=24, layers=2, heads=3, ffn=40, stacks="decoder", position="rotary", types=0,
    embedding_norm=False, norm_place="pre", final_norm=True, vocab_transform=False, max_positions=40
)  # fmt: skip


def prompts(vocab: int, sizes: tuple[int, ...] = (7, 3, 12)) -> list[list[int]]:
    return [torch.randint(3, vocab, (n,), generator=generator(n)).tolist() for n in sizes]


def small_decoder() -> Network:
    """A small decoder in float64 that has much to choose from."""
    network = build(DECODER, VocabHead(DECODER, "clm"), seed=1).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator(), dtype=torch.float64)
            parameter.mul_(4).add_(0.1 * noise)
    return network
