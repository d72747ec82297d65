"""Trains in forked children that die at chosen instants; prints one JSON line with what was left.

    python train_kill.py FOLDER SEED COUNT

torch is imported once; each child is a fresh process all the same. An instant is a number: of the
steps done and of the files opened, renamed or removed so far. The whole run has a few hundred.
"""

import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorboard.compat.proto.event_pb2
import tensorboard.summary.writer.record_writer  # noqa: F401  # imported before the forks
from train_standin import tiny_recipe, write_reviews

from tael.errors import TaelError
from tael.recipe.schema import Recipe
from tael.train import checkpoint
from tael.train.track import Track
from tael.train.train import train

FILE_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}


class Instants:
    """Counts what a child does; kills it at one of the instants."""

    def __init__(self, kill_at: int | None) -> None:
        self.count, self.kill_at = 0, kill_at

    def tick(self) -> None:
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


def child(work: Callable[[], None]) -> tuple[int, str]:
    """Run `work` in a fork; return its exit status (minus the signal) and its error line."""
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
    message = b"".join(iter(lambda: os.read(reader, 4096), b"")).decode()
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), message


def left(folder: Path) -> dict[str, Any]:
    """Return what must be equal, whatever happened on the way."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds", None)
    files = [*folder.glob("model/*"), *folder.glob("pretrain/*"), *folder.glob("data/*.jsonl")]
    return {
        "metrics": lines,
        "files": {str(p.relative_to(folder)): p.read_bytes() for p in sorted(files)},
        "loose": sorted(p.name for p in folder.rglob(".*") if p.name != ".lock"),  # drafts
    }


def killed(recipe: Recipe, folder: Path, instants: list[int]) -> tuple[int, str]:
    """Train and die at each instant in turn, then train to the end."""
    for instant in instants:

        def work(instant: int = instant) -> None:
            Instants(instant).watch(folder)
            train(recipe, folder, progress=False)

        child(work)
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


def main(root: Path, seed: int, count: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    write_reviews(root / "reviews.csv")
    recipe = tiny_recipe(
        root / "reviews.csv", pretrain={"steps": 7}, train={"steps": 9, "patience": 4}
    )
    ticks = root / "ticks"

    def whole() -> None:
        instants = Instants(None)
        instants.watch(root / "whole")
        train(recipe, root / "whole", progress=False)
        ticks.write_text(str(instants.count))

    status = child(whole)
    assert status == (0, ""), status
    expected, instants = left(root / "whole"), int(ticks.read_text())
    draw = random.Random(seed)
    outcomes = {}
    for number in range(count):
        # evenly over the run, at a random place of each part; every third dies twice
        low, high = (1 + instants * number // count, instants * (number + 1) // count)
        deaths = [draw.randint(low, high), *([draw.randint(1, 60)] if number % 3 == 2 else [])]
        folder = root / f"killed{number}"
        status = killed(recipe, folder, deaths)
        outcomes[f"killed at {deaths} of {instants}"] = [status, left(folder) == expected]
    others = {
        "SIGTERM": interrupted(recipe, root / "terminated", signal.SIGTERM),
        "SIGINT": interrupted(recipe, root / "interrupted", signal.SIGINT),
        "full": full_disk(recipe, root / "full", 24_000),
        "read only": read_only(recipe, root / "locked"),
    }
    same = {name: left(root / name) == expected for name in ("terminated", "interrupted", "full")}
    print(json.dumps({"killed": outcomes, "same": same, **others}))


if __name__ == "__main__":
    start = time.perf_counter()
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)
