"""Adapters: nothing before they learn, peft's numbers after, and the same once they are merged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from family_samples import close_logits, odd_config, our_answer, question, their_answer, theirs
from model_samples import generator
from torch import Tensor, nn
from torch.testing import assert_close

from tael.errors import CheckpointError, RecipeError
from tael.model.adapter import Adapted, Low, adapters, attach, merge
from tael.model.adapter_file import CONFIG, WEIGHTS, open_adapter, save_adapter
from tael.model.network import Network
from tael.model.weights import open_folder, save_folder
from tael.recipe.schema import Lora

peft = pytest.importorskip("peft", reason="peft is the reference: pip install 'tael[bench]'")

# peft 0.21 asks transformers 5.23 for a property by its older name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
EVERY = ("q", "k", "v", "out", "up", "down")
# Separate matrices; one for all three, lying transposed; gated; a decoder that reads an encoder.
CASES = [
    ("bert", "classify", ("q", "v")),
    ("bert", "tag", EVERY),
    ("llama", "clm", ("q", "v", "gate", "down")),
    ("gpt2", "clm", ("q", "v", "out")),
    ("bart", "seq2seq", ("k", "up")),
]


def learned(network: Network, lora: Lora) -> None:
    """Attach adapters and give them weights as if they had learned."""
    attach(network, lora, seed=1)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator(len(name)))
            with torch.no_grad():
                parameter.add_(0.2 * noise.to(parameter.dtype))


def opened(tmp_path: Path, family: str, kind: str, **options: Any) -> tuple[Network, Any, Any]:
    raw = odd_config(family)
    theirs(family, kind, raw, tmp_path / "base")
    network, _ = open_folder(tmp_path / "base", **options)
    batch, asked = question(family, raw, kind)
    return network, batch, asked


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_that_has_not_learned_changes_no_answer(tmp_path: Path, dora: bool) -> None:
    network, batch, asked = opened(tmp_path, "bert", "classify")
    before = our_answer(network, "classify", batch, asked)
    attach(network, Lora(rank=2, targets=EVERY, dora=dora), seed=1)
    after = our_answer(network, "classify", batch, asked)
    assert_close(after, before, atol=1e-5, rtol=1e-5)
    assert after.requires_grad


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize(("family", "kind", "targets"), CASES)
def test_merged_and_apart_give_the_same(
    tmp_path: Path, family: str, kind: str, targets: Any, dora: bool
) -> None:
    network, batch, asked = opened(tmp_path, family, kind, dtype=torch.float64)
    plain = our_answer(network, kind, batch, asked)
    kinds = {name: type(module) for name, module in network.named_modules()}
    learned(network.double(), Lora(rank=3, alpha=5, targets=targets, dora=dora))
    network.double()
    apart = our_answer(network, kind, batch, asked)
    assert float((apart - plain).detach().abs().max()) > 1e-3
    taken = merge(network)
    assert {one.role for one in taken} == set(targets)
    assert_close(our_answer(network, kind, batch, asked), apart, atol=1e-6, rtol=1e-6)
    assert {name: type(module) for name, module in network.named_modules()} == kinds


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize(("family", "kind", "targets"), CASES)
def test_peft_opens_ours_and_we_open_ours_to_the_same_numbers(
    tmp_path: Path, family: str, kind: str, targets: Any, dora: bool
) -> None:
    network, batch, asked = opened(tmp_path, family, kind)
    model = theirs(family, kind, odd_config(family), tmp_path / "base")
    learned(network, Lora(rank=3, alpha=5, targets=targets, dora=dora))
    apart = our_answer(network, kind, batch, asked)
    taken = merge(network)
    (tmp_path / "adapter").mkdir()
    save_adapter(tmp_path / "adapter", network, taken, tmp_path / "base")
    wrapped = peft.PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    close_logits(apart, their_answer(wrapped, kind, asked))
    again, base = open_adapter(tmp_path / "adapter")
    assert base == tmp_path / "base"
    assert adapters(again)
    assert_close(our_answer(again, kind, batch, asked), apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dora", [False, True])
def test_a_folder_of_peft_opens_and_learns_with_the_same_gradients(
    tmp_path: Path, dora: bool
) -> None:
    raw = odd_config("bert")
    model = theirs("bert", "classify", raw, tmp_path / "base")
    batch, asked = question("bert", raw, "classify")
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=4, lora_alpha=6, target_modules=["query", "value"], use_dora=dora,
        use_rslora=True, init_lora_weights=False,
    )  # fmt: skip
    wrapped = peft.get_peft_model(model, config).eval()
    wrapped.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    wrapped.save_pretrained(tmp_path / "adapter")
    network, _ = open_adapter(tmp_path / "adapter")
    found, expected = (
        our_answer(network, "classify", batch, asked), their_answer(wrapped, "classify", asked)
    )  # fmt: skip
    close_logits(found, expected)
    weights = torch.randn(expected.shape, generator=generator(7))
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    names = {"q": "query", "v": "value"}
    for name, layer in adapters(network).items():
        assert list(layer.lows) == ["q", "v"]
        for role, low in layer.lows.items():
            at = f"base_model.model.bert.encoder.layer.{name.split('.')[2]}.attention.self"
            their = wrapped.get_submodule(f"{at}.{names[role]}")
            pairs = [(low.a, their.lora_A.default.weight), (low.b, their.lora_B.default.weight)]
            if dora:
                pairs.append((low.magnitude, their.lora_magnitude_vector.default.weight))
            for ours, theirs_ in pairs:
                assert ours.grad is not None
                assert_close(ours.grad, theirs_.grad, atol=1e-4, rtol=1e-3)


def test_only_the_adapters_and_a_head_of_classes_learn(tmp_path: Path) -> None:
    network, *_ = opened(tmp_path / "a", "bert", "classify")
    attach(network, Lora(rank=2, targets=("k", "down")), seed=1)
    left = {name for name, p in network.named_parameters() if p.requires_grad}
    layers = [name for name, _ in network.named_modules() if name.endswith(("qkv", "ffn.down"))]
    own = {f"{name}.{'k' if 'qkv' in name else 'down'}.{leaf}" for name in layers for leaf in "ab"}
    assert {name for name in left if not name.startswith("head.")} == own
    assert any(name.startswith("head.classifier") for name in left)
    network, *_ = opened(tmp_path / "b", "gpt2", "clm")
    attach(network, Lora(rank=2), seed=1)
    assert all(".blocks." in name for name, p in network.named_parameters() if p.requires_grad)


def test_the_seed_alone_decides_new_adapters(tmp_path: Path) -> None:
    drawn: list[list[Tensor]] = []
    for seed in (1, 1, 2):
        network, *_ = opened(tmp_path, "bert", "classify")
        attach(network, Lora(rank=2), seed=seed)
        drawn.append([low.a for layer in adapters(network).values() for low in layer.lows.values()])
    assert all(torch.equal(x, y) for x, y in zip(drawn[0], drawn[1], strict=True))
    assert not torch.equal(drawn[0][0], drawn[2][0])
    assert not torch.equal(drawn[0][0], drawn[0][1])


def test_dropout_falls_on_what_the_adapters_read_alone() -> None:
    plain = nn.Linear(6, 4)
    whole = {"out": slice(0, 4)}
    layer = Adapted(plain, {"out": Low(torch.ones(2, 6), torch.zeros(4, 2), 1.0)}, whole, 0.5)
    x_BTD = torch.randn(1, 3, 6, generator=generator())
    torch.manual_seed(0)
    assert_close(layer.train()(x_BTD), plain(x_BTD))  # b is 0: what is dropped cannot be seen
    with torch.no_grad():
        layer.lows["out"].b.fill_(1.0)
    assert not torch.equal(layer(x_BTD), layer(x_BTD))
    assert torch.equal(layer.eval()(x_BTD), layer(x_BTD))


def test_a_matrix_that_the_model_has_not_is_refused(tmp_path: Path) -> None:
    network, *_ = opened(tmp_path, "bert", "classify")
    with pytest.raises(RecipeError, match="no gate, only q, k, v, out, up, down"):
        attach(network, Lora(rank=2, targets=("q", "gate")), seed=1)


def test_an_adapter_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    network, *_ = opened(tmp_path, "bert", "classify")
    learned(network, Lora(rank=2))
    taken = merge(network)
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_adapter(folder, network, taken, tmp_path / "base")
    said = json.loads((folder / CONFIG).read_text())
    for change, words in (
        ({"peft_type": "IA3"}, "expected peft_type LORA"),
        ({"bias": "all"}, "bias 'all' is not supported"),
        ({"lora_bias": True}, "lora_bias True is not supported"),
    ):
        (folder / CONFIG).write_text(json.dumps(said | change))
        with pytest.raises(CheckpointError, match=words):
            open_adapter(folder)
    other = odd_config("llama")
    theirs("llama", "clm", other, tmp_path / "other")
    more = {"base_model_name_or_path": str(tmp_path / "other"), "task_type": "CAUSAL_LM"}
    (folder / CONFIG).write_text(json.dumps(said | more))
    with pytest.raises(CheckpointError, match="tensors have no place in"):
        open_adapter(folder)
    (folder / CONFIG).write_text(json.dumps(said))
    (folder / WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_adapter(folder)


def test_what_is_saved_merged_opens_as_any_folder(tmp_path: Path) -> None:
    network, batch, asked = opened(tmp_path, "bert", "classify")
    learned(network, Lora(rank=2, targets=EVERY, dora=True))
    apart = our_answer(network, "classify", batch, asked)
    merge(network)
    save_folder(tmp_path / "merged", network)
    again, report = open_folder(tmp_path / "merged")
    assert (report.missing, report.unexpected) == ((), ())
    assert_close(our_answer(again, "classify", batch, asked), apart, atol=1e-5, rtol=1e-5)
