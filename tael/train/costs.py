"""`costs.json`: what a run took, in seconds, tokens, operations, joules and money.

Seconds, joules and money are all that was spent, steps that a stop lost and repeated included; the
work is that of the steps that count, each once.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tael.files import write_text
from tael.machine.energy import Counter, energy
from tael.machine.probe import cores
from tael.machine.tariff import training_cost
from tael.recipe.schema import Machine

__all__ = ["Costs", "costs_of"]

_HEARTBEAT = 10.0  # seconds between two writings
_WORK = ("tokens", "positions", "flops")  # real tokens, computed positions, operations that teach


class Costs:
    """The bill of one run directory, which goes on where the sittings before this one ended.

    `price_per_hour` is the machine's, in `currency`; `watts` its power where the recipe says it,
    `threads` how many it computes on.
    """

    def __init__(
        self,
        folder: Path,
        price_per_hour: float,
        *,
        currency: str = "USD",
        watts: float | None = None,
        threads: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
        counter: Counter | None = None,
    ) -> None:
        self._path = folder / "costs.json"
        self._price, self._currency = price_per_hour, currency
        self._watts, self._threads = watts, threads or cores()
        self._clock = clock
        self._counter = Counter() if counter is None else counter
        self._values = _read(self._path)
        self._phase: tuple[str, float] | None = None
        self._written = clock()

    def note(self, **amounts: int | float) -> None:
        """Keep counts of the run under names of their own."""
        self._values.update(amounts)
        self._save()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds and joules of the block under `name`; those of earlier sittings stay.

        What is taken between two phases is nobody's, as an hour between two sittings is.
        """
        self._counter.joules()
        self._phase = (name, self._clock())
        try:
            yield
        finally:
            self._settle()
            self._phase = None
            self._save()

    def recount(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Count the work anew from the lines of metrics.jsonl that still hold."""
        self._values["work"] = {}
        for line in lines:
            if "tokens" in line:  # else it is a score
                self._add(line["stage"], line)

    def step(self, stage: str, values: Mapping[str, float]) -> None:
        """Add the work of one step of `stage`, and write everything now and then."""
        self._add(stage, values)
        if self._phase is not None and self._clock() - self._written > _HEARTBEAT:
            self._settle()
            self._save()

    def money(self) -> float:
        """Return what the run has cost so far, in the machine's currency."""
        running = 0.0 if self._phase is None else self._clock() - self._phase[1]
        seconds: dict[str, float] = self._values["seconds"]
        return training_cost(sum(seconds.values()) + running, self._price)

    def _add(self, stage: str, values: Mapping[str, float]) -> None:
        work = self._values["work"].setdefault(stage, {"steps": 0} | dict.fromkeys(_WORK, 0))
        work["steps"] += 1
        for name in _WORK:
            work[name] += values.get(name, 0)

    def _settle(self) -> None:
        assert self._phase is not None, "settled outside a phase"
        name, start = self._phase
        now = self._clock()
        seconds, spent = self._values["seconds"], self._values["energy"]
        seconds[name] = seconds.get(name, 0.0) + now - start
        measured = self._counter.joules() if self._counter.readable else None
        took = energy(now - start, measured=measured, watts=self._watts, threads=self._threads)
        spent["joules"] += took.joules
        spent["source"] = " and ".join(
            sorted({took.source, *filter(None, spent["source"].split(" and "))})
        )
        self._phase = (name, now)

    def _save(self) -> None:
        total = sum(self._values["seconds"].values())
        money = {
            "price_per_hour": self._price,
            "currency": self._currency,
            "money": training_cost(total, self._price),
        }
        write_text(self._path, json.dumps(self._values | money, indent=1) + "\n")
        self._written = self._clock()


def costs_of(folder: Path, machine: Machine, threads: int, machines: int = 1) -> Costs:
    """Open the bill of the run in `folder`, by the tariff and power of the recipe's `machine`.

    `machines` like this one work together; each uses `threads`.
    """
    return Costs(
        folder,
        float(machine.price_per_hour) * machines,
        currency=machine.currency,
        watts=None if machine.watts is None else machine.watts * machines,
        threads=threads * machines,
    )


def _read(path: Path) -> dict[str, Any]:
    """Return what earlier sittings spent; a file of an older version lacks some of it."""
    values: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    empty = {"seconds": {}, "work": {}, "energy": {"joules": 0.0, "source": ""}}
    return empty | values
