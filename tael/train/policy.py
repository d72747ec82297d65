"""What becomes of the bad steps of a stage: the recipe's `on_bad_step`.

stop      the run ends with one line
skip      nothing is learned from the step
rollback  the weights are those of the last regular checkpoint again; nothing is learned from the
          steps since, whose batches led there, and the run goes on behind them

Each step has its data, its rate and its number whatever became of those before it, and a regular
checkpoint is one of a step that `save_every` divides: a resumed run decides alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tael.model.batch import Batch
from tael.recipe.schema import Stage
from tael.train import fault
from tael.train.checkpoint import Position
from tael.train.fault import Fault
from tael.train.seeds import mix
from tael.train.track import Track

__all__ = ["Policy"]


class Policy:
    """The bad steps of `stage`, called `name`, of the run whose record is `track`."""

    def __init__(self, name: str, stage: Stage, track: Track) -> None:
        self._name, self._stage, self._track = name, stage, track

    def faults(self, position: Position, losses: Sequence[float], norm: float) -> Fault | None:
        """Return what is wrong with the step after `position`, or None."""
        return fault.find_fault(losses, norm, position.losses, self._stage.spike)

    def meet(
        self,
        found: Fault,
        position: Position,
        window: Sequence[Batch],
        places: Callable[[int], Sequence[str]],
        measured: Mapping[str, Any],
    ) -> Position:
        """Write the step after `position` aside, say it, and return the position behind it.

        `measured` are its `losses` by micro-batch and what else is known of it.

        Raises RunError where the policy is to stop, or where one step after the other is bad.
        """
        after = replace(
            position, step=position.step + 1, bad=position.bad + 1, bad_row=position.bad_row + 1
        )
        path = fault.keep_window(
            self._track.folder / "bad_steps" / self._name,
            found,
            window,
            places,
            stage=self._name,
            step=after.step,
            seed=mix(position.seed, position.step),
            policy=self._stage.on_bad_step,
            **measured,
        )
        if self._stage.on_bad_step == "stop":
            raise fault.stopped_by(self._name, after.step, found, places, path)
        if error := fault.too_many(self._name, after.step, found, after.bad_row, path):
            raise error
        self._tell(found, after, path)
        return after

    def base(self, step: int) -> int | None:
        """Return the step whose weights come back after a bad step `step`; None: those stay."""
        if self._stage.on_bad_step != "rollback":
            return None
        return (step - 1) // self._stage.save_every * self._stage.save_every

    def _tell(self, found: Fault, after: Position, path: Path) -> None:
        base = self.base(after.step)
        done = "nothing is learned from it"
        if base is not None:
            done = f"back to the weights of step {base}, on with step {after.step + 1}"
            self._track.rewind(self._name, base)
            for step in range(base + 1, after.step):
                self._track.unlearned(self._name, step, f"undone: step {after.step} was bad")
        self._track.unlearned(self._name, after.step, found.what)
        self._track.bad(self._name, after.bad)
        self._track.progress.say(
            f"{self._name} step {after.step}: {found.what}; {done} (kept in {path})"
        )
