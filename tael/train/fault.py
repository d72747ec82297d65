"""A step that must not be learned from: a loss or gradient that is no number, or a sudden spike.

What is decided depends on the step and the losses before it alone, all of which a checkpoint holds,
so a resumed run decides alike. What becomes of such a step is the recipe's `on_bad_step`.

Letters: B rows · T positions.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tael.errors import RunError
from tael.files import write_text
from tael.model.batch import Batch

__all__ = ["Fault", "find_fault", "keep_window", "remember", "stopped_by", "too_many"]

_SEEN = 64  # losses that a new one is compared with
_FEWEST = 16  # before there are as many, nothing is called a spike
_NORMAL = 1.4826  # of a normal distribution, the deviation over the median absolute deviation
_FLAT = 0.01  # share of the median that counts as noise where all losses are alike
_IN_A_ROW = 10  # bad steps after which no policy goes on: the weights are at fault, not the data
_SHOWN = 5  # places named in a message


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a step, and which of its micro-batches are (from 0)."""

    what: str
    parts: tuple[int, ...]


def find_fault(
    losses: Sequence[float], norm: float, recent: Sequence[float], spike: float
) -> Fault | None:
    """Return what is wrong with a step, or None.

    `losses` are those of the micro-batches and sum up to the step's; `norm` is that of the
    gradients; `recent` are the losses of the good steps before. A spike is a loss above their
    median by more than `spike` robust deviations (0: nothing is a spike): the median absolute
    deviation, scaled to that of a normal distribution, so that earlier spikes do not hide later.
    """
    every = tuple(range(len(losses)))
    bad = tuple(part for part in every if not math.isfinite(losses[part]))
    if bad:
        return Fault(f"the loss is {losses[bad[0]]}", bad)
    if not math.isfinite(norm):
        return Fault(f"the gradient norm is {norm}", every)
    if spike and len(recent) >= _FEWEST:
        middle = median(recent)
        deviation = _NORMAL * median(abs(loss - middle) for loss in recent)
        most = middle + spike * max(deviation, _FLAT * abs(middle))
        loss = sum(losses)
        if loss > most:
            return Fault(f"the loss {loss:.4g} is a spike: above {most:.4g}", every)
    return None


def remember(recent: tuple[float, ...], loss: float) -> tuple[float, ...]:
    """Return the losses that the next step is compared with."""
    return (*recent, loss)[-_SEEN:]


def keep_window(
    folder: Path,
    fault: Fault,
    window: Sequence[Batch],
    places: Callable[[int], Sequence[str]],
    **facts: Any,
) -> Path:
    """Write what the step computed into `folder` for a person to look at; return the file.

    `window` are its micro-batches, `places(part)` the records of one; `facts` are written as they
    are and hold at least the `step` (from 1) and the micro-batches' `losses`.
    """
    parts = [
        {
            "at_fault": part in fault.parts,
            "records": list(places(part)),
            "ids": batch.ids_BT.tolist(),
            "documents": batch.documents_BT.tolist(),
        }
        for part, batch in enumerate(window)
    ]
    told = {"what": fault.what, **facts, "micro_batches": parts}
    path = folder / f"step-{facts['step']:06d}.json"
    write_text(path, json.dumps(_sayable(told), ensure_ascii=False) + "\n")
    return path


def stopped_by(
    stage: str, step: int, fault: Fault, places: Callable[[int], Sequence[str]], window: Path
) -> RunError:
    """Return the error of a run whose step (from 1) is bad: its records, and what to try."""
    return RunError(
        f"{stage} step {step}: {fault.what}; {_records(fault, places)}, kept in {window}. "
        f"Try a lower {stage}.rate or {stage}.dtype=float32, look at these records, or pass over "
        f"such steps with {stage}.on_bad_step=skip"
    )


def too_many(stage: str, step: int, fault: Fault, in_a_row: int, window: Path) -> RunError | None:
    """Return the error of a run that passes over one step after the other; None while few."""
    if in_a_row < _IN_A_ROW:
        return None
    return RunError(
        f"{stage} step {step}: {fault.what}, the {in_a_row}th bad step in a row, kept in {window}: "
        f"it is not the data. Try a lower {stage}.rate or {stage}.dtype=float32 in another --out"
    )


def _records(fault: Fault, places: Callable[[int], Sequence[str]]) -> str:
    found = [place for part in fault.parts for place in places(part)]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"records of the step: {', '.join(found[:_SHOWN])}{more}"


def _sayable(value: Any) -> Any:
    """Return `value` with text for the numbers that JSON has not."""
    if isinstance(value, dict):
        return {key: _sayable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
