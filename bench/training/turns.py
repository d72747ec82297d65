"""Training loops that take turns: each runs a few steps, then waits for the others.

A loop is code of its own (tael's, the Trainer's, one written here) that runs in a thread and says
after every step what the step held; there it is held until its next turn. So neighbours in time
share what else the machine does, and no loop is rebuilt for being measured.
"""

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

__all__ = ["Side", "Spent", "Tell", "figures", "ratio", "take_turns"]

Tell = Callable[[int, int], None]  # real tokens and computed positions of the step just done


class _Over(BaseException):
    """Ends a loop from within; no handler for errors takes it for one."""


@dataclass
class Spent:
    """One turn, or one step."""

    tokens: int
    positions: int
    wall: float
    cpu: float


@dataclass
class Side:
    """A loop: `work` runs for ever, and calls what it is given after every step."""

    name: str
    work: Callable[[Tell], None]
    steps: int = 1  # a turn
    first: list[Spent] = field(default_factory=list)  # steps that do not count
    turns: list[Spent] = field(default_factory=list)
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _said: "SimpleQueue[tuple[int, int] | BaseException]" = field(default_factory=SimpleQueue)
    _thread: threading.Thread | None = None
    _closed: bool = False

    def step(self) -> Spent:
        """Let the loop do one step; what it raised is raised here."""
        wall, cpu = time.perf_counter(), time.process_time()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()
        else:
            self._go.release()
        said = self._said.get()
        if isinstance(said, BaseException):
            raise said
        return Spent(*said, time.perf_counter() - wall, time.process_time() - cpu)

    def turn(self) -> Spent:
        """Do the steps of a turn."""
        done = [self.step() for _ in range(self.steps)]
        return Spent(
            sum(one.tokens for one in done),
            sum(one.positions for one in done),
            sum(one.wall for one in done),
            sum(one.cpu for one in done),
        )

    def close(self) -> None:
        """End the loop where it stands."""
        self._closed = True
        if self._thread is not None:
            self._go.release()
            self._thread.join()

    def _run(self) -> None:
        try:
            self.work(self._tell)
            self._said.put(RuntimeError(f"{self.name}: ended before it was told to"))
        except _Over:
            pass
        except BaseException as error:
            self._said.put(error)

    def _tell(self, tokens: int, positions: int) -> None:
        self._said.put((tokens, positions))
        self._go.acquire()
        if self._closed:
            raise _Over


def take_turns(sides: Sequence[Side], *, warm: int, rounds: int) -> None:
    """Run `warm` steps a side that do not count, then `rounds` rounds of a turn a side."""
    try:
        for side in sides:
            side.first = [side.step() for _ in range(warm)]
        for _ in range(rounds):
            for side in sides:
                side.turns.append(side.turn())
    finally:
        for side in sides:
            side.close()


def ratio(ours: Side, theirs: Side, clock: str = "wall") -> float:
    """Return our real tokens a second over theirs: the median of the rounds' own ratios."""
    return statistics.median(
        (a.tokens / getattr(a, clock)) / (b.tokens / getattr(b, clock))
        for a, b in zip(ours.turns, theirs.turns, strict=True)
    )


def figures(side: Side) -> Mapping[str, float]:
    """Return the rates and the padding of a side, and what its first steps took."""
    rate = {
        clock: statistics.median(t.tokens / getattr(t, clock) for t in side.turns)
        for clock in ("wall", "cpu")
    }
    tokens, positions = (sum(getattr(t, n) for t in side.turns) for n in ("tokens", "positions"))
    return {
        "tokens_per_second": round(rate["wall"], 1),
        "tokens_per_cpu_second": round(rate["cpu"], 1),
        "padding": round(1 - tokens / positions, 4),
        "tokens_per_step": round(tokens / len(side.turns)),
        "first_steps_seconds": round(sum(one.wall for one in side.first), 1),
    }
