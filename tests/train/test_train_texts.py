"""Texts that teach without labels hold nothing that dev or test judge by."""

import json
from pathlib import Path
from typing import Any

import pytest
from train_standin import tiny_recipe, write_reviews

from tael.data.leak import LEFT_OUT
from tael.train.texts import Texts
from tael.train.train import train


def splits(**texts: list[str]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{"text": text} for text in texts.get(name, [])] for name in ("train", "dev", "test")
    }


def test_pretraining_texts_leave_out_what_dev_and_test_hold_and_count_it(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("A judge!\nkept\nＡ ＪＵＤＧＥ\na judge and more\nanother one\n", "utf-8")
    recipe = tiny_recipe(
        tmp_path / "unread.csv",
        pretrain={"text": str(corpus), "steps": 1},
        data={"clean": {"dedup": "off"}},
    )
    records = splits(train=["kept"], dev=["a judge"], test=["Another one."])
    found = Texts(tmp_path, recipe, records).corpus
    assert list(found) == ["kept", "a judge and more"]
    assert found.counts[LEFT_OUT] == 3


def test_so_do_the_training_texts_themselves_where_copies_were_left_in(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path / "unread.csv")
    records = splits(train=["one", "two", "Three"], dev=["three"])
    records["test"] = [{"text": "x", "text_pair": "TWO"}]  # each text of a pair counts
    found = Texts(tmp_path, recipe, records).corpus
    assert list(found) == ["one"]
    assert found.counts[LEFT_OUT] == 2


@pytest.mark.slow
def test_a_run_says_how_many_texts_it_left_out(tmp_path: Path) -> None:
    reviews = tmp_path / "reviews.csv"
    write_reviews(reviews, 200)
    recipe = tiny_recipe(reviews, pretrain={"steps": 1, "text": str(reviews)})
    run = train(recipe, tmp_path / "run", progress=False)
    costs = json.loads((run / "costs.json").read_text("utf-8"))
    held_out = [
        json.loads(line)["text"]
        for split in ("dev", "test")
        for line in (run / "data" / f"{split}.jsonl").read_text("utf-8").splitlines()
    ]
    assert costs["texts_left_out"] == len(set(held_out)) > 0
    report = json.loads((run / "data" / "report.json").read_text("utf-8"))
    assert report["corpus"][LEFT_OUT] == costs["texts_left_out"]
    assert report["corpus"]["texts left to learn from"] > 0
    page = (run / "data" / "report.html").read_text("utf-8")
    assert page.count("Text without labels") == 1
    assert not (run / "data" / "corpus").exists()
    assert len(list((run / "data" / "shards").iterdir())) == 1
