"""Matrices laid out beforehand: the same function to the bit, and never a stale one."""

from pathlib import Path

import pytest
import torch
from gguf_samples import network_of
from model_samples import generator
from torch import Tensor

from tael.model.batch import Batch
from tael.model.network import Network
from tael.model.prepack import Prepacked, prepack
from tael.model.weights import open_folder, save_folder

pytestmark = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bfloat16 kernels"
)


def logits(network: Network, length: int = 5) -> Tensor:
    ids_BT = torch.randint(0, 96, (2, length), generator=generator())
    with torch.inference_mode():
        return network.logits(Batch(ids_BT, torch.ones_like(ids_BT).int(), layout="full"))


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_scores_stay_and_the_folder_too(tmp_path: Path, architecture: str) -> None:
    network = network_of(architecture).bfloat16()
    before, names = logits(network), [name for name, _ in network.named_parameters()]
    assert prepack(network) == 4 * 2 + 1
    assert sum(isinstance(module, Prepacked) for module in network.modules()) == 9
    difference = (logits(network).float() - before.float()).norm()
    assert float(difference) <= 0.01 * float(before.float().norm())
    assert [name for name, _ in network.named_parameters()] == names
    save_folder(tmp_path, network)
    again, _ = open_folder(tmp_path, dtype=None)
    assert torch.equal(logits(again), before)


def test_a_changed_weight_is_never_answered_from_the_old_copy() -> None:
    network = network_of("llama").bfloat16()
    prepack(network)
    before = logits(network)
    with torch.no_grad():
        network.get_parameter("body.blocks.0.ffn.down.weight").zero_()
    plain = network_of("llama").bfloat16()
    with torch.no_grad():
        plain.get_parameter("body.blocks.0.ffn.down.weight").zero_()
    assert not torch.equal(logits(network), before)
    assert torch.allclose(logits(network).float(), logits(plain).float(), atol=0.25)


def test_float32_stays_as_it_is() -> None:
    assert prepack(network_of("llama")) == 0
