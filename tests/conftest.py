"""Real runs, trained once a session on small made-up reviews, for every room right of training."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_reviews import reviews


@pytest.fixture(scope="session")
def train_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train a tiny network on made-up reviews and return the folder of the finished run."""

    def make(kind: str = "single", rows: int = 600, **settings: Any) -> Path:
        from tael.recipe.load import load_recipe
        from tael.train.train import train

        folder = tmp_path_factory.mktemp(kind)
        with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(reviews(rows, kind))
        wanted = {
            "data.labels": kind,
            "data.max_tokens": "40",
            "data.clean.dedup": "exact",
            "data.split": "[0.5, 0.25, 0.25]",
            "tokenizer.vocab": "200",
            "model.hidden": "32",
            "model.layers": "2",
            "model.heads": "2",
            "model.ffn": "64",
            "train.steps": "60",
            "train.rate": "5e-3",
            "train.evaluations": "2",
            "machine.threads": "1",
        } | settings
        recipe = folder / "recipe.yaml"
        recipe.write_text("name: tiny\ntask: classify\ndata: {train: reviews.csv}\n", "utf-8")
        overrides = [f"{key}={value}" for key, value in wanted.items()]
        return train(load_recipe(recipe, overrides), folder / "run", progress=False)

    return make


@pytest.fixture(scope="session")
def tiny_run(train_run: Callable[..., Path]) -> Path:
    """A run with every variant made, and no prices; for reading only."""
    from tael.compress.variant import make_variants
    from tael.train.run import Run

    run = train_run()
    make_variants(Run(run), progress=False)
    return run
