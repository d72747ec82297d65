"""The best models by dev, and the last, stay as folders; a stopped run keeps the same ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train_standin import tiny_recipe, write_reviews

from tael.errors import StoppedError
from tael.train.checkpoint import Position
from tael.train.keep import offer
from tael.train.run import is_finished
from tael.train.track import Track
from tael.train.train import train


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_the_best_stay_and_of_equal_ones_the_earlier(tmp_path: Path) -> None:
    position = Position()
    for step, better in ((10, 0.5), (20, 0.7), (30, 0.6), (40, 0.7), (50, 0.1)):
        position = Position(step, ranks=position.ranks)
        named = {"w": torch.full((2,), float(step))}
        position = offer(tmp_path, position, (better, -1.0), named, 2)
    assert [-rank[2] for rank in position.ranks] == [20, 40]
    assert names(tmp_path) == ["step-000020.safetensors", "step-000040.safetensors"]
    kept = load_file(tmp_path / "step-000040.safetensors")
    assert torch.equal(kept["w"], torch.full((2,), 40.0))


def test_a_run_leaves_the_best_and_the_last_whether_it_was_stopped_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reviews(tmp_path / "reviews.csv")
    options: dict[str, Any] = {"steps": 8, "evaluations": 8, "keep_best": 2, "average": 0.5}
    recipe = tiny_recipe(tmp_path / "reviews.csv", train={"rate": 0.01, **options})
    whole = train(recipe, tmp_path / "whole", progress=False)
    lines = [json.loads(x) for x in (whole / "metrics.jsonl").read_text().splitlines()]
    scores = [
        (x["metrics"]["accuracy"], -x["loss"], -x["step"])
        for x in lines
        if x["stage"] == "train" and x.get("split") == "dev"
    ]
    best = [-score[2] for score in sorted(scores, reverse=True)[:2]]
    assert names(whole / "best") == [f"step-{step:06d}" for step in sorted({*best, 8})]
    first = whole / "best" / f"step-{best[0]:06d}"
    assert names(first) == names(whole / "model")
    weights = (whole / "model" / "model.safetensors").read_bytes()
    assert (first / "model.safetensors").read_bytes() == weights
    assert is_finished(whole)
    step = Track.step

    def step_and_stop(self: Track, stage: str, at: int, *rest: Any) -> None:
        step(self, stage, at, *rest)
        if at == 6:
            raise StoppedError("killed", 15)

    with monkeypatch.context() as patch:
        patch.setattr(Track, "step", step_and_stop)
        with pytest.raises(StoppedError):
            train(recipe, tmp_path / "cut", progress=False)
    cut = train(recipe, tmp_path / "cut", progress=False)
    for path in (whole / "best").rglob("*.safetensors"):
        assert (cut / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert names(cut / "best") == names(whole / "best")
