"""The learning rate over a run as a picture, for a terminal and as a page; loads no torch."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tael.page.chart import lines
from tael.page.page import Section, figure, render, table
from tael.page.words import words
from tael.recipe.schema import Recipe, Stage
from tael.train.schedule import rate_at

__all__ = ["Curve", "curves", "drawn", "page"]

_WIDTH, _HEIGHT = 64, 8  # characters of a terminal
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_POINTS = 500  # of the chart
_ROWS = 12  # of the table behind it


@dataclass(frozen=True, slots=True)
class Curve:
    """The rate of every step of one stage."""

    stage: str
    schedule: str
    rates: tuple[float, ...]

    @property
    def peak(self) -> int:
        """The first step with the highest rate, from 1."""
        return max(range(len(self.rates)), key=self.rates.__getitem__) + 1


def curves(recipe: Recipe, train_rows: int) -> list[Curve]:
    """Return the curve of each stage that `recipe` has, in their order.

    `train_rows` decides how many steps an epoch has.
    """
    train = recipe.train
    epoch = math.ceil(train_rows / train.batch)
    steps = train.steps or math.ceil((train.epochs or 3) * epoch)
    found = [_curve("train", train, steps)]
    if recipe.pretrain.steps:
        found.insert(0, _curve("pretrain", recipe.pretrain, recipe.pretrain.steps))
    return found


def drawn(curve: Curve) -> Iterator[str]:
    """Yield the lines of a picture made of characters: a heading, then time to the right."""
    rates, top = curve.rates, max(curve.rates)
    yield (
        f"{curve.stage}: {len(rates):,} steps, {curve.schedule}: peak {top:.3g} at step "
        f"{curve.peak:,}, {rates[-1]:.3g} at the last"
    )
    width = min(_WIDTH, len(rates))
    heights = [
        round(8 * _HEIGHT * max(rates[_bin(column, width, rates)]) / top) for column in range(width)
    ]
    label = f"{top:.2g}"
    for row in reversed(range(_HEIGHT)):
        left = label if row == _HEIGHT - 1 else "0" if row == 0 else ""
        bars = "".join(_EIGHTHS[min(8, max(0, height - 8 * row))] for height in heights)
        yield f"{left:>{len(label)}} │{bars}".rstrip()


def page(recipe: Recipe, found: Sequence[Curve]) -> str:
    """Return one HTML page with a chart for each stage and its numbers behind it."""
    say = words("train", recipe.lang)
    sections = [
        Section(
            say("Stage {stage}", stage=curve.stage),
            figure(
                lines(
                    {curve.stage: [(at + 1, curve.rates[at]) for at in _chosen(curve, _POINTS)]},
                    x=say("step"),
                    y=say("learning rate"),
                    title=say("Rate of each step: {schedule}", schedule=curve.schedule),
                ),
                say(
                    "{steps} steps; the peak, {peak}, at step {at}.",
                    steps=f"{len(curve.rates):,}",
                    peak=f"{max(curve.rates):.3g}",
                    at=f"{curve.peak:,}",
                ),
                table(
                    [say("step"), say("learning rate")],
                    [[f"{at + 1:,}", f"{curve.rates[at]:.4g}"] for at in _chosen(curve, _ROWS)],
                    numeric=(0, 1),
                ),
                say("The numbers"),
            ),
        )
        for curve in found
    ]
    return render(
        say("{name}: the learning rate", name=recipe.name),
        say("How fast the model learns at each step of the recipe."),
        sections,
        lang=recipe.lang,
    )


def _curve(name: str, stage: Stage, steps: int) -> Curve:
    rates = tuple(rate_at(step, steps, stage) for step in range(steps))
    return Curve(name, stage.schedule, rates)


def _bin(column: int, width: int, rates: Sequence[float]) -> slice:
    """Return the steps that one column of characters stands for, one at least."""
    return slice(column * len(rates) // width, (column + 1) * len(rates) // width)


def _chosen(curve: Curve, most: int) -> list[int]:
    """Return at most about `most` steps, spread evenly, with the first, the last and the peak."""
    steps = len(curve.rates)
    spread = {round(n * (steps - 1) / max(1, most - 1)) for n in range(most)}
    return sorted(spread | {curve.peak - 1})
