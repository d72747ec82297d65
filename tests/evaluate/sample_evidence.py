"""Evidence of a run that never was, but could have been: labels, texts and curves are made up."""

from typing import Any

import numpy as np

from tael.evaluate.answered import Split
from tael.evaluate.evidence import Evidence

ENDINGS = {
    "正面": ["房间很干净，服务也好，下次还会来。", "位置方便，早餐不错。", "性价比很高，推荐！"],
    "负面": [
        "隔音太差，一晚上没睡好。",
        "前台态度恶劣，再也不来了。",
        "Dirty room, never again <b>!",
    ],
    "中性 neutral": [
        "一般般吧。",
        "没什么特别的，凑合住一晚。",
        "nothing special, would do for a night",
    ],
    "军事学": ["讨论了现代战争的后勤。", "对舰队演习的一次观察。", "论防空系统的组成。"],
}


def split(name: str, size: int, accuracy: float, seed: int, labels: list[str]) -> Split:
    shares = np.arange(len(labels), 0, -1.0)
    # One generator for the truth, one for the answers: every system meets the same records.
    truths = np.random.default_rng(seed).choice(len(labels), size, p=shares / shares.sum())
    rng = np.random.default_rng([seed, round(1000 * accuracy)])
    references, answers, records = [], [], []
    for row, truth in enumerate(truths.tolist()):
        right = rng.random() < accuracy
        guess = truth if right else int((truth + rng.integers(1, len(labels))) % len(labels))
        top = rng.beta(9 if right else 5, 1.4) * (1 - 1 / len(labels)) + 1 / len(labels)
        scores = np.full(len(labels), (1 - top) / (len(labels) - 1))
        scores[guess] = top
        answers.append(
            {
                "label": labels[guess],
                "score": float(top),
                "scores": dict(zip(labels, map(float, scores), strict=True)),
            }
        )
        references.append(labels[truth])
        text = ENDINGS[labels[truth]][row % 3] * (1 + row % 4)
        records.append({"text": text, "label": labels[truth], "@": f"{name}.csv:{row + 2}"})
    return Split(answers, references, records)


def history(steps: int = 400) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        loss = 1.3 * np.exp(-step / 90) + 0.08 + 0.05 * rng.normal()
        lines.append({"stage": "train", "step": step, "loss": float(max(loss, 0.01)), "rate": 1e-4})
        if step % 40 == 0:
            for name, low, rise in (("dev", 0.36, 0.0011), ("train", 0.1, 0.0)):
                value = low + 0.9 * float(np.exp(-step / 60)) + rise * max(0, step - 160)
                best = 0.90 if name == "dev" else 0.97
                metrics = {"accuracy": best - 0.5 * float(np.exp(-step / 50))}
                lines.append(
                    {
                        "stage": "train",
                        "step": step,
                        "split": name,
                        "loss": value,
                        "metrics": metrics,
                    }
                )
    lines += [
        {"stage": "pretrain", "step": step, "loss": 5 * float(np.exp(-step / 200)) + 3.1}
        for step in range(1, 601)
    ]
    return lines


def evidence(classes: int = 4, **changes: Any) -> Evidence:
    """Return a complete evidence with `classes` labels; `changes` replace single parts."""
    labels = list(ENDINGS)[:classes]
    sizes = {"train": (4000, 0.965), "dev": (800, 0.897), "test": (800, 0.901)}
    splits = {
        name: split(name, size, accuracy, seed, labels)
        for seed, (name, (size, accuracy)) in enumerate(sizes.items())
    }
    majority: Any = {"label": labels[0], "scores": {x: 1 / classes for x in labels}}
    tfidf = {  # a little worse
        name: split(name, size, accuracy - 0.03, seed, labels).answers
        for seed, (name, (size, accuracy)) in enumerate(sizes.items())
    }
    given: dict[str, Any] = {
        "name": "hotel-reviews",
        "task": "classify",
        "kind": "single",
        "labels": labels,
        "metric": "accuracy",
        "splits": splits,
        "baselines": {
            "majority": {name: [majority] * len(part.answers) for name, part in splits.items()},
            "tfidf": tfidf,
        },
        "history": history(),
        "counts": {
            "train: rows read": 7204, "exact duplicates removed": 1203,
            "near duplicates removed": 401, "train rows removed: they repeat dev or test": 40,
            "dev rows that repeat train": 21, "test rows that repeat train": 19,
            "train rows": 4000, "dev rows": 800, "test rows": 800,
        },
        "costs": {
            "seconds": {"data": 8.1, "tokenizer": 3.0, "pretrain": 260.4, "train": 144.9},
            "price_per_hour": 0.1, "money": 0.0116, "train_tokens": 912_000,
        },
        "recipe": {
            "train.epochs": 3, "data.clean.dedup": "near", "model.dropout": 0.1,
            "model.preset": "small",
        },
        "recipe_yaml": "name: hotel-reviews\ntask: classify\ndata:\n  train: reviews.csv\n",
        "machine": {"cpu": "2 cores", "torch": "2.13"},
        "parameters": 5_312_004,
        "steps_per_epoch": 125.0,
        "notes": ["40 texts of train also stood in test and were taken out of train."],
    }  # fmt: skip
    return Evidence(**(given | changes))
