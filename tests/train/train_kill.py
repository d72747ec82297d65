"""Trains in forked children that die at chosen instants; prints one JSON line with what was left.

    python train_kill.py FOLDER SEED COUNT

torch is imported once; each child is a fresh process all the same. An instant is a number: of the
steps done and of the files opened, renamed or removed so far, by whichever thread; a run has a few
hundred. Every other child dies at a random time instead, wherever it is then.
"""

import json
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorboard.compat.proto.event_pb2
import tensorboard.summary.writer.record_writer  # noqa: F401  # imported before the forks
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from train_standin import tiny_recipe, write_reviews

from tael.errors import TaelError
from tael.recipe.schema import Recipe
from tael.train import checkpoint
from tael.train.track import Track
from tael.train.train import train

CLOCKS = ("seconds", "waited")  # what a line of metrics.jsonl says of the time it took
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "averaged": {
        "pretrain": {"optimizer": "muon"},
        "train": {"optimizer": "lion", "average": 0.9, "adversary": 0.5, "rate": 1e-4},
    },
    "bfloat16": {
        "pretrain": {"dtype": "bfloat16"},
        "train": {"dtype": "bfloat16", "optimizer": "adafactor"},
    },
}
FILE_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}


class Instants:
    """Counts what a child does; kills it at one of the instants."""

    def __init__(self, kill_at: int | None) -> None:
        self.count, self.kill_at = 0, kill_at
        self._lock = threading.Lock()  # checkpoints are written in a thread of their own

    def tick(self) -> None:
        with self._lock:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, folder: Path) -> None:
        inside = str(folder)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event in FILE_EVENTS and str(arguments[0]).startswith(inside):
                self.tick()

        sys.addaudithook(hook)
        write, step = checkpoint._write, Track.step

        def write_and_tick(*arguments: Any) -> None:
            write(*arguments)
            self.tick()

        def step_and_tick(*arguments: Any) -> None:
            step(*arguments)
            self.tick()

        checkpoint._write = write_and_tick
        Track.step = step_and_tick  # type: ignore[method-assign]


def child(work: Callable[[], None], kill_after: float | None = None) -> tuple[int, str]:
    """Run `work` in a fork; return its exit status (minus the signal) and its error line.

    Kill it after so many seconds where given.
    """
    reader, writer = os.pipe()
    number = os.fork()
    if number == 0:
        os.close(reader)
        status = 0
        try:
            work()
        except TaelError as error:
            os.write(writer, str(error).encode())
            status = error.exit_code
        except BaseException as error:
            os.write(writer, f"not a TaelError: {error!r}".encode())
            status = 99
        os._exit(status)
    os.close(writer)
    killer = threading.Timer(kill_after or 0, os.kill, (number, signal.SIGKILL))
    if kill_after is not None:
        killer.start()
    message = b"".join(iter(lambda: os.read(reader, 4096), b"")).decode()
    if kill_after is not None:
        killer.cancel()
        killer.join()
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), message


def left(folder: Path) -> dict[str, Any]:
    """Return what must be equal, whatever happened on the way."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for clock in CLOCKS:
            line.pop(clock, None)
    files = [*folder.glob("model/*"), *folder.glob("pretrain/*"), *folder.glob("data/*.jsonl")]
    return {
        "metrics": lines,
        "board": {stage: drawn(folder / "tensorboard" / stage) for stage in ("pretrain", "train")},
        "files": {str(p.relative_to(folder)): p.read_bytes() for p in sorted(files)},
        "loose": sorted(p.name for p in folder.rglob(".*") if p.name != ".lock"),  # drafts
    }


def drawn(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the curves of a stage as TensorBoard shows them."""
    board = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
        if tag not in CLOCKS
    }


def killed(recipe: Recipe, folder: Path, deaths: list[float]) -> tuple[int, str]:
    """Train and die at each death in turn, then train to the end.

    A death is the number of an instant, or a time in seconds.
    """
    for death in deaths:
        instant = death if isinstance(death, int) else None

        def work(instant: int | None = instant) -> None:
            Instants(instant).watch(folder)
            train(recipe, folder, progress=False)

        child(work, kill_after=None if instant else death)
    return child(lambda: train(recipe, folder, progress=False) and None)


def interrupted(recipe: Recipe, folder: Path, number: int) -> list[tuple[int, str]]:
    """Send a signal once the fine-tuning has begun; then train to the end."""

    def work() -> None:
        step = Track.step

        def step_and_signal(self: Track, stage: str, at: int, *rest: Any) -> None:
            step(self, stage, at, *rest)
            if (stage, at) == ("train", 3):
                os.kill(os.getpid(), number)

        Track.step = step_and_signal  # type: ignore[method-assign]
        train(recipe, folder, progress=False)

    return [child(work), child(lambda: train(recipe, folder, progress=False) and None)]


def full_disk(recipe: Recipe, folder: Path, limit: int) -> list[tuple[int, str]]:
    """Train where no file may be larger than `limit`; then without the limit."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        train(recipe, folder, progress=False)

    return [child(work), child(lambda: train(recipe, folder, progress=False) and None)]


def read_only(recipe: Recipe, folder: Path) -> tuple[int, str]:
    """Train as a user who may not write."""

    def work() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        train(recipe, folder / "run", progress=False)

    folder.mkdir(mode=0o555)
    return child(work)


def whole(recipe: Recipe, folder: Path) -> tuple[int, float]:
    """Train without dying; return the number of instants, and the seconds."""
    ticks = folder.with_suffix(".ticks")

    def work() -> None:
        instants = Instants(None)
        instants.watch(folder)
        train(recipe, folder, progress=False)
        ticks.write_text(str(instants.count))

    start = time.perf_counter()
    status = child(work)
    assert status == (0, ""), status
    return int(ticks.read_text()), time.perf_counter() - start


def deaths(draw: random.Random, number: int, count: int, instants: int, seconds: float) -> list:
    """Return where run `number` of `count` dies: evenly over the run, some of them twice."""
    share = (number + draw.random()) / count
    first = 1 + int(instants * share) if number % 2 else seconds * share
    return [first, *([draw.randint(1, 60)] if number % 3 == 2 else [])]


def main(root: Path, seed: int, count: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    write_reviews(root / "reviews.csv")
    recipes = {
        name: tiny_recipe(
            root / "reviews.csv",
            pretrain={"steps": 7} | options.get("pretrain", {}),
            train={"steps": 9, "patience": 4} | options.get("train", {}),
        )
        for name, options in RECIPES.items()
    }
    draw, outcomes, expected, length = random.Random(seed), {}, {}, {}
    for name, recipe in recipes.items():
        length[name] = whole(recipe, root / name)
        expected[name] = left(root / name)
    for number in range(count):
        name = list(recipes)[number % len(recipes)]
        ends = deaths(draw, number, count, *length[name])
        folder = root / f"killed{number}"
        status = killed(recipes[name], folder, ends)
        outcomes[f"{number}, {name}: {ends} of {length[name]}"] = [
            status,
            left(folder) == expected[name],
        ]
    recipe = recipes["plain"]
    others = {
        "SIGTERM": interrupted(recipe, root / "terminated", signal.SIGTERM),
        "SIGINT": interrupted(recipe, root / "interrupted", signal.SIGINT),
        "full": full_disk(recipe, root / "full", 24_000),
        "read only": read_only(recipe, root / "locked"),
    }
    same = {
        name: left(root / name) == expected["plain"]
        for name in ("terminated", "interrupted", "full")
    }
    print(json.dumps({"killed": outcomes, "same": same, **others}))


if __name__ == "__main__":
    start = time.perf_counter()
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)
