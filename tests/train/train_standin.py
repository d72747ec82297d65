"""A network and batches small enough for a thousand steps a second."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tael.model.batch import Batch
from tael.recipe.schema import Recipe

__all__ = ["Bag", "Rows", "Sums", "distance", "tiny_recipe", "write_reviews"]

CLASSES = 3


class Bag(nn.Module):
    """Means of embeddings, a norm, and a score for each class."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.norm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, batch: Batch) -> Tensor:
        real_BT1 = (batch.documents_BT > 0).unsqueeze(-1)
        x_BTD = self.embedding(batch.ids_BT) * real_BT1
        logits: Tensor = self.out(self.dropout(self.norm(x_BTD.sum(1) / real_BT1.sum(1))))
        return logits


class Sums:
    """Cross-entropy, summed: the stand-in for a task."""

    def objective(self, network: Any, batch: Batch) -> Tensor:
        assert batch.targets is not None
        return nn.functional.cross_entropy(network(batch).float(), batch.targets, reduction="sum")

    def supervised(self, batch: Batch) -> float:
        return float(batch.size)


class Rows:
    """Eight rows a step, of unequal lengths, cut as the stage says."""

    def __init__(self, micro: int = 8, poison: int | None = None) -> None:
        self.micro_batch, self.poison = micro, poison

    def __getitem__(self, step: int) -> Sequence[Batch]:
        generator = torch.Generator().manual_seed(step % 5)
        ids_BT = torch.randint(1, 20, (8, 6), generator=generator)
        lengths_B = torch.arange(8) % 5 + 2
        documents_BT = (torch.arange(6) < lengths_B[:, None]).int()
        targets = ids_BT[:, 0] % CLASSES
        cuts = range(0, 8, self.micro_batch)
        return [
            Batch(
                ids_BT[i : i + self.micro_batch],
                documents_BT[i : i + self.micro_batch],
                targets=targets[i : i + self.micro_batch],
                size=min(self.micro_batch, 8 - i),
                tokens=int(documents_BT[i : i + self.micro_batch].sum()),
            )
            for i in cuts
        ]

    def places(self, step: int, micro: int) -> list[str]:
        return [
            f"reviews.csv:{8 * step + self.micro_batch * micro + i + 2}"
            for i in range(self.micro_batch)
        ]


def distance(a: nn.Module, b: nn.Module) -> float:
    """Return the largest difference between two networks' parameters."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((x - y).detach().abs().max()) for x, y in pairs)


def write_reviews(path: Path, rows: int = 60) -> None:
    """Write made-up reviews whose label follows from one of their words."""
    words = ["the", "room", "was", "and", "very", "with", "food", "clean", "near", "again"]
    draw = random.Random(5)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for row in range(rows):
            text = [draw.choice(words) for _ in range(draw.randint(4, 24))]
            text[1:1] = [("good", "bad")[row % 2], f"n{row}"]
            table.writerow([" ".join(text), ("positive", "negative")[row % 2]])


def tiny_recipe(file: Path, /, **sections: dict[str, Any]) -> Recipe:
    """Return a recipe that trains in about a second; sections add to its own."""
    own: dict[str, dict[str, Any]] = {
        "data": {"train": file, "max_tokens": 16, "clean": {"dedup": "off"}},
        "tokenizer": {"vocab": 120},
        "model": {"hidden": 16, "layers": 2, "heads": 2, "ffn": 32},
        "pretrain": {"steps": 0, "batch": 4, "save_every": 3, "dtype": "float32"},
        "train": {"steps": 6, "batch": 8, "save_every": 4, "evaluations": 3, "dtype": "float32"},
        "machine": {"threads": 1},
    }
    merged = {name: own.get(name, {}) | sections.get(name, {}) for name in {**own, **sections}}
    return Recipe.model_validate({"name": "tiny", "task": "classify", "seed": 3} | merged)
