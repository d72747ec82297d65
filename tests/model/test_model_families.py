"""Every family and head gives transformers' numbers from transformers' folders, and theirs back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from family_samples import (
    CASES,
    GRADIENT,
    HEADS,
    close_logits,
    odd_config,
    our_answer,
    question,
    their_answer,
    theirs,
    transformers,
)
from model_samples import generator
from safetensors import safe_open
from torch import Tensor
from torch.testing import assert_close

from tael.model.network import Network
from tael.model.weights import open_folder, save_folder, to_file

LANGUAGE = [(f, k) for f, k in CASES if k in ("mlm", "clm", "seq2seq")]


def close_gradients(network: Network, model: Any, found: Tensor, expected: Tensor) -> None:
    weights = torch.randn(expected.shape, generator=generator(7))
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    ours = to_file(
        network, {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    )
    ours.pop("final_logits_bias", None)  # a constant there
    named = {name: model.get_parameter(name).grad for name in ours}
    assert len(ours) == sum(p.grad is not None for p in model.parameters())
    # A key's bias adds the same to all scores of a query: its gradient is 0 but for rounding.
    rounding = 1e-6 * max(float(gradient.abs().max()) for gradient in named.values())
    for name, gradient in ours.items():
        bound = GRADIENT * float(named[name].abs().max()) + rounding
        assert_close(gradient, named[name], atol=bound, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("family", "kind", "seed"),
    [(*case, 0) for case in CASES] + [(*case, seed) for case in LANGUAGE for seed in (1, 2)],
)
def test_logits_and_gradients_equal_those_of_transformers(
    tmp_path: Path, family: str, kind: str, seed: int
) -> None:
    raw = odd_config(family, seed)
    model = theirs(family, kind, raw, tmp_path)
    network, report = open_folder(tmp_path)
    assert (report.kind, report.warnings) == (kind, ())
    batch, asked = question(family, raw, kind)
    expected = their_answer(model, kind, asked)
    found = our_answer(network, kind, batch, asked)
    close_logits(found, expected)
    close_gradients(network, model, found, expected)


def tensors(folder: Path) -> dict[str, tuple[str, list[int], bytes]]:
    out = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 no dict
                part = file.get_slice(name)
                out[name] = part.get_dtype(), part.get_shape(), file.get_tensor(name).tobytes()
    return out


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_a_folder_comes_back_byte_for_byte_and_transformers_opens_it(
    tmp_path: Path, family: str, kind: str
) -> None:
    raw = odd_config(family, 3)
    model = theirs(family, kind, raw, tmp_path / "theirs")
    network, _ = open_folder(tmp_path / "theirs")
    save_folder(tmp_path / "ours", network)
    assert tensors(tmp_path / "ours") == tensors(tmp_path / "theirs")
    again = getattr(transformers, HEADS[family][kind]).from_pretrained(tmp_path / "ours").eval()
    _, asked = question(family, raw, kind)
    assert torch.equal(their_answer(again, kind, asked), their_answer(model, kind, asked))
