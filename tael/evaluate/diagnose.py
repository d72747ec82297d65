"""Does the model over-fit, and what would help: read from train, dev and the curves, in words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tael.evaluate.score import Score
from tael.evaluate.wording import distance, figure, named, speaking
from tael.page.words import Words
from tael.task.metrics import LOWER_IS_BETTER

__all__ = ["Curve", "Diagnosis", "diagnose"]

Curve = Sequence[tuple[float, float]]  # (step, value), steps ascending

Verdict = Literal["over-fits", "still learning", "learns too little", "fits"]

_ALWAYS = 0.05  # a gap from train to dev that is named whatever its interval
_CLEAR = 0.02  # the least gap that is named where it is beyond chance
_RISE = 0.02  # share by which dev loss must rise above its lowest before a turn is named
_LITTLE = 0.05  # a train score that is no further above the majority has learnt nothing to speak of
_CLIMB = 0.005  # gain of dev over the last third of the run that says: not finished


@dataclass(frozen=True)
class Diagnosis:
    """What the curves and the gap say; `short` ends the report's first sentence.

    `gap` is train minus dev in the metric (positive: better on train); `since` is the step from
    which dev loss rises, None where it does not; `knobs` are recipe keys with what to try.
    """

    verdict: Verdict
    short: str
    explanation: str
    gap: float
    since: float | None
    knobs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def diagnose(
    metric: str,
    train: Score,
    dev: Score,
    *,
    dev_loss: Curve = (),
    dev_metric: Curve = (),
    floor: float | None = None,
    steps_per_epoch: float | None = None,
    recipe: Mapping[str, Any] | None = None,
    say: Words | None = None,
) -> Diagnosis:
    """Judge the fit from the scores of train and dev and the curves of the training stage.

    Over-fitting is named when train is better than dev by 5 points, or by 2 and beyond dev's
    interval. `floor` is what the majority answer scores on train. `recipe` gives the present values
    for the advice, as dotted keys; `say` the language, English where it is None.
    """
    say = say or speaking("en")
    sign = -1 if metric in LOWER_IS_BETTER else 1
    gap = sign * (train.value - dev.value)
    width = 1.0 if metric not in LOWER_IS_BETTER else max(abs(train.value), 1e-12)
    outside = train.value > dev.high if sign > 0 else train.value < dev.low
    since = _turn(dev_loss)
    known = recipe or {}
    apart = _apart(say, metric, train, dev, gap)
    if gap >= _ALWAYS * width or (gap >= _CLEAR * width and outside):
        when = None if since is None else _when(say, since, steps_per_epoch)
        short, why = _over_fits(say, when, sure=outside)
        knobs = _less_knobs(say, known, since)
        return Diagnosis("over-fits", short, apart + why, gap, since, knobs)
    if floor is not None and sign * (train.value - floor) < _LITTLE * width:
        why = apart + say(
            " That is hardly better than always giving the most frequent answer ({floor} on "
            "train): the model has not learnt the task.",
            floor=figure(say, metric, floor),
        )
        short, knobs = say("it has hardly learnt the task"), _more_knobs(say, known)
        return Diagnosis("learns too little", short, why, gap, since, knobs)
    climb = _climb(dev_metric, sign)
    if climb >= _CLIMB * width:
        why = apart + say(
            " Dev was still climbing over the last third of the run, so it stopped before it had "
            "finished."
        )
        short, knobs = say("it was still learning when it stopped"), _more_knobs(say, known)
        return Diagnosis("still learning", short, why, gap, since, knobs)
    why = apart + say(" No over-fitting to speak of.")
    if since is not None:
        why += say(
            " Dev loss does rise from {when} on, so longer training would make the scores "
            "over-confident before it makes them wrong.",
            when=_when(say, since, steps_per_epoch),
        )
    return Diagnosis("fits", say("no over-fitting"), why, gap, since, ())


def _over_fits(say: Words, when: str | None, *, sure: bool) -> tuple[str, str]:
    why = say(" It has learnt train by heart to a part that does not carry over.")
    short = say("it over-fits")
    if when is not None:
        why += say(" Dev loss is lowest at {when} and rises after it.", when=when)
        short = say("it over-fits from {when}", when=when)
    if not sure:
        why += say(" Dev is small, so part of the gap may be chance: a larger dev would tell.")
    return short, why


def _apart(say: Words, metric: str, train: Score, dev: Score, gap: float) -> str:
    values = {
        "train": figure(say, metric, train.value),
        "dev": figure(say, metric, dev.value),
        "metric": named(say, metric),
        "gap": distance(say, metric, gap),
    }
    if gap > 0:
        return say("{train} {metric} on train against {dev} on dev: {gap} better on train.",
                   **values)  # fmt: skip
    return say("{train} {metric} on train against {dev} on dev: {gap} better on dev.", **values)


def _turn(dev_loss: Curve) -> float | None:
    """Return the step of the lowest dev loss when it has risen for good after it."""
    if len(dev_loss) < 3:
        return None
    lowest = min(range(len(dev_loss)), key=lambda index: dev_loss[index][1])
    after = [value for _, value in dev_loss[lowest + 1 :]]
    least = dev_loss[lowest][1]
    # The last evaluation must be high too: a single bump in between is noise.
    return dev_loss[lowest][0] if after and after[-1] > least * (1 + _RISE) else None


def _climb(dev_metric: Curve, sign: int) -> float:
    """Return how much the best of the last third of the evaluations gained on those before."""
    if len(dev_metric) < 4:
        return 0.0
    cut = len(dev_metric) - max(1, len(dev_metric) // 3)
    before = max(sign * value for _, value in dev_metric[:cut])
    return max(sign * value for _, value in dev_metric[cut:]) - before


def _when(say: Words, step: float, steps_per_epoch: float | None) -> str:
    if not steps_per_epoch:
        return say("step {step}", step=f"{step:,.0f}")
    return say("epoch {epoch}", epoch=f"{step / steps_per_epoch:.1f}".removesuffix(".0"))


def _less_knobs(say: Words, recipe: Mapping[str, Any], since: float | None) -> tuple[str, ...]:
    now = _now(say, recipe)
    epochs = say("{epochs}: fewer passes over train", epochs=now("train.epochs"))
    if since is not None:
        epochs += say(", or train.patience=3 to stop when dev stops gaining")
    smaller = say(
        "{preset}: a smaller one has less room to learn by heart", preset=now("model.preset")
    )
    return (
        epochs,
        say("{dropout}: try 0.2; {droppath}: try 0.1",
            dropout=now("model.dropout"), droppath=now("model.droppath")),
        say("{decay}: try 0.1; {smoothing}: try 0.1",
            decay=now("train.decay"), smoothing=now("train.label_smoothing")),
        say("{rate}: half of it, most of all when starting from a checkpoint",
            rate=now("train.rate")),
        *(() if recipe.get("model.from") else (smaller,)),  # a checkpoint brings its own sizes
        say("more labelled rows in data.train, or more text in pretrain.text and more {steps}: the "
            "surest help", steps=now("pretrain.steps")),
    )  # fmt: skip


def _more_knobs(say: Words, recipe: Mapping[str, Any]) -> tuple[str, ...]:
    now = _now(say, recipe)
    return (
        say("{epochs}: twice as many", epochs=now("train.epochs")),
        say("{rate}: two or three times higher when training from scratch", rate=now("train.rate")),
        say("{steps}: more, or model.from with a pretrained checkpoint",
            steps=now("pretrain.steps")),
        say("{preset}: a larger one; {dropout}: less",
            preset=now("model.preset"), dropout=now("model.dropout")),
    )  # fmt: skip


def _now(say: Words, recipe: Mapping[str, Any]) -> Callable[[str], str]:
    """Return how a key is named: with its present value where that is known."""
    return lambda key: (
        key if recipe.get(key) is None else say("{key} (now {value})", key=key, value=recipe[key])
    )
