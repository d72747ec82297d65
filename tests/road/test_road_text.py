"""The road of models that write: pairs of texts and conversations, learned, measured, served."""

import json
from pathlib import Path
from typing import Any

import pytest

from tael.engine.predictor import open_engine
from tael.recipe.load import load_recipe
from tael.road.client import start_server
from tael.road.evaluate import evaluate
from tael.road.run import run as run_road
from tael.train.run import Run
from tael.train.train import train

WORDS = {"red": "rot", "dog": "Hund", "cat": "Katze", "runs": "läuft", "sleeps": "schläft",
         "house": "Haus", "old": "alt", "sees": "sieht"}  # fmt: skip

pytestmark = pytest.mark.slow


def pairs() -> list[tuple[str, str]]:
    """Return every sentence of two words with its translation, word by word."""
    return [
        (f"{one} {two}", f"{WORDS[one]} {WORDS[two]}") for one in WORDS for two in WORDS
    ]  # fmt: skip


def rows(task: str) -> list[dict[str, Any]]:
    if task == "seq2seq":
        return [{"source": source, "target": target} for source, target in pairs()]
    return [
        {
            "messages": [
                {"role": "user", "content": source},
                {"role": "assistant", "content": target},
            ]
        }
        for source, target in pairs()
    ]


@pytest.fixture(scope="module", params=["encoder-decoder", "decoder", "chat"])
def recipe_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    task = "chat" if request.param == "chat" else "seq2seq"
    kind = "decoder" if request.param == "chat" else request.param
    lines = (json.dumps(row, ensure_ascii=False) for row in rows(task))
    (folder / "rows.jsonl").write_text("\n".join(lines), "utf-8")
    (folder / "text.yaml").write_text(
        f"name: text\ntask: {task}\n"
        "data: {train: rows.jsonl, max_tokens: 24, max_leak: 1, split: [0.8, 0.1, 0.1],\n"
        " clean: {dedup: exact}}\n"
        "tokenizer: {kind: wordpiece, vocab: 150}\n"
        f"model: {{architecture: {kind}, preset: tiny, hidden: 48, layers: 1, heads: 2, ffn: 96,\n"
        " dropout: 0.0}\n"
        f"{task}: {{longest: 8}}\n"
        "train: {steps: 150, rate: 1.0e-2, batch: 16, evaluations: 2, dtype: float32}\n"
        "machine: {threads: 1}\n",
        "utf-8",
    )
    return folder / "text.yaml"


@pytest.fixture(scope="module")
def writer(recipe_file: Path) -> Path:
    """A run that has learned to translate; for reading only."""
    return train(load_recipe(recipe_file), recipe_file.parent / "run", progress=False)


def test_a_writer_learns_what_it_was_shown_and_stops_by_itself(writer: Path) -> None:
    records = Run(writer).records("train")
    answers = open_engine(writer).predict(records)
    task = open_engine(writer).task
    right = task.metrics(answers, task.references(records))
    assert right["exact_match"] > 0.25
    assert all(answer["finished"] for answer in answers)


def test_what_is_served_is_what_was_measured(writer: Path) -> None:
    records = Run(writer).records("test")
    offline = open_engine(writer).predict(records)
    with start_server(writer) as (client, _):
        url = f"http://127.0.0.1:{client.port}"
        served = evaluate(writer, served=url, key=client._key)
    scores = evaluate(writer)
    assert served["exact_match"] == scores["exact_match"]
    assert len(offline) == len(records)


def test_a_run_prices_and_reports_it(recipe_file: Path) -> None:
    folder = run_road(load_recipe(recipe_file), recipe_file.parent / "priced", progress=False)
    frontier = json.loads((folder / "price" / "frontier.json").read_text("utf-8"))
    assert {row["id"] for row in frontier["variants"]} == {"torch-fp32", "torch-bf16"}
    assert (folder / "report.html").stat().st_size > 1000
