"""Real runs, trained once a session on small made-up reviews, for every room right of training."""

import csv
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_GOOD = ["很好", "干净", "满意", "推荐", "舒服", "热情", "方便", "喜欢", "不错", "安静"]
_BAD = ["很差", "脏乱", "失望", "后悔", "吵闹", "冷淡", "麻烦", "讨厌", "糟糕", "破旧"]
_OTHER = [
    "房间",
    "早餐",
    "前台",
    "位置",
    "酒店",
    "服务",
    "床",
    "电视",
    "空调",
    "停车",
    "价格",
    "这次",
    "我们",
    "晚上",
    "浴室",
]
_LABEL: dict[str, Callable[[float], str]] = {
    "single": lambda mood: "good" if mood > 0 else "bad",
    "multi": lambda mood: "|".join(
        ["said", *(["praise"] if mood > 0.3 else []), *(["blame"] if mood < 0.1 else [])]
    ),
    "regression": lambda mood: f"{3 + 2 * mood:.2f}",
}


def reviews(count: int, kind: str = "single", seed: int = 0) -> list[dict[str, str]]:
    """Return made-up reviews: most words of a good one are good, and their length varies widely."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        mood = chance.choice([-1, 1]) * chance.uniform(0.2, 1)
        words = []
        for _ in range(chance.randint(3, 24)):
            telling = _GOOD if chance.random() < 0.5 + 0.45 * mood else _BAD
            words.append(chance.choice(telling if chance.random() < 0.5 else _OTHER))
        rows.append({"text": "，".join(words), "label": _LABEL[kind](mood)})
    return rows


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
