"""Accuracy on the hotel reviews, from scratch, against processor minutes; beside TF-IDF.

    python bench/minutes.py [--quick] [--recipes NAME ...] [--pretrain STEPS ...] [--out DIR]

Each point is one `tael train` from nothing: masked-LM pretraining on the shared shop reviews and
the training texts for so many steps, then the labels; tokenizer and data are paid for too. The
processor seconds are those of the whole process; the accuracy is on test, which nothing was chosen
on. TF-IDF with logistic regression (characters, 1 to 3; C by dev) is timed the same way. Looks for
the sets at TAEL_DATA (default ../shared/data). A line of JSON a point; the last one has all of
them, and `minutes_to_tfidf`: the fewest after which a point is at or above it, or null.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from training.texts import DATA

HOTEL = DATA / "cls_zh_hotel"
REVIEWS = DATA / "lm_zh_shop_reviews" / "reviews.txt"
COMMON = [
    "data.clean.dedup=exact", "data.max_tokens=128", "pretrain.batch=32", "pretrain.rate=2e-3",
    "train.rate=1e-3", "train.evaluations=8",
]  # fmt: skip
TINY = ["model.preset=tiny"]
HARD = [  # what keeps 6,000 texts from being learned by heart
    "model.dropout=0.2", "pretrain.mask=0.3", "train.label_smoothing=0.1", "train.epochs=4",
]  # fmt: skip
RECIPES: dict[str, list[str]] = {
    "plain": [*TINY, "train.epochs=3"],
    "hard": [*TINY, *HARD],
    "adversary": [*TINY, *HARD, "train.adversary=1.0"],
    "average": [*TINY, *HARD, "train.average=0.99"],
    "both": [*TINY, *HARD, "train.adversary=1.0", "train.average=0.99"],
    "droppath": [*TINY, *HARD, "model.droppath=0.1", "pretrain.mask=0.4"],
    "small": [*HARD, "train.rate=5e-4", "pretrain.rate=1e-3", "train.adversary=1.0"],
}


def main() -> None:
    """Measure the points that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one recipe, 50 steps of pretraining")
    parser.add_argument("--recipes", nargs="*", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--pretrain", nargs="*", type=int, default=[200, 400, 800, 1600])
    parser.add_argument("--out", type=Path, default=Path("runs/minutes"))
    parser.add_argument("overrides", nargs="*", help="key=value settings laid over each recipe")
    options, more = parser.parse_known_args()
    if not HOTEL.is_dir():
        reason = f"no {HOTEL}; set TAEL_DATA to the folder of the sets"
        print(json.dumps({"minutes_to_tfidf": None, "reason": reason}))
        return
    names, steps = (["plain"], [50]) if options.quick else (options.recipes, options.pretrain)
    points = [tfidf()]
    print(json.dumps(points[0]), flush=True)
    for count in steps:
        for name in names:
            points.append(point(name, count, options.out, [*options.overrides, *more]))
            print(json.dumps(points[-1]), flush=True)
    enough = [one["cpu_minutes"] for one in points[1:] if one["accuracy"] >= points[0]["accuracy"]]
    print(json.dumps({"points": points, "minutes_to_tfidf": min(enough, default=None)}))


def point(name: str, steps: int, out: Path, overrides: list[str]) -> dict[str, Any]:
    """Train one recipe from nothing, and score it on test."""
    folder = out / f"{name}-{steps}"
    recipe = folder.with_suffix(".yaml")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    files = "".join(f"  {split}: {HOTEL / split}.csv\n" for split in ("train", "dev", "test"))
    recipe.write_text(f"name: {name}-{steps}\ntask: classify\ndata:\n{files}", "utf-8")
    texts = f"pretrain.text=[{HOTEL / 'train.csv'}, {REVIEWS}]"
    settings = [*COMMON, f"pretrain.steps={steps}", texts, *RECIPES[name], *overrides]
    before, start = _processor(), time.perf_counter()
    tael("train", str(recipe), *settings, "--quiet", "--out", str(folder))
    took = {
        "cpu_minutes": round((_processor() - before) / 60, 2),
        "minutes": round((time.perf_counter() - start) / 60, 2),
    }
    found: dict[str, Any] = {"recipe": name, "pretrain_steps": steps}
    for split, key in (("dev", "dev"), ("test", "accuracy")):
        file = str(HOTEL / f"{split}.csv")
        scores = json.loads(tael("evaluate", str(folder), "--data", file, "--json"))
        found[key] = round(scores["accuracy"]["value"], 4)
    return found | took


def tael(*words: str) -> str:
    """Run a command, and return what it prints."""
    command = [sys.executable, "-m", "tael", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"bench/minutes.py: tael {words[0]}: {done.stderr.strip()}")
    return done.stdout


def tfidf() -> dict[str, Any]:
    """Return the sceptic's point."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    start, wall = time.process_time(), time.perf_counter()
    sets = {split: rows(HOTEL / f"{split}.csv") for split in ("train", "dev", "test")}
    grams = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, min_df=2)
    seen = {"train": grams.fit_transform(sets["train"][0])}
    seen |= {split: grams.transform(sets[split][0]) for split in ("dev", "test")}
    models = [
        LogisticRegression(C=c, max_iter=1000).fit(seen["train"], sets["train"][1]) for c in (1, 10)
    ]
    best = max(models, key=lambda one: float(one.score(seen["dev"], sets["dev"][1])))
    return {
        "recipe": "tfidf",
        "accuracy": round(float(best.score(seen["test"], sets["test"][1])), 4),
        "dev": round(float(best.score(seen["dev"], sets["dev"][1])), 4),
        "cpu_minutes": round((time.process_time() - start) / 60, 2),
        "minutes": round((time.perf_counter() - wall) / 60, 2),
    }


def rows(path: Path) -> tuple[list[str], list[str]]:
    """Return the texts and labels of a file."""
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    return [row["text"] for row in table], [row["label"] for row in table]


def _processor() -> float:
    """Return the processor seconds of all commands run so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


if __name__ == "__main__":
    main()
