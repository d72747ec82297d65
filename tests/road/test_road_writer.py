"""A model without a run is judged by likelihood, as a run of the clm task is."""

import json
from pathlib import Path

import pytest

from tael.data.tokenizer import train_tokenizer
from tael.errors import DataError, UsageError
from tael.model.fresh import new_config
from tael.model.head import VocabHead
from tael.model.network import build
from tael.model.weights import save_folder
from tael.recipe.schema import Model, Recipe, Tokenizer
from tael.road.evaluate import evaluate
from tael.road.writer import Writer
from tael.train.objective import fit_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["the cat sat on the mat"] * 9, Tokenizer(kind="bytes", vocab=280))
    sizes = {"architecture": "decoder", "hidden": 16, "layers": 1, "heads": 2, "ffn": 24}
    recipe = {"name": "x", "task": "clm", "data": {"train": "x"}, "model": sizes}
    fit_tokenizer(tokenizer, Recipe.model_validate(recipe))
    config = new_config(Model.model_validate(sizes), tokenizer.get_vocab_size(), 64)
    save_folder(made, build(config, VocabHead(config, "clm"), 3), tokenizer=tokenizer)
    return made


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_texts_are_measured_as_they_are(folder: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "x.jsonl", {"text": "the  cat"}, {"text": "\n"}, {"text": ""})
    found = evaluate(folder, file)
    assert found["bits_per_char"]["low"] < found["bits_per_char"]["value"]
    assert found["perplexity"]["value"] == pytest.approx(280, rel=0.2)  # it has learned nothing
    answers = Writer(folder).predict([{"text": "the  cat"}, {"text": ""}])
    assert [answer["tokens"] for answer in answers][1] == 1  # the end
    renamed = lines(tmp_path / "y.jsonl", {"body": "the  cat"})
    assert evaluate(folder, renamed, overrides=["data.columns.text=body"])


def test_pairs_of_a_whole_folder_are_judged(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pair = {"sentence_good": f"the cat {name}", "sentence_bad": f"cat the {name}"}
        lines(tmp_path / f"{name}.jsonl", *[pair | {"UID": name}] * 3)
    assert set(evaluate(folder, tmp_path)) == {"accuracy"}


def test_what_cannot_be_judged_is_refused_with_what_to_do(folder: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "x.jsonl", {"text": "a"}, {"sentence_good": "a", "sentence_bad": "b"})
    with pytest.raises(UsageError, match="--data FILE"):
        evaluate(folder)
    with pytest.raises(UsageError, match="--variant has no effect"):
        evaluate(folder, file, variant="torch-fp32")
    with pytest.raises(UsageError, match="only how the file is read"):
        evaluate(folder, file, overrides=["train.rate=1"])
    with pytest.raises(DataError):
        evaluate(folder, file)
    encoder = tmp_path / "encoder"
    config = new_config(Model(hidden=16, layers=1, heads=2, ffn=32), 40, 64)
    encoder.mkdir()
    save_folder(encoder, build(config, VocabHead(config)))
    with pytest.raises(UsageError, match="a decoder with its tokenizer"):
        evaluate(encoder, file)
