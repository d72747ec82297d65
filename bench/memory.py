"""Peak memory of training beside what was predicted before it began.

    python bench/memory.py [--quick] [--only NAME]

Seven recipes that differ in what decides memory: the sizes of the model, the length of the texts,
the vocabulary, the rows computed at once, the stage, the optimiser. Each is trained for a few steps
in a process of its own, which reports the most memory it ever held. Texts are made up. The last
line is JSON: of each recipe `predicted` and `peak` in MB and `ratio`, the one over the other;
`worst` is the ratio that is furthest from 1.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "short": {"data": {"max_tokens": 64}},
    "long": {"data": {"max_tokens": 512}, "train": {"batch": 16, "steps": 12}},
    "deep": {
        "model": {"hidden": 512, "layers": 8, "heads": 8, "ffn": 2048},
        "train": {"batch": 16},
    },
    "pretrained": {
        "model": {"hidden": 384, "layers": 6, "heads": 6, "ffn": 1536},
        "pretrain": {"steps": 3, "batch": 32},
    },
    "vocabulary": {
        "model": {"hidden": 256, "layers": 2, "heads": 4, "ffn": 1024},
        "tokenizer": {"vocab": 30000},
        "pretrain": {"steps": 3, "batch": 32},
    },
    "cut": {
        "model": {"hidden": 384, "layers": 6, "heads": 6, "ffn": 1536},
        "train": {"batch": 128, "micro_batch": 16},
    },
    "exact": {"train": {"dtype": "float32", "batch": 64}},
}
QUICK = ("short", "long", "pretrained", "vocabulary", "cut")
_BASE: dict[str, dict[str, Any]] = {
    "tokenizer": {"kind": "bpe", "vocab": 8000},
    "pretrain": {"dtype": "bfloat16"},
    "train": {"steps": 3, "evaluations": 1, "dtype": "bfloat16"},
    "machine": {"threads": 1},
}
_TRAIN = """
import json, sys
from pathlib import Path
from tael.machine.probe import peak_memory_bytes
from tael.recipe.schema import Recipe
from tael.train.train import train
train(Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), progress=False)
print(peak_memory_bytes())
"""


def main() -> None:
    """Train every recipe; print one line each and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="five recipes")
    parser.add_argument("--only", choices=RECIPES, help="one recipe")
    options = parser.parse_args()
    names = [options.only] if options.only else list(QUICK if options.quick else RECIPES)
    with tempfile.TemporaryDirectory() as folder:
        write_texts(Path(folder, "texts.csv"))
        found = {name: compare(name, Path(folder)) for name in names}
    worst = max((one["ratio"] for one in found.values()), key=lambda ratio: abs(ratio - 1))
    print(json.dumps({"recipes": found, "worst": worst}))


def write_texts(path: Path, rows: int = 1500) -> None:
    """Write texts of 10 to 600 words, drawn from 40,000 made-up ones as rarely as words are."""
    draw = random.Random(1)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el")]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(40_000)]
    weights = [1 / (rank + 5) for rank in range(len(words))]
    lines = ["text,label"]
    for row in range(rows):
        count = int(10 * 60 ** draw.random())
        lines.append(f"{' '.join(draw.choices(words, weights, k=count))},{'ab'[row % 2]}")
    path.write_text("\n".join(lines) + "\n", "utf-8")


def compare(name: str, folder: Path) -> dict[str, float]:
    """Predict the memory of a recipe, train it, and return both in MB with their ratio."""
    from tael.recipe.schema import Recipe
    from tael.road.check import check

    sections = {
        section: _BASE.get(section, {}) | RECIPES[name].get(section, {})
        for section in {**_BASE, **RECIPES[name]}
    }
    data = {"train": folder / "texts.csv", "max_cut": 1} | sections.pop("data", {})
    recipe = Recipe.model_validate({"name": name, "task": "classify", "data": data} | sections)
    predicted = check(recipe).estimate.memory_bytes
    command = [sys.executable, "-c", _TRAIN, recipe.model_dump_json(by_alias=True)]
    done = subprocess.run(
        [*command, str(folder / name)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    peak = int(done.stdout.splitlines()[-1])
    ratio = predicted / peak
    print(f"{name:12} predicted {predicted / 1e6:6.0f} MB, held {peak / 1e6:6.0f} MB: {ratio:.2f}")
    return {
        "predicted": round(predicted / 1e6), "peak": round(peak / 1e6), "ratio": round(ratio, 3)
    }  # fmt: skip


if __name__ == "__main__":
    main()
