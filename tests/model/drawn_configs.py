"""Configs of every part in every combination, and documents to read, for hypothesis to draw."""

from dataclasses import replace
from typing import Any, Literal

import torch
from hypothesis import strategies as st
from model_samples import generator, packed, padded
from torch import Tensor

from tael.model.batch import Batch
from tael.model.config import ModelConfig
from tael.model.network import Network, build

VOCAB = 61
Stacks = Literal["encoder", "decoder", "both"]


@st.composite
def configs(draw: st.DrawFn, *stacks: Stacks) -> ModelConfig:
    """Draw a config whose answers for a text do not depend on what stands beside it."""

    def pick(*choices: Any) -> Any:
        return draw(st.sampled_from(choices))

    heads, groups, window = *pick((1, 1), (2, 1), (3, 3), (4, 2)), pick(None, None, 2, 3, 5)
    kind = pick(*stacks)
    return ModelConfig(
        VOCAB, 12, 2, heads, 14, stacks=kind, kv_heads=groups, head_size=pick(4, 8), window=window,
        local=pick(None, (True, False)), position=pick(*POSITIONS), max_positions=64,
        position_offset=pick(0, 2), rotary_share=pick(1.0, 0.5), relative_buckets=8,
        rotary_base_local=pick(None, 100.0), relative_distance=20, norm=pick("layer", "rms"),
        norm_place=pick("post", "pre", "sandwich"), final_norm=pick(True, False),
        activation=pick("gelu", "silu"), gated=pick(True, False), qk_norm=pick(True, False),
        qkv_bias=pick(True, False), attention_cap=pick(None, None, 3.0), types=pick(0, 2),
        sharing=pick(1, 2), embedding_size=pick(None, 8), embedding_scale=pick(1.0, 2.0),
        stacks_shared=kind == "both" and pick(True, False), norm_eps=1e-6,
    )  # fmt: skip


POSITIONS = ("learned", "sinusoidal", "rotary", "relative", "alibi", "none")
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def network_of(config: ModelConfig) -> Network:
    """Build it in float64 with weights large enough for every path to matter."""
    network = build(config, seed=1).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(8).add_(0.05 * torch.randn(parameter.shape, generator=generator()))
    return network


def texts(lengths: list[int], seed: int = 0) -> list[Tensor]:
    """Return one document a length."""
    draw = generator(seed)
    return [torch.randint(5, VOCAB, (length,), generator=draw) for length in lengths]


def sources(documents: list[Tensor]) -> list[Tensor]:
    """Return what each document was written from, of another length each."""
    return texts([1 + (7 * len(document) + n) % 8 for n, document in enumerate(documents)], 5)


def apart(config: ModelConfig, documents: list[Tensor], extra: int = 0) -> Batch:
    """One document a row, and its source where the config has stacks for both."""
    batch = padded(documents, extra)
    both = config.stacks == "both"
    return replace(batch, source=padded(sources(documents), extra)) if both else batch


def together(config: ModelConfig, documents: list[Tensor]) -> Batch:
    """All documents in one row."""
    batch = packed(documents)
    return replace(batch, source=packed(sources(documents))) if config.stacks == "both" else batch


def states(network: Network, batch: Batch) -> Tensor:
    """Return the hidden states of all real tokens, text after text."""
    hidden_BTD: Tensor = network(batch)
    return hidden_BTD[batch.documents_BT > 0]
