"""The road of a tagger: trained, evaluated, priced, reported, asked over HTTP; one answer."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tael.cli.main import app
from tael.data.record import Record
from tael.engine.predictor import open_engine
from tael.recipe.load import load_recipe
from tael.road.check import check
from tael.road.client import start_server
from tael.road.data import prepare_data
from tael.road.evaluate import evaluate
from tael.road.new import new
from tael.road.predict import predict
from tael.road.run import run as run_road
from tael.train.run import Run
from tael.train.train import train

NAMES = {"person": ["Ana", "Bo", "小明", "Eva"], "place": ["Rome", "北京", "Oslo", "New York"]}
FRAMES = ["{person} lives in {place} .", "from {place} came {person} 🙂", "{person} 去 了 {place}",
          "nothing happened today", "in {place} it rains"]  # fmt: skip


def rows(count: int, seed: int) -> list[Record]:
    """Return sentences of names and places, by tokens with BIO tags; no two are the same."""
    rng, made = random.Random(seed), []
    for number in range(count):
        tokens, tags = [f"{number}", "："], ["O", "O"]
        for word in rng.choice(FRAMES).split():
            kind = word.strip("{}")
            parts = rng.choice(NAMES[kind]).split() if kind in NAMES else [word]
            tokens += parts
            tags += (
                [f"{'I' if at else 'B'}-{kind}" for at, _ in enumerate(parts)]
                if (kind in NAMES)
                else ["O"]
            )
        made.append({"tokens": tokens, "tags": tags})
    return made


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tag")
    lines = (json.dumps(row, ensure_ascii=False) for row in rows(240, 1))
    (folder / "ner.jsonl").write_text("\n".join(lines), "utf-8")
    (folder / "ner.yaml").write_text(
        "name: ner\ntask: tag\n"
        "data: {train: ner.jsonl, max_tokens: 24,\n"
        " split: [0.6, 0.2, 0.2], max_leak: 1, clean: {dedup: exact}}\n"
        "tokenizer: {kind: wordpiece, vocab: 150}\n"
        "model: {preset: tiny, hidden: 32, layers: 1, heads: 2, ffn: 64, dropout: 0.0}\n"
        "train: {steps: 60, rate: 1.0e-2, batch: 16, evaluations: 2}\n"
        "machine: {threads: 1}\n",
        "utf-8",
    )
    return folder / "ner.yaml"


@pytest.fixture(scope="module")
def tagger(recipe_file: Path) -> Path:
    """A run that has learned the names; for reading only."""
    return train(load_recipe(recipe_file), recipe_file.parent / "run", progress=False)


def test_check_counts_the_types_and_shows_the_spans(recipe_file: Path) -> None:
    found = check(load_recipe(recipe_file))
    assert set(found.labels) == {"person", "place"}
    assert any("person" in line for line in found.shown)


def test_data_shows_the_tag_at_each_word(recipe_file: Path) -> None:
    views = prepare_data(load_recipe(recipe_file), show=2).records
    targets = [piece.target for view in views for piece in view.pieces if piece.mark == "target"]
    assert "O" in targets
    assert {target[:2] for target in targets} <= {"O", "B-", "I-"}


def test_a_tagger_learns_and_finds_what_it_was_taught(tagger: Path) -> None:
    assert evaluate(tagger)["f1"]["value"] > 0.9
    text = "7 ：  Eva  lives in 北京 ."
    (answer,) = open_engine(tagger).predict([{"text": text}])
    found = {one["text"]: one["type"] for one in answer["spans"]}
    assert found == {"Eva": "person", "北京": "place"}
    assert all(text[one["start"] : one["end"]] == one["text"] for one in answer["spans"])


def test_predict_writes_an_answer_a_record(tagger: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "3 ： Ana lives in Oslo ."}\n{"text": "Bo"}\n', "utf-8")
    assert predict(tagger, source, tmp_path / "out.jsonl")["answers"] == 2
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text("utf-8").splitlines())
    assert [one["type"] for one in first["spans"]] == ["person", "place"]
    assert "spans" in second


@pytest.mark.slow
def test_what_is_served_is_what_was_measured(tagger: Path, tmp_path: Path) -> None:
    records = Run(tagger).records("test")
    offline = open_engine(tagger).predict(records)
    with start_server(tagger) as (client, _):
        url = f"http://127.0.0.1:{client.port}"
        scores = evaluate(tagger, served=url, key=client._key)
        said = client.predict(records[0]["text"])
    assert scores == evaluate(tagger)
    assert set(said) == {"spans"}
    assert len(offline) == len(records)


@pytest.mark.slow
def test_a_run_prices_and_reports_without_a_baseline_to_serve(recipe_file: Path) -> None:
    folder = run_road(load_recipe(recipe_file), recipe_file.parent / "priced", progress=False)
    frontier = json.loads((folder / "price" / "frontier.json").read_text("utf-8"))
    assert {row["id"] for row in frontier["variants"]} == {"torch-fp32", "torch-bf16"}
    assert frontier["baseline"] is None
    report: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    assert "dictionary" in report["baselines"]
    assert report["scores"]["test"]["f1"]["value"] > 0.9
    page = (folder / "report.html").read_text("utf-8")
    assert "entity F1" in page
    assert "TF-IDF" not in page
    assert "pipeline_tag: token-classification" in (folder / "model-card.md").read_text("utf-8")


def test_new_recognises_the_file(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    made = new(None, None, source=recipe_file.parent / "ner.jsonl")
    recipe = load_recipe(made.path)
    assert (recipe.task, recipe.data.columns.tags) == ("tag", "tags")


def test_evaluate_takes_the_file_formats_that_training_takes(tagger: Path, tmp_path: Path) -> None:
    spans = tmp_path / "spans.jsonl"
    said = {"person": {"小明": [[2, 3]]}, "place": {"北京": [[6, 7]]}}
    spans.write_text(json.dumps({"text": "1：小明去了北京", "label": said}) + "\n", "utf-8")
    result = CliRunner().invoke(
        app,
        ["evaluate", str(tagger), "data.columns.spans=label", "--data", str(spans), "--json"],
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["f1"]["value"] == 1.0
