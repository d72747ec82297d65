"""The recipes in examples/ are whole; the classic BERT project runs from three text files."""

import json
from pathlib import Path

import pytest

from tael.recipe.load import load_recipe

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_valid_recipe_named_like_its_file(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_every_example_is_in_both_readmes() -> None:
    for readme in ("README.md", "README.zh-CN.md"):
        text = (Path(__file__).parent.parent / readme).read_text("utf-8")
        for path in EXAMPLES:
            assert f"(examples/{path.name})" in text, f"{readme} does not name {path.name}"


@pytest.mark.slow
def test_the_bert_project_runs_from_three_text_files(tmp_path: Path) -> None:
    from tael.road.evaluate import evaluate
    from tael.train.train import train

    good, bad = ["很好 满意", "great stay", "干净 舒服"], ["太差 失望", "awful noise", "很脏 退款"]
    for split, rows in (("train", 120), ("dev", 40), ("test", 40)):
        lines = [
            f"{'pos' if i % 2 else 'neg'}\t{(good if i % 2 else bad)[i % 3]} {split} {i}"
            for i in range(rows)
        ]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    source = next(path for path in EXAMPLES if path.stem == "bert_project")
    (tmp_path / source.name).write_text(source.read_text("utf-8"), "utf-8")
    small = [
        "model.hidden=32", "model.layers=1", "model.heads=2", "model.ffn=64", "tokenizer.vocab=200",
        "pretrain.steps=5", "pretrain.batch=8", "train.epochs=6", "train.rate=5e-3",
        "machine.threads=1", "data.clean.dedup=exact",
    ]  # fmt: skip
    run = train(load_recipe(tmp_path / source.name, small), tmp_path / "run", progress=False)
    assert evaluate(run)["accuracy"]["value"] > 0.9
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    stages = {json.loads(line)["stage"] for line in lines}
    assert {"pretrain", "train"} <= stages
