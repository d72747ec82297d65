"""Which layer a parameter belongs to, and which of them keep their weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from train_standin import tiny_recipe, write_reviews

from tael.errors import RecipeError
from tael.model.config import ModelConfig
from tael.model.head import ClassifyHead, VocabHead
from tael.model.network import Network, build
from tael.model.weights import open_folder
from tael.train.depth import depths, freeze
from tael.train.train import train

SIZES: dict[str, Any] = {"vocab": 50, "hidden": 16, "layers": 3, "heads": 2, "ffn": 32}
LOW = "body.blocks.0.ffn.up.weight"


def network() -> Network:
    config = ModelConfig(**SIZES, max_positions=32)
    return build(config, ClassifyHead(config, 2), 0)


def learns(one: Network) -> set[str]:
    return {name for name, p in one.named_parameters() if p.requires_grad}


def test_a_layer_is_known_by_its_name() -> None:
    layer = depths(name for name, _ in network().named_parameters())
    assert {layer[name] for name in layer if name.startswith("body.embedding.")} == {0}
    for number in range(3):
        inside = {layer[name] for name in layer if name.startswith(f"body.blocks.{number}.")}
        assert inside == {number + 1}
    assert {layer[name] for name in layer if name.startswith("head.")} == {4}


def test_the_decoder_stands_on_the_encoder_and_the_last_norm_on_its_stack() -> None:
    config = ModelConfig(
        **SIZES, max_positions=32, stacks="both", decoder_layers=2, norm_place="pre",
        final_norm=True,
    )  # fmt: skip
    layer = depths(n for n, _ in build(config, VocabHead(config, "seq2seq"), 0).named_parameters())
    assert layer["body.encoder.blocks.2.ffn.up.weight"] == 3
    assert layer["body.decoder.blocks.0.ffn.up.weight"] == 4
    assert layer["body.decoder.final_norm.weight"] == 5


@pytest.mark.parametrize(("below", "first"), [("embeddings", 0), (1, 1), (3, 3), ("body", 3)])
def test_what_is_frozen_keeps_its_weights_and_the_head_never_is(below: Any, first: int) -> None:
    one = network()
    freeze(one, below)
    left = learns(one)
    blocks = {int(name.split(".")[2]) for name in left if name.startswith("body.blocks.")}
    assert blocks == set(range(first, 3))
    assert not any("embedding" in name for name in left)
    assert {name for name, _ in one.named_parameters() if name.startswith("head.")} <= left


def test_more_layers_than_there_are_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"train\.freeze: 4 is more than the 3 layers"):
        freeze(network(), 4)


@pytest.mark.parametrize("option", [{"freeze": 1}, {"layer_decay": 0.1}], ids=str)
def test_a_recipe_that_says_so_trains_other_weights(tmp_path: Path, option: Any) -> None:
    write_reviews(tmp_path / "reviews.csv")
    folders = []
    for name, more in (("plain", {}), ("other", option)):
        recipe = tiny_recipe(tmp_path / "reviews.csv", train={"steps": 3, **more})
        folders.append(train(recipe, tmp_path / name, progress=False) / "model")
    plain, other = (dict(open_folder(folder)[0].named_parameters()) for folder in folders)
    if "freeze" in option:
        still = tiny_recipe(tmp_path / "reviews.csv", train={"steps": 3, "rate": 1e-30})
        start, _ = open_folder(train(still, tmp_path / "start", progress=False) / "model")
        moved = {
            name for name, p in start.named_parameters() if (p - other[name]).abs().max() > 1e-9
        }
        assert moved == {name for name, layer in depths(plain).items() if layer > 1}
    else:
        assert not torch.equal(plain[LOW], other[LOW])
