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
    loaded = load_recipe(path)
    assert objective_of(loaded) == "mlm"
    assert objective_of(loaded, "decoder") == "clm"
    assert objective_of(loaded, "encoder-decoder") == "span"


def test_an_objective_of_another_architecture_is_refused_with_what_to_type() -> None:
    path = Path(__file__).parents[2] / "examples" / "reviews.yaml"
    with pytest.raises(RecipeError, match="objective=mlm, or model"):
        load_recipe(path, ["pretrain.objective=span"])
    decoder = load_recipe(path, ["pretrain.objective=mlm"])
    with pytest.raises(RecipeError, match="objective=clm, or model"):
        objective_of(decoder, "decoder")  # what a checkpoint turned out to be


@pytest.mark.parametrize(
    ("task", "architecture", "fitting"),
    [("classify", "encoder-decoder", "encoder or decoder"), ("clm", "encoder", "decoder")],
)
def test_a_task_of_another_architecture_is_refused_before_compute_is_spent(
    task: str, architecture: str, fitting: str, tmp_path: Path
) -> None:
    (tmp_path / "r.yaml").write_text(SMALL.replace("classify", task) % architecture, "utf-8")
    with pytest.raises(RecipeError, match=f"set model.architecture={fitting}"):
        load_recipe(tmp_path / "r.yaml")


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


@pytest.mark.parametrize("objective", ["span", "denoise"])
def test_an_encoder_decoder_learns_to_mend_text_before_its_task(
    objective: str, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    rows = [{"source": f"n{n} was good", "target": f"good n{n}"} for n in range(40)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    text = SMALL.replace("classify", "seq2seq").replace("train.csv", "train.jsonl")
    (tmp_path / "r.yaml").write_text(text % "encoder-decoder", "utf-8")
    loaded = load_recipe(tmp_path / "r.yaml", [f"pretrain.objective={objective}"])
    run = train(loaded, tmp_path / "run", progress=False)
    said = json.loads((run / "pretrain" / "config.json").read_text("utf-8"))
    assert (said["model_type"], said["decoder_start_token_id"], said["eos_token_id"]) == (
        "t5",
        0,
        3,
    )
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(run / "pretrain")
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "pretrain")
    assert tokenizer("a").input_ids[-1] == 3
    ids = model.generate(**tokenizer(["was good"], return_tensors="pt"), max_new_tokens=3)
    assert ids[0, 0] == 0
    assert ("<extra_id_0>" in tokenizer.get_vocab()) == (objective == "span")
