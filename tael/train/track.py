"""What a run says while it works: metrics.jsonl, TensorBoard, its costs and one progress line."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tael.files import atomic_file
from tael.train.costs import Costs
from tael.train.progress import Progress

__all__ = ["STAGES", "Track"]

STAGES = ("pretrain", "train", "final")  # in the order in which they write


class Track:
    """The record of one run: each step exactly once, whatever stops and resumes it."""

    def __init__(self, folder: Path, costs: Costs, progress: Progress) -> None:
        self.folder = folder
        self.progress = progress
        self._costs = costs
        self._path = folder / "metrics.jsonl"
        self._file = self._path.open("a", encoding="utf-8")
        self._board: _Board | None = None

    def rewind(self, stage: str, step: int) -> None:
        """Forget what was written after `step` of `stage`: it will be done, and written, again."""
        self._file.close()
        order, kept = STAGES.index(stage), []
        with atomic_file(self._path) as draft, draft.open("w", encoding="utf-8") as new:
            for text in _whole_lines(self._path):
                line = json.loads(text)
                here = STAGES.index(line["stage"])
                if here < order or (here == order and line["step"] <= step):
                    new.write(text)
                    kept.append(line)
        self._costs.recount(kept)
        self._file = self._path.open("a", encoding="utf-8")
        if stage != "final":
            if self._board is not None:
                self._board.close()
            self._board = _Board(self.folder / "tensorboard" / stage, step)

    def step(self, stage: str, step: int, steps: int, values: Mapping[str, float]) -> None:
        """Record optimiser step `step` (from 1) of `steps`: loss, rate, norm, work, seconds."""
        self._write({"stage": stage, "step": step} | dict(values))
        self._draw(step, "", values)
        self._costs.step(stage, values)
        self.progress.step(step, steps, values, self._costs.money())

    def unlearned(self, stage: str, step: int, why: str) -> None:
        """Record a step from which nothing was learned."""
        self._write({"stage": stage, "step": step, "skipped": why})

    def bad(self, stage: str, count: int) -> None:
        """Note how many bad steps there were in a stage."""
        self._costs.note(**{f"{stage}_bad_steps": count})

    def evaluation(
        self,
        stage: str,
        step: int,
        split: str,
        *,
        metrics: Mapping[str, float],
        loss: float,
        rows: int,
        never: Sequence[str] = (),
    ) -> None:
        """Record the score of a split after step `step`, over `rows` records.

        `never` are the labels that no answer had.
        """
        line = {"stage": stage, "step": step, "split": split}
        score = {"metrics": dict(metrics), "loss": loss, "rows": rows}
        self._write(line | score | ({"never_answered": list(never)} if never else {}))
        if stage != "final":
            self._draw(step, f"{split}/", dict(metrics) | {"loss": loss})
            self.progress.evaluation(split, metrics, loss)

    def cost(self, **amounts: int | float) -> None:
        """Note counts of the run (tokens, steps) for costs.json."""
        self._costs.note(**amounts)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Count the seconds of the block under `name`; those of earlier sittings are kept."""
        return self._costs.phase(name)

    def sync(self) -> None:
        """Bring all lines to the disk: a checkpoint must never know more than metrics.jsonl.

        May be called from another thread: lines were flushed when they were written.
        """
        os.fsync(self._file.fileno())
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Close the files and the progress line."""
        self._file.close()
        if self._board is not None:
            self._board.close()
        self.progress.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(_finite(line), ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def _draw(self, step: int, prefix: str, values: Mapping[str, float]) -> None:
        assert self._board is not None, "rewind opens a stage"
        self._board.write(step, prefix, values)


class _Board:
    """TensorBoard's event file of a stage; its own writer would hide errors in a thread."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{time.time():.6f}.tael.{os.getpid()}"
        self._file = (folder / name).open("ab")
        self._records = RecordWriter(self._file)
        self._event(file_version="brain.Event:2")
        # TensorBoard drops the points of earlier sittings from this step on.
        self._event(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, prefix: str, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [
            Summary.Value(tag=prefix + name, simple_value=value) for name, value in values.items()
        ]
        self._event(step=step, summary=Summary(value=points))

    def flush(self) -> None:
        self._records.flush()

    def close(self) -> None:
        self._file.close()

    def _event(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **fields).SerializeToString())


def _finite(value: Any) -> Any:
    """Return `value` with null for what JSON cannot say (a metric may be undefined)."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole_lines(path: Path) -> Iterator[str]:
    """Yield the lines that a killed process finished writing."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield line
