"""A label that the model never answers on dev is named, not hidden in a mean."""

import csv
import json
from pathlib import Path

import pytest
from train_standin import tiny_recipe

from tael.train.judge import _never
from tael.train.train import train


def test_labels_that_no_answer_has_are_told_for_one_label_and_for_several() -> None:
    single = [{"label": "a"}, {"label": "c"}]
    several = [{"labels": ["a", "c"]}, {"labels": []}]
    assert _never(["a", "b", "c"], single) == _never(["a", "b", "c"], several) == ("b",)
    assert _never(["a", "c"], single) == ()
    assert _never([], [{"value": 1.0}]) == ()
    assert _never(["PER"], [{"entities": []}]) == ()  # answers that are no labels


def test_a_run_says_which_label_it_never_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rare.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for row in range(80):
            label = "rare" if row % 20 == 7 else "common" if row % 20 < 12 else "other"
            table.writerow([f"{label if label != 'rare' else 'common'} words {row}", label])
    recipe = tiny_recipe(path, data={"max_leak": 1}, train={"steps": 3, "evaluations": 1})
    train(recipe, tmp_path / "run")
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (last,) = (x for x in lines if x["stage"] == "final" and x["split"] == "dev")
    assert "rare" in last["never_answered"]
    costs = json.loads((tmp_path / "run" / "costs.json").read_text())
    assert costs["labels_never_answered"] == len(last["never_answered"])
    assert "dev: never answered: " in capsys.readouterr().err
