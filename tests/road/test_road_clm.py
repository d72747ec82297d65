"""A writer learns texts from one recipe: measured, reported, served, and it stops by itself."""

import json
from pathlib import Path

import pytest

from tael.engine.load import load
from tael.engine.predictor import open_engine
from tael.recipe.load import load_recipe
from tael.road.evaluate import evaluate
from tael.road.report import report
from tael.train.run import Run
from tael.train.train import train

RECIPE = """
name: w
task: clm
data:
  train: lines.txt
  order: true
  max_tokens: 16
  clean: {whitespace: false, dedup: "off"}
  max_leak: 1.0
tokenizer: {kind: bytes, vocab: 270}
model: {architecture: decoder, hidden: 32, layers: 1, heads: 2, ffn: 48, dropout: 0.0}
train: {steps: 90, batch: 16, rate: 1e-2, optimizer: muon, dtype: float32, evaluations: 2}
compress: {variants: [torch-fp32, torch-bf16]}
machine: {threads: 1}
"""


LINES = [
    f"{n:03} {text}"
    for n in range(0, 180, 3)
    for text in ("one two three four.", "五六七八。", "nine  ten!")
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("w")
    (folder / "lines.txt").write_text("\n".join(LINES) + "\n", "utf-8")
    (folder / "w.yaml").write_text(RECIPE, "utf-8")
    return train(load_recipe(folder / "w.yaml"), folder / "run", progress=False)


@pytest.mark.slow
def test_what_was_learned_is_measured_and_nothing_was_left_out(run: Path) -> None:
    found = evaluate(run)
    assert found["bits_per_char"]["value"] < 2  # numbers it has not seen are left to chance
    assert found["bits_per_byte"]["value"] < found["bits_per_char"]["value"]
    assert found["accuracy"]["value"] > 0.5
    opened = Run(run)
    texts = [str(r["text"]) for s in ("train", "dev", "test") for r in opened.records(s)]
    assert sum(map(len, texts)) == sum(map(len, LINES))


@pytest.mark.slow
def test_it_stops_by_itself_and_begins_once(run: Path) -> None:
    loaded = load(run)
    for prompt in ("015 one two", "015 五六", "015 nine "):
        (written,) = loaded.generate([prompt], max_tokens=40)
        assert written.end == "eos"
    assert (prompt + written.text) == "015 nine  ten!"
    ids = loaded.worded().encode("one").ids
    assert (ids.count(2), ids.count(3)) == (1, 0)


@pytest.mark.slow
def test_the_report_holds_it_against_a_5_gram_model_and_shows_what_it_writes(run: Path) -> None:
    opened = Run(run)
    from tael.compress.variant import make_variants

    make_variants(opened, progress=False)
    sentence = report(opened)
    assert "5-gram" in sentence
    page = (run / "report.html").read_text("utf-8")
    assert "What does it write?" in page
    assert "one two three" in page
    facts = json.loads((run / "report.json").read_text("utf-8"))
    assert facts


@pytest.mark.slow
def test_what_is_served_is_what_was_measured(run: Path) -> None:
    engine = open_engine(run)
    (answer,) = engine.predict([{"text": "015 one two three four."}])
    (wrong,) = engine.predict([{"text": "015 four three two one."}])
    engine.task.response_model().model_validate(answer)
    assert answer["perplexity"] < wrong["perplexity"] / 3
