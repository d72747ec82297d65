"""The one line a person watches: loss, real tokens a second, time left, money spent."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

__all__ = ["Bar", "Lines", "Progress", "Quiet", "make_progress"]

_EVERY = 30.0  # seconds between two plain lines


class Progress(Protocol):
    """What the record of a run tells the person who waits."""

    def begin(self, stage: str, step: int, steps: int) -> None:
        """Show that `stage` starts at `step` of `steps`."""

    def step(self, step: int, steps: int, values: Mapping[str, float], money: float) -> None:
        """Show one optimiser step."""

    def evaluation(self, split: str, metrics: Mapping[str, float], loss: float) -> None:
        """Show a score."""

    def work(self, stage: str, texts: int, done: int, total: int) -> None:
        """Show how far the data is: texts so far, bytes `done` of `total`; 0 begins a stage."""

    def say(self, text: str) -> None:
        """Show one line."""

    def close(self) -> None:
        """Leave the terminal as it was found."""


def make_progress(shown: bool, currency: str) -> Progress:
    """Return a bar on a terminal, sparse lines elsewhere, nothing where it is not wanted."""
    if not shown:
        return Quiet()
    return Bar(currency) if sys.stderr.isatty() else Lines(currency)


class Quiet:
    """Says nothing."""

    def begin(self, stage: str, step: int, steps: int) -> None:
        """Say nothing."""

    def step(self, step: int, steps: int, values: Mapping[str, float], money: float) -> None:
        """Say nothing."""

    def evaluation(self, split: str, metrics: Mapping[str, float], loss: float) -> None:
        """Say nothing."""

    def work(self, stage: str, texts: int, done: int, total: int) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


class _Figures:
    """Smooths the figures of a stage into the text behind the bar."""

    def __init__(self, currency: str) -> None:
        self.currency = currency
        self.begin("")

    def begin(self, stage: str) -> None:
        self.stage, self.score = stage, ""
        self._loss = self._seconds = self._tokens = self._weight = 0.0

    def add(self, values: Mapping[str, float]) -> None:
        # Means over about the last 20 steps: one step's loss is noise.
        self._weight = 0.95 * self._weight + 0.05
        share = 0.05 / self._weight
        self._loss += share * (values["loss"] - self._loss)
        self._seconds += share * (values["seconds"] - self._seconds)
        self._tokens += share * (values["tokens"] - self._tokens)

    def text(self, left: int, money: float) -> str:
        speed = self._tokens / max(self._seconds, 1e-9)
        parts = [
            f"loss {self._loss:.3f}",
            f"{speed:,.0f} tokens/s",
            f"{_span(left * self._seconds)} left",
            f"{money:.4f} {self.currency}",
        ]
        return " · ".join([*parts, self.score] if self.score else parts)

    def evaluate(self, split: str, metrics: Mapping[str, float], loss: float) -> None:
        if split == "dev":
            name, value = next(iter(metrics.items()), ("loss", loss))
            self.score = f"dev {name} {value:.3f}"


class _Rate:
    """How fast a stage of the data goes, and what is left of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()

    def text(self, stage: str, texts: int, done: int, total: int) -> str:
        if done == 0:
            self._since = self._clock()
            return ""
        seconds = max(self._clock() - self._since, 1e-9)
        left = seconds * (total - done) / done
        speed = f"{texts / seconds:,.0f} texts/s · {done / seconds / 1e6:.1f} MB/s"
        return f"{speed} · {_span(left)} left"


class _Done(ProgressColumn):
    """Steps, or megabytes."""

    def render(self, task: Task) -> Text:
        """Return what is done and what there is in all."""
        if task.fields.get("bytes"):
            return Text(f"{task.completed / 1e6:.0f}/{(task.total or 0) / 1e6:.0f} MB")
        return Text(f"{task.completed:.0f}/{task.total or 0:.0f}")


class Lines:
    """A plain line now and then, for logs and pipes."""

    def __init__(self, currency: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._figures = _Figures(currency)
        self._rate = _Rate(clock)
        self._clock = clock
        self._last = clock()

    def begin(self, stage: str, step: int, steps: int) -> None:
        """Print where the stage starts."""
        self._figures.begin(stage)
        self._last = self._clock()
        self.say(f"{stage}: {steps} steps" + (f", going on after step {step}" if step else ""))

    def step(self, step: int, steps: int, values: Mapping[str, float], money: float) -> None:
        """Print a line every half minute, and the last one."""
        self._figures.add(values)
        if step == steps or self._clock() - self._last >= _EVERY:
            self._last = self._clock()
            text = self._figures.text(steps - step, money)
            self.say(f"{self._figures.stage}: {step}/{steps} · {text}")

    def evaluation(self, split: str, metrics: Mapping[str, float], loss: float) -> None:
        """Keep the dev score for the next line."""
        self._figures.evaluate(split, metrics, loss)

    def work(self, stage: str, texts: int, done: int, total: int) -> None:
        """Print a line every half minute."""
        figures = self._rate.text(stage, texts, done, total)
        if done and self._clock() - self._last >= _EVERY:
            self._last = self._clock()
            self.say(f"{stage}: {done / max(1, total):.0%} · {figures}")

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False)

    def close(self) -> None:
        """Do nothing: every line is out."""


class Bar:
    """One moving line on a terminal."""

    def __init__(self, currency: str) -> None:
        self._figures = _Figures(currency)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            _Done(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
        )
        self._rate = _Rate()
        self._task: TaskID | None = None
        self._data: TaskID | None = None

    def begin(self, stage: str, step: int, steps: int) -> None:
        """Open the line of a stage."""
        self._figures.begin(stage)
        self._task = self._bar.add_task(stage, total=steps, completed=step, figures="")
        self._bar.start()

    def step(self, step: int, steps: int, values: Mapping[str, float], money: float) -> None:
        """Move the bar."""
        assert self._task is not None, "begin comes first"
        self._figures.add(values)
        text = self._figures.text(steps - step, money)
        self._bar.update(self._task, completed=step, figures=text)

    def evaluation(self, split: str, metrics: Mapping[str, float], loss: float) -> None:
        """Show the dev score behind the bar from now on."""
        self._figures.evaluate(split, metrics, loss)

    def work(self, stage: str, texts: int, done: int, total: int) -> None:
        """Move the bar of a stage of the data."""
        figures = self._rate.text(stage, texts, done, total)
        if done == 0:
            self._data = self._bar.add_task(stage, total=total, bytes=True, figures="")
            self._bar.start()
        elif self._data is not None:
            self._bar.update(self._data, completed=done, figures=figures)

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Stop drawing."""
        self._bar.stop()


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
