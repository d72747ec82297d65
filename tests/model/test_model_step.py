"""A step gives what the blocks give, for every kind of decoder that it takes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from decoder_samples import DECODER, prompts
from model_samples import generator
from torch import nn
from torch.testing import assert_close

from tael.model.head import VocabHead
from tael.model.network import Network, build
from tael.model.prepack import prepack
from tael.model.quant import quantise
from tael.model.reader import Reader
from tael.model.step import can_step

LLAMA: dict[str, Any] = {"norm": "rms", "gated": True, "activation": "silu", "max_positions": 80}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "shared keys": {"heads": 6, "kv_heads": 2, "head_size": 4},
    "one key head": {"kv_heads": 1, "qkv_bias": True},
    "windows": {"layers": 4, "local": (True, False, True, True), "window": 5},
    "a base for windows": {"local": (True, False), "window": 4, "rotary_base_local": 100.0},
    "an offset norm": {"norm_offset": 1.0, "embedding_scale": 5.0},
    "shared layers": {"layers": 4, "sharing": 2},
    "no gate": {"gated": False, "activation": "relu", "ffn_bias": True},
    "a scale": {"attention_scale": 0.3, "logit_cap": 5.0, "tied": False},
}


def decoder(**changes: Any) -> Network:
    """Return a decoder as Llama, in float64, with norms that are not all ones."""
    config = replace(DECODER, **(LLAMA | changes))
    network = build(config, VocabHead(config, "clm"), seed=1).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator(), dtype=torch.float64)
            parameter.mul_(4).add_(0.1 * noise)
    return network


@torch.inference_mode()
def steps(network: Network, count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scores of some steps of texts of unequal lengths, and the blocks' own."""
    asked = prompts(network.config.vocab)
    one, other = (Reader(network, asked, count + 3, None) for _ in range(2))
    other.stepper = None
    assert one.stepper is not None
    found = []
    for n in range(count):
        ids = [[row[n % len(row)]] for row in asked]
        if n == 5:
            for reader in (one, other):
                reader.select([2, 0, 0])
        if n == 8:
            for reader in (one, other):
                reader.read([[4, 5, 6]] * 3)
                reader.forget(2)
        found.append([reader.read(ids) for reader in (one, other)])
    ours, theirs = (torch.cat(scores, 1) for scores in zip(*found, strict=True))
    return ours, theirs


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_gives_what_the_blocks_give(kind: str) -> None:
    ours, theirs = steps(decoder(**KINDS[kind]))
    assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert theirs.std(1).max() > 0.01


def test_what_stands_before_counts() -> None:
    network = decoder()
    with torch.inference_mode():
        readers = [Reader(network, [ids], 4, None) for ids in ([5, 6, 7], [9, 6, 7])]
        one, other = (reader.read([[8]]) for reader in readers)
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("small", ["laid out", "four bits"])
def test_in_bfloat16_a_step_rounds_no_more_than_the_blocks(small: str) -> None:
    sizes: dict[str, Any] = {"hidden": 64, "heads": 2, "ffn": 96, "layers": 4}
    exact, network = decoder(**sizes).bfloat16().float(), decoder(**sizes).bfloat16()
    if small == "four bits":
        quantise(exact)
        quantise(network)
    else:
        prepack(network)
    truth = steps(exact)[1]
    error, their_error = ((x - truth).square().mean().sqrt() for x in steps(network))
    assert error < 1.1 * their_error
    assert error < 0.3 * truth.std()


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "layer"},
        {"qk_norm": True},
        {"attention_cap": 5.0},
        {"position": "alibi"},
        {"position": "learned"},
        {"rotary_share": 0.5},
        {"norm_place": "sandwich"},
        {"norm_place": "post"},
    ],
)
def test_other_decoders_go_the_usual_way(changes: dict[str, Any]) -> None:
    assert not can_step(decoder(**changes).body)


def test_a_network_that_learns_or_is_listened_to_goes_the_usual_way() -> None:
    network = decoder()
    assert can_step(network.body)
    heard: list[nn.Module] = []
    layer = network.body.get_submodule("blocks.1.ffn")
    handle = layer.register_forward_hook(lambda module, *_: heard.append(module))
    assert not can_step(network.body)
    handle.remove()
    assert can_step(network.body)
    assert not can_step(network.train().body)
