"""How fast, how large and how dear: every variant in its own process, rounds taking turns.

A round of each variant follows a round of every other, so heat, neighbours and a changing clock hit
all alike; what is reported are medians over rounds (rates) and quantiles over all requests (times).

    python -m tael.price.measure RUN VARIANT     measures one variant alone, one JSON line
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from os import environ
from pathlib import Path
from typing import Any

import numpy as np

from tael.data.record import Record
from tael.errors import RunError
from tael.task.base import Answer

__all__ = ["Speed", "Worker", "measure", "speed_of", "workers"]

_CHUNK = 512  # records in one message: a worker's peak memory is the model's, not the message's


@dataclass(frozen=True)
class Speed:
    """What one variant costs in time and memory.

    `throughput` is the best rate of a closed loop whose 95th percentile keeps the bound, in
    requests a second; `together` the number of clients it was reached with; both 0 where none does.
    """

    p50_ms: float
    p95_ms: float
    throughput: float
    together: int
    peak_bytes: int


class Worker:
    """A process that holds one variant; speaks JSON lines over its standard input and output."""

    def __init__(self, folder: Path) -> None:
        """Start the process; `ready` waits for it, so that several can start at once."""
        self.id = folder.name
        # Lives as long as the process does: `close` closes it.
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tael.price.worker", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            # An idle worker must not spin on the cores that another is being measured on.
            env=dict(environ) | {"OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"},
        )

    def ready(self) -> None:
        """Wait until the variant is open. Raises RunError with its reason where it cannot be."""
        self._receive()

    def answers(self, records: Sequence[Record]) -> list[Answer]:
        """Return the variant's answers, in order."""
        answers: list[Answer] = []
        for start in range(0, len(records), _CHUNK):
            chunk = list(records[start : start + _CHUNK])
            answers += self._ask({"do": "answer", "records": chunk})["answers"]
        return answers

    def round(
        self, traffic: Sequence[Record], start: int, levels: Sequence[int], seconds: float
    ) -> dict[str, Any]:
        """Return the times of one round: see `tael.price.worker.round_of`."""
        command = {"do": "round", "traffic": list(traffic), "start": start}
        return self._ask(command | {"levels": list(levels), "seconds": seconds})

    def peak_bytes(self) -> int:
        """Return the most memory the process has held so far."""
        return int(self._ask({"do": "memory"})["peak_bytes"])

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: `_receive` says why
            self._process.stdin.write(json.dumps(command, ensure_ascii=False) + "\n")
            self._process.stdin.flush()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._log.seek(0)
            last = (self._log.read().strip().splitlines() or ["it said nothing"])[-1]
            memory = "; the machine may have run out of memory" if code == -9 else ""
            raise RunError(f"variant {self.id}: its process ended with code {code}{memory}: {last}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RunError(f"variant {self.id}: {answer['error']}")
        return answer


@contextlib.contextmanager
def workers(folders: Sequence[Path]) -> Iterator[list[Worker]]:
    """Start a worker for each variant's folder; end them all when the block ends."""
    started: list[Worker] = []
    try:
        started += [Worker(folder) for folder in folders]
        for worker in started:
            worker.ready()
        yield started
    finally:
        for worker in started:
            worker.close()


def measure(
    running: Sequence[Worker],
    traffic: Sequence[Record],
    *,
    p95_ms: float | None,
    levels: Sequence[int] = (1, 8, 32),
    rounds: int = 5,
    seconds: float = 1.5,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Speed]:
    """Measure all running variants on `traffic`, `rounds` rounds of about `seconds` each, in turn.

    The first round of each is warm-up and thrown away: allocation is not what is compared.
    """
    times: dict[str, list[dict[str, Any]]] = {worker.id: [] for worker in running}
    for worker in running:
        worker.round(traffic, 0, levels, 0.0)
    for number in range(rounds):
        say(f"measuring speed: round {number + 1} of {rounds}")
        # Every variant starts at the same place of the traffic, another one in each round.
        start = number * len(traffic) // rounds
        for worker in running:
            times[worker.id].append(worker.round(traffic, start, levels, seconds))
    return {
        worker.id: speed_of(times[worker.id], worker.peak_bytes(), p95_ms=p95_ms)
        for worker in running
    }


def speed_of(rounds: Sequence[dict[str, Any]], peak_bytes: int, *, p95_ms: float | None) -> Speed:
    """Reduce the times of several rounds to one `Speed`."""
    alone = np.concatenate([np.asarray(part["alone"]) for part in rounds])
    best, together = 0.0, 0
    for name in rounds[0]["levels"]:
        batches = [np.asarray(part["levels"][name]) for part in rounds]
        slowest = float(np.quantile(np.concatenate(batches), 0.95))
        rate = float(np.median([int(name) * 1e3 / times.mean() for times in batches]))
        if rate > best and (p95_ms is None or slowest <= p95_ms):
            best, together = rate, int(name)
    p50_ms, p95_alone = (float(np.quantile(alone, share)) for share in (0.5, 0.95))
    return Speed(p50_ms, p95_alone, best, together, peak_bytes)


def main() -> None:
    """Measure one variant of a run alone and print one JSON line."""
    run, variant = Path(sys.argv[1]), sys.argv[2]
    lines = (run / "data" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    with workers([run / "variants" / variant]) as running:
        speed = measure(running, [json.loads(line) for line in lines], p95_ms=None)[variant]
    sys.stdout.write(json.dumps({"id": variant} | asdict(speed)) + "\n")


if __name__ == "__main__":
    main()
