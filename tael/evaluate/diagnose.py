"""Does the model over-fit, and what would help: read from train, dev and the curves, in words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tael.evaluate.score import Score
from tael.evaluate.wording import LONG_NAMES, figure, is_share
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
) -> Diagnosis:
    """Judge the fit from the scores of train and dev and the curves of the training stage.

    Over-fitting is named when train is better than dev by 5 points, or by 2 and beyond dev's
    interval. `floor` is what the majority answer scores on train. `recipe` gives the present values
    for the advice, as dotted keys.
    """
    sign = -1 if metric in LOWER_IS_BETTER else 1
    gap = sign * (train.value - dev.value)
    width = 1.0 if metric not in LOWER_IS_BETTER else max(abs(train.value), 1e-12)
    outside = train.value > dev.high if sign > 0 else train.value < dev.low
    since = _turn(dev_loss)
    known = recipe or {}
    apart = _apart(metric, train, dev, gap)
    if gap >= _ALWAYS * width or (gap >= _CLEAR * width and outside):
        return _over_fits(apart, gap, since, steps_per_epoch, known, sure=outside)
    if floor is not None and sign * (train.value - floor) < _LITTLE * width:
        why = (
            f"{apart} That is hardly better than always giving the most frequent answer "
            f"({figure(metric, floor)} on train): the model has not learnt the task."
        )
        return Diagnosis("learns too little", "it has hardly learnt the task", why, gap, since,
                         _more_knobs(known))  # fmt: skip
    climb = _climb(dev_metric, sign)
    if climb >= _CLIMB * width:
        why = (
            f"{apart} Dev was still climbing over the last third of the run, so it stopped before "
            "it had finished."
        )
        return Diagnosis("still learning", "it was still learning when it stopped", why, gap, since,
                         _more_knobs(known))  # fmt: skip
    why = f"{apart} No over-fitting to speak of."
    if since is not None:
        why += (
            f" Dev loss does rise from {_when(since, steps_per_epoch)} on, so longer training "
            "would make the scores over-confident before it makes them wrong."
        )
    return Diagnosis("fits", "no over-fitting", why, gap, since, ())


def _over_fits(
    apart: str,
    gap: float,
    since: float | None,
    steps_per_epoch: float | None,
    recipe: Mapping[str, Any],
    *,
    sure: bool,
) -> Diagnosis:
    why = f"{apart} It has learnt train by heart to a part that does not carry over."
    short = "it over-fits"
    if since is not None:
        when = _when(since, steps_per_epoch)
        why += f" Dev loss is lowest at {when} and rises after it."
        short += f" from {when}"
    if not sure:
        why += " Dev is small, so part of the gap may be chance: a larger dev would tell."
    return Diagnosis("over-fits", short, why, gap, since, _less_knobs(recipe, since))


def _apart(metric: str, train: Score, dev: Score, gap: float) -> str:
    name = LONG_NAMES.get(metric, metric)
    unit = f"{100 * abs(gap):.1f} points" if is_share(metric) else f"{abs(gap):.3f}"
    where = "better on train" if gap > 0 else "better on dev"
    return (
        f"{figure(metric, train.value)} {name} on train against {figure(metric, dev.value)} on "
        f"dev: {unit} {where}."
    )


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


def _when(step: float, steps_per_epoch: float | None) -> str:
    if not steps_per_epoch:
        return f"step {step:,.0f}"
    return f"epoch {step / steps_per_epoch:.1f}".removesuffix(".0")


def _less_knobs(recipe: Mapping[str, Any], since: float | None) -> tuple[str, ...]:
    now = _now(recipe)
    patience = ", or train.patience=3 to stop when dev stops gaining" if since is not None else ""
    return (
        f"{now('train.epochs')}: fewer passes over train{patience}",
        f"{now('model.dropout')}: try 0.2; {now('model.droppath')}: try 0.1",
        f"{now('train.decay')}: try 0.1; {now('train.label_smoothing')}: try 0.1",
        f"{now('train.rate')}: half of it, most of all when starting from a checkpoint",
        f"{now('model.preset')}: a smaller one has less room to learn by heart",
        f"more labelled rows in data.train, or more text in pretrain.text and more "
        f"{now('pretrain.steps')}: the surest help",
    )


def _more_knobs(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    now = _now(recipe)
    return (
        f"{now('train.epochs')}: twice as many",
        f"{now('train.rate')}: two or three times higher when training from scratch",
        f"{now('pretrain.steps')}: more, or model.from with a pretrained checkpoint",
        f"{now('model.preset')}: a larger one; {now('model.dropout')}: less",
    )


def _now(recipe: Mapping[str, Any]) -> Callable[[str], str]:
    """Return how a key is named: with its present value where that is known."""
    return lambda key: key if recipe.get(key) is None else f"{key} (now {recipe[key]})"
