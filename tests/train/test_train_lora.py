"""A run that learns adapters: small checkpoints, a merged model, the adapter kept beside it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch.testing import assert_close
from train_standin import tiny_recipe, write_reviews

import tael
from tael.model.adapter import adapters
from tael.model.weights import open_folder
from tael.task.classify import Classify
from tael.train.train import train

LORA = {"rank": 2, "alpha": 4, "dropout": 0.2, "targets": ("q", "v")}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a small model whose weights the adapters stand beside."""
    folder = tmp_path_factory.mktemp("lora")
    write_reviews(folder / "reviews.csv")
    return train(tiny_recipe(folder / "reviews.csv"), folder / "base", progress=False) / "model"


def tuned(base: Path, name: str, **options: Any) -> Path:
    folder = base.parents[1]
    more = {"steps": 6, "save_every": 2, "rate": 0.01, "lora": LORA} | options
    recipe = tiny_recipe(folder / "reviews.csv", model={"from": str(base)}, train=more)
    return train(recipe, folder / name, progress=False)


def test_the_model_is_merged_and_the_adapter_beside_it_answers_alike(base: Path) -> None:
    run = tuned(base, "lora")
    start, end = (
        dict(open_folder(folder)[0].named_parameters()) for folder in (base, run / "model")
    )
    changed = {name for name in start if not torch.equal(start[name], end[name])}
    body = {name for name in changed if name.startswith("body.")}
    assert body == {f"body.blocks.{n}.attention.qkv.weight" for n in range(2)}
    for name in body:
        keys = slice(16, 32)  # queries, keys, values of 16 rows each
        assert torch.equal(start[name][keys], end[name][keys])
    assert any(name.startswith("head.") for name in changed)
    apart, merged = tael.load(run / "model" / "adapter"), tael.load(run)
    assert apart.network is not None
    assert len(adapters(apart.network)) == 2
    assert apart.tokenizer is not None
    ids_BT = torch.tensor([apart.tokenizer.encode("the room was good").ids])
    assert_close(apart.logits(ids_BT), merged.logits(ids_BT), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_dora_and_its_targets_train_another_model(base: Path) -> None:
    plain, other = (
        dict(open_folder(tuned(base, name, lora=LORA | more) / "model")[0].named_parameters())
        for name, more in (("lora", {}), ("dora", {"dora": True, "targets": ("q", "v", "down")}))
    )
    name = "body.blocks.1.ffn.down.weight"
    assert float((plain[name] - other[name]).detach().abs().max()) > 1e-4


@pytest.mark.slow
def test_a_checkpoint_holds_what_learns_and_the_run_goes_on_from_it(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tuned(base, "whole")
    real, calls = Classify.objective, [0]

    def breaking(self: Any, network: Any, batch: Any) -> Any:
        calls[0] += 1
        if calls[0] == 6:
            raise KeyError("killed")
        return real(self, network, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Classify, "objective", breaking)
        with pytest.raises(KeyError):
            tuned(base, "cut")
    folder = base.parents[1] / "cut" / "checkpoints" / "train"
    with safe_open(folder / "step-000004" / "weights.safetensors", "pt") as file:
        names = set(file.keys())
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in names if "body." in name} == {
        "q", "v"
    }  # fmt: skip
    again = tuned(base, "cut")
    for path in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert (again / "model" / path).read_bytes() == (whole / "model" / path).read_bytes()


@pytest.mark.slow
def test_adapters_stand_on_what_the_same_run_pretrained(tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews.csv")
    more: dict[str, Any] = {"steps": 2, "lora": LORA}
    recipe = tiny_recipe(
        tmp_path / "reviews.csv", pretrain={"steps": 2, "batch": 4, "dtype": "float32"}, train=more
    )
    run = train(recipe, tmp_path / "run", progress=False)
    apart, merged = tael.load(run / "model" / "adapter"), tael.load(run / "model")
    ids_BT = torch.tensor([[2, 9, 17, 30, 3]])
    assert_close(apart.logits(ids_BT), merged.logits(ids_BT), atol=1e-5, rtol=1e-5)
