"""Every architecture learns from text by its own objective, and its folder opens elsewhere."""

import json
from pathlib import Path

import pytest
import torch
from train_standin import write_reviews

from tael.errors import RecipeError
from tael.recipe.load import load_recipe
from tael.recipe.objective import objective_of
from tael.recipe.schema import Recipe
from tael.train.train import train

SMALL = """
name: r
task: classify
data: {train: train.csv, max_tokens: 48}
tokenizer: {kind: bytes, vocab: 300}
model: {architecture: %s, hidden: 16, layers: 1, heads: 2, ffn: 32}
pretrain: {steps: 3, batch: 4, dtype: float32}
train: {steps: 2, batch: 8, dtype: float32, evaluations: 1}
machine: {threads: 1}
"""


def recipe(folder: Path, architecture: str, *more: str) -> Recipe:
    write_reviews(folder / "train.csv", 60)
    (folder / "r.yaml").write_text(SMALL % architecture, "utf-8")
    return load_recipe(folder / "r.yaml", more)


def test_auto_is_what_the_architecture_has() -> None:
    path = Path(__file__).parents[2] / "examples" / "reviews.yaml"
    wanted = {"encoder": "mlm", "decoder": "clm", "encoder-decoder": "span"}
    for architecture, objective in wanted.items():
        loaded = load_recipe(path, [f"model.architecture={architecture}"])
        assert objective_of(loaded) == objective


def test_an_objective_of_another_architecture_is_refused_with_what_to_type() -> None:
    path = Path(__file__).parents[2] / "examples" / "reviews.yaml"
    loaded = load_recipe(path, ["pretrain.objective=span"])
    with pytest.raises(RecipeError, match="objective=mlm, or model"):
        objective_of(loaded)


def test_a_decoder_learns_text_and_then_labels_and_can_be_continued(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    run = train(recipe(tmp_path, "decoder"), tmp_path / "run", progress=False)
    said = json.loads((run / "pretrain" / "config.json").read_text("utf-8"))
    assert (said["model_type"], said["bos_token_id"], said["eos_token_id"]) == ("llama", 2, 3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "pretrain")
    assert tokenizer("a").input_ids[0] == 2  # one BOS, and no end behind what is to be gone on
    assert tokenizer("a").input_ids[-1] != 3
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run / "model")
    assert model.config.num_labels == 2
    more = ["model.preset=null", f"model.from={run / 'pretrain'}", "pretrain.objective=clm"]
    text = (tmp_path / "r.yaml").read_text("utf-8").splitlines()
    (tmp_path / "r.yaml").write_text(
        "\n".join(line for line in text if not line.startswith(("tokenizer", "model"))), "utf-8"
    )
    again = train(load_recipe(tmp_path / "r.yaml", more[1:]), tmp_path / "more", progress=False)
    before = transformers.AutoModelForCausalLM.from_pretrained(run / "pretrain")
    after = transformers.AutoModelForCausalLM.from_pretrained(again / "pretrain")
    pairs = list(zip(before.parameters(), after.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert all((a - b).abs().max() < 0.05 for a, b in pairs)  # gone on from, not made anew
