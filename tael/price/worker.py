"""A process that holds one variant and does what it is told, a JSON line in, a JSON line out.

Each variant has a process to itself, so that its peak memory is its own, and the processes stay
alive between rounds, so that rounds of several variants can take turns.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

from tael.data.record import Record
from tael.engine.predictor import Engine, open_engine
from tael.errors import TaelError
from tael.machine.probe import peak_memory_bytes

__all__ = ["main", "round_of"]

_SHARE_ALONE = 0.4  # of a round's seconds; the rest is split evenly over the levels of company


def round_of(
    engine: Engine, traffic: Sequence[Record], start: int, *, levels: Sequence[int], seconds: float
) -> dict[str, Any]:
    """Measure one round on the traffic from position `start` on.

    `alone` holds the milliseconds of single requests, tokenizer included. `levels` holds, for each
    number of clients that wait for each other's batch (a closed loop), the milliseconds of each
    batch: every client of a batch waits for all of it.
    """
    alone = _timed(engine, traffic, start, 1, seconds * _SHARE_ALONE)
    share = seconds * (1 - _SHARE_ALONE) / max(1, len(levels))
    return {
        "alone": alone,
        "levels": {str(level): _timed(engine, traffic, start, level, share) for level in levels},
    }


def main() -> None:
    """Serve commands from standard input until it ends; the argument is the variant's folder."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    try:
        engine = open_engine(Path(sys.argv[1]))
    except TaelError as problem:
        _say(out, {"error": str(problem)})
        return
    _say(out, {"ready": engine.variant.id})
    for line in os.fdopen(0, encoding="utf-8", closefd=False):  # the locale may be another
        command = json.loads(line)
        try:
            _say(out, _do(engine, command))
        except TaelError as problem:
            _say(out, {"error": str(problem)})


def _do(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    if command["do"] == "answer":
        return {"answers": engine.predict(command["records"])}
    if command["do"] == "round":
        return round_of(
            engine,
            command["traffic"],
            command["start"],
            levels=command["levels"],
            seconds=command["seconds"],
        )
    assert command["do"] == "memory", command["do"]
    return {"peak_bytes": peak_memory_bytes()}


def _timed(
    engine: Engine, traffic: Sequence[Record], start: int, together: int, seconds: float
) -> list[float]:
    """Return the milliseconds of batch after batch for about `seconds`, two batches at least."""
    times: list[float] = []
    at, end = start, perf_counter() + seconds
    while len(times) < 2 or perf_counter() < end:
        records = [traffic[(at + offset) % len(traffic)] for offset in range(together)]
        at += together
        begin = perf_counter()
        engine.predict(records)
        times.append(1e3 * (perf_counter() - begin))
    return times


def _say(out: TextIO, answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer, ensure_ascii=False) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
