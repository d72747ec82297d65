"""Networks made small: what is replaced, what it costs, and that it is saved bit by bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_samples import network_of
from model_samples import generator
from torch import Tensor

from tael.errors import CheckpointError
from tael.model.batch import Batch
from tael.model.coded import Bits, CodedLinear
from tael.model.coded_folder import is_coded, open_coded, save_coded
from tael.model.generate import Request, generate
from tael.model.network import Network
from tael.model.quant import quantise
from tael.model.settings import Settings
from tael.model.weights import read_config


def logits(network: Network) -> Tensor:
    ids_BT = torch.randint(0, 96, (2, 9), generator=generator())
    with torch.inference_mode():
        return network.logits(Batch(ids_BT, torch.ones_like(ids_BT).int(), layout="full"))


@pytest.mark.parametrize(("bits", "least", "most"), [(4, 0.03, 0.12), (8, 0.001, 0.01)])
def test_every_matrix_is_replaced_and_its_error_told(bits: Bits, least: float, most: float) -> None:
    network = network_of("llama")
    before = logits(network)
    said = quantise(network, bits)
    assert not said.kept
    assert len(said.errors) == 4 * 2 + 1
    layers = [error for name, error in said.errors.items() if "blocks" in name]
    assert all(least < error < most for error in layers)
    assert said.errors["body.embedding.tokens"] < 0.01
    change = (logits(network) - before).norm() / before.norm()
    assert 0 < float(change) < (0.8 if bits == 4 else 0.25)


def test_matrices_of_other_widths_are_kept_and_named() -> None:
    network = network_of("llama", intermediate_size=80)
    said = quantise(network, 4)
    assert set(said.kept) == {f"body.blocks.{n}.ffn.down" for n in range(2)}
    assert "80" in said.kept["body.blocks.0.ffn.down"]
    assert logits(network).isfinite().all()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_saved_folder_opens_bit_by_bit(tmp_path: Path, architecture: str, bits: Bits) -> None:
    network = network_of(architecture).bfloat16()
    quantise(network, bits)
    save_coded(tmp_path, network)
    raw = read_config(tmp_path)
    assert is_coded(raw)
    again = open_coded(tmp_path, raw)
    assert torch.equal(logits(again), logits(network))
    expected, found = dict(network.named_buffers()), dict(again.named_buffers())
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def _bits(said: dict[str, Any]) -> None:
    said["matrices"]["body.blocks.0.ffn.down"]["bits"] = 3


def _groups(said: dict[str, Any]) -> None:
    said["group"] = 64


def _absent(said: dict[str, Any]) -> None:
    del said["matrices"]["body.blocks.1.attention.out"]


def _unknown(said: dict[str, Any]) -> None:
    said["matrices"]["body.blocks.9.ffn.up"] = {"bits": 4, "parts": []}


def _head(said: dict[str, Any]) -> None:
    said["head"] = "none"


@pytest.mark.parametrize("spoil", [_bits, _groups, _absent, _unknown, _head])
def test_a_folder_that_does_not_fit_itself_is_refused_in_one_line(
    tmp_path: Path, spoil: Any
) -> None:
    network = network_of("llama")
    quantise(network, 4)
    save_coded(tmp_path, network)
    raw = json.loads((tmp_path / "config.json").read_text())
    spoil(raw["quantization"])
    with pytest.raises(CheckpointError, match="do not fit each other") as refusal:
        open_coded(tmp_path, raw)
    assert "\n" not in str(refusal.value)


def test_what_is_written_does_not_depend_on_the_texts_beside_it() -> None:
    network = network_of("llama")
    quantise(network, 4)
    assert any(isinstance(module, CodedLinear) for module in network.modules())
    prompts = [[5, 9, 2], [7], [3, 3, 8, 1, 4]]
    requests = [Request(ids, Settings(max_tokens=6)) for ids in prompts]
    together = generate(network, requests)
    assert [one.ids for one in together] == [generate(network, [r])[0].ids for r in requests]
