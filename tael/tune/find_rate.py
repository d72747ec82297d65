"""The rate range test: a short run whose rate grows all the way, and what its loss says.

Smith 2017, Cyclical Learning Rates for Training Neural Networks, arXiv:1506.01186, section 3.3. The
trial is a run of the recipe itself in a folder of its own, only with another schedule, so whatever
the recipe says of data, optimiser and arithmetic is in it; and nothing of it is kept.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tael.errors import RunError
from tael.page.chart import lines
from tael.page.page import Section, figure, paragraph, render, table
from tael.page.words import words
from tael.recipe.schema import Recipe
from tael.train.train import train

__all__ = ["Found", "find_rate", "page", "suggest"]

_LOW, _HIGH = 1e-6, 1.0  # rates of the first step and of the last
_SGD = 10.0  # plain gradients want larger ones
_MEMORY = 0.8  # of the running mean of the loss
_WORSE = 1.5  # times the lowest loss so far: what comes later says nothing


@dataclass(frozen=True, slots=True)
class Found:
    """What the trial saw: the loss at each rate, smoothed too; `suggested` is the rate to take."""

    stage: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    suggested: float
    lowest: float  # the rate at the lowest smoothed loss: more is too fast

    def lines(self) -> list[str]:
        """Return what was found for a reader, the answer first."""
        return [
            f"{self.stage}.rate={self.suggested:.1e}: the loss falls fastest there "
            f"({len(self.rates)} steps from {self.rates[0]:.0e} to {self.rates[-1]:.0e})",
            f"above {self.lowest:.1e} it rises again",
        ]


def find_rate(recipe: Recipe, steps: int = 100, *, progress: bool = True) -> Found:
    """Try `steps` rates, each ten-fold many times over, from the start of `recipe`.

    The stage is pretraining where the recipe has it. Raises what training raises, and RunError
    where the loss never falls.
    """
    stage = "pretrain" if recipe.pretrain.steps else "train"
    with TemporaryDirectory(prefix="tael-find-rate-") as folder:
        run = Path(folder) / "run"
        try:
            train(_trial(recipe, stage, steps), run, progress=progress)
        except RunError:  # the loss left all bounds: what was seen until then is what is wanted
            if not (run / "metrics.jsonl").exists():
                raise
        seen = [
            (line["rate"], line["loss"])
            for line in map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
            if line["stage"] == stage and "rate" in line
        ]
    return suggest(stage, [rate for rate, _ in seen], [loss for _, loss in seen])


def suggest(stage: str, rates: Sequence[float], losses: Sequence[float]) -> Found:
    """Return the rate at which the smoothed loss falls fastest, over the logarithm of the rate.

    RunError where it never falls.
    """
    smooth, mean = [], 0.0
    for step, loss in enumerate(losses):
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        smooth.append(mean / (1 - _MEMORY ** (step + 1)))
        if smooth[-1] > _WORSE * min(smooth):
            break
    lowest = min(range(len(smooth)), key=smooth.__getitem__, default=0)
    if lowest < 2:
        raise RunError(
            f"{stage}: the loss falls at no rate from {_LOW} on; look at the data "
            "(`tael data RECIPE --show 5`)"
        )
    logs = [math.log(rate) for rate in rates]
    slopes = [
        (smooth[n + 1] - smooth[n - 1]) / (logs[n + 1] - logs[n - 1]) for n in range(1, lowest)
    ]
    steepest = 1 + min(range(len(slopes)), key=slopes.__getitem__)
    kept = len(smooth)
    return Found(
        stage,
        tuple(rates[:kept]),
        tuple(losses[:kept]),
        tuple(smooth),
        rates[steepest],
        rates[lowest],
    )


def page(recipe: Recipe, found: Found) -> str:
    """Return one HTML page: loss against rate, and the numbers behind it."""
    say = words("tune", recipe.lang)
    series = {
        say("loss"): list(zip(found.rates, found.losses, strict=True)),
        say("smoothed"): list(zip(found.rates, found.smooth, strict=True)),
    }
    rate = f"{found.suggested:.1e}"
    chart = lines(
        series,
        x=say("learning rate"),
        y=say("loss"),
        title=say("Loss at each rate"),
        marks=[(found.suggested, rate)],
        log_x=True,
    )
    rows = [
        [f"{at:.2e}", f"{loss:.4f}", f"{mean:.4f}"]
        for at, loss, mean in zip(found.rates, found.losses, found.smooth, strict=True)
    ]
    headings = [say("learning rate"), say("loss"), say("smoothed")]
    behind = table(headings, rows, numeric=(0, 1, 2))
    caption = say(
        "One step a rate, {steps} steps; the lowest loss at {lowest}.",
        steps=len(found.rates),
        lowest=f"{found.lowest:.1e}",
    )
    how = say("The trial was a run of its own: no run and no recipe was changed.")
    return render(
        say("{name}: which learning rate", name=recipe.name),
        say("{stage}.rate: {rate}; the loss falls fastest there.", stage=found.stage, rate=rate),
        [Section(say("Evidence"), figure(chart, caption, behind, say("The numbers")))],
        first=paragraph(how),
        lang=recipe.lang,
    )


def _trial(recipe: Recipe, stage: str, steps: int) -> Recipe:
    """Return the recipe of the trial: the same, but for how long and how fast."""
    high = _SGD if getattr(recipe, stage).optimizer == "sgd" else _HIGH
    growth: dict[str, Any] = {
        "steps": steps,
        "rate": _LOW,
        "warmup": 0.0,
        "schedule": "exponential",
        "factor": (high / _LOW) ** (1 / max(1, steps - 1)),
        "factor_steps": 1,
        "staircase": False,
        "save_every": steps + 1,
        "on_bad_step": "stop",
    }
    short = {"epochs": None, "evaluations": 1, "patience": 0}
    if stage == "train":
        return recipe.model_copy(update={"train": recipe.train.model_copy(update=growth | short)})
    after = short | {"steps": 1}
    return recipe.model_copy(
        update={
            "pretrain": recipe.pretrain.model_copy(update=growth),
            "train": recipe.train.model_copy(update=after),
        }
    )
