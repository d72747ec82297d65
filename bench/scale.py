"""Training on one process and on two that share each step, every process on a core of its own.

    python bench/scale.py [--quick] [--parallel fsdp]

Masked-LM pretraining, 6 layers of 384 (--quick: 4 of 256), on made-up texts, 64 rows a step as a
recipe has by default; one thread a process, pinned to a core, in turns: one process, two, one, two,
…. The rate of a run is the real tokens of its steps over their seconds, without the first steps, in
which memory is taken and kernels are chosen. The last line is JSON: `scaling` is the median over
rounds of the rate of two processes over that of one; `losses_differ` the largest difference between
their losses. It wants a machine with nothing else to do.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tael.machine.probe import describe

WARM = 3  # steps that are not measured
SIZES = {
    False: {"model.hidden": 384, "model.layers": 6, "model.heads": 6, "model.ffn": 1536},
    True: {"model.hidden": 256, "model.layers": 4, "model.heads": 4, "model.ffn": 1024},
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp")
    asked = options.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("bench/scale.py: two cores are needed, this process may use one")
    rounds, steps = (1, 6) if asked.quick else (5, 23)
    ratios, rates, worst = [], {1: list[float](), 2: list[float]()}, 0.0
    with TemporaryDirectory() as name:
        folder = Path(name)
        recipe = prepare(folder, asked.parallel, steps, quick=asked.quick)
        for number in range(rounds):
            losses = {}
            for processes in (1, 2):
                run = folder / f"{number}-{processes}"
                train(recipe, run, processes)
                rate, losses[processes] = measured(run)
                rates[processes].append(rate)
                print(f"round {number}: {processes} processes, {rate:,.0f} tokens/s", flush=True)
            ratios.append(rates[2][-1] / rates[1][-1])
            differences = (abs(a - b) for a, b in zip(losses[1], losses[2], strict=True))
            worst = max(worst, *differences)
    result: dict[str, Any] = {
        "scaling": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "tokens_per_second": {n: round(statistics.median(found)) for n, found in rates.items()},
        "losses_differ": worst,
        "parallel": asked.parallel,
        "cores": cores[:2],
        "machine": describe(),
    }
    print(json.dumps(result))


def prepare(folder: Path, parallel: str, steps: int, *, quick: bool) -> Path:
    """Write texts, labels and a recipe that pretrains for `steps` steps; dropout is as usual."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 8))) for _ in range(6000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]  # as words of a language are
    lines = [
        " ".join(draw.choices(words, weights, k=draw.randint(20, 110)))
        for _ in range(400 if quick else 3000)
    ]
    (folder / "texts.txt").write_text("\n".join(lines), "utf-8")
    rows = [f"{line[:60]}\t{n % 2}" for n, line in enumerate(lines[:60])]
    (folder / "rows.tsv").write_text("\n".join(["text\tlabel", *rows]), "utf-8")
    sizes = "\n".join(f"  {key.partition('.')[2]}: {value}" for key, value in SIZES[quick].items())
    path = folder / "scale.yaml"
    path.write_text(
        f"name: scale\ntask: classify\nmodel:\n{sizes}\n"
        f"tokenizer: {{vocab: {1000 if quick else 8000}}}\n"
        "data: {train: rows.tsv, max_tokens: 128, clean: {dedup: off}}\n"
        f"pretrain: {{text: texts.txt, steps: {steps}, micro_batch: 8, save_every: 999}}\n"
        f"train: {{steps: 1, batch: 2, evaluations: 1, parallel: {parallel}}}\n"
        "machine: {threads: 1}\n",
        "utf-8",
    )
    return path


def train(recipe: Path, run: Path, processes: int) -> None:
    """Train in `processes` processes, each on its own core."""
    python = [sys.executable]
    if processes > 1:
        python += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*python, __file__, "--worker", str(recipe), str(run)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def work(recipe: Path, run: Path) -> None:
    """Be one of the processes: take a core, then train."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ.get("LOCAL_RANK", "0"))]})
    from tael.recipe.load import load_recipe
    from tael.train.train import train as train_recipe

    train_recipe(load_recipe(recipe), run, progress=False)


def measured(run: Path) -> tuple[float, list[float]]:
    """Return the real tokens a second of the pretraining steps, and their losses."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    steps = [line for line in lines if line["stage"] == "pretrain" and "tokens" in line]
    counted = steps[WARM:]
    rate = sum(step["tokens"] for step in counted) / sum(step["seconds"] for step in counted)
    return rate, [step["loss"] for step in steps]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
