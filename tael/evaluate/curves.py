"""The curves of a run: loss and metric over the steps, as charts with their numbers behind."""

from collections.abc import Mapping, Sequence

from tael.evaluate.evidence import Evidence, Findings, curve
from tael.evaluate.wording import named
from tael.page.chart import lines
from tael.page.page import Html, figure, table
from tael.page.words import Words

__all__ = ["Drawn", "draw_curves", "thin"]

Points = list[tuple[float, float]]
Drawn = dict[str, tuple[str, Html]]  # file name without ending → (svg, figure for the page)

_MOST = 120  # points of a drawn line; more are averaged in groups


def draw_curves(evidence: Evidence, findings: Findings) -> Drawn:
    """Draw what the history holds: training loss, dev metric, pretraining loss."""
    say, metric = evidence.say, evidence.metric
    name = named(say, metric)
    since = findings.diagnosis.since if findings.diagnosis else None
    marks = [] if since is None else [(since, say("dev loss turns"))]
    wanted: list[tuple[str, str, str, dict[str, Points]]] = [
        ("loss", say("Loss while training"), say("loss"), _splits(evidence, "train", "loss")),
        ("metric", say("{metric} while training", metric=name), name,
         _splits(evidence, "train", metric)),
        ("pretrain-loss", say("Loss while pretraining"), say("loss"),
         _splits(evidence, "pretrain", "loss")),
    ]  # fmt: skip
    drawn: Drawn = {}
    for file, title, y, series in wanted:
        if not series:
            continue
        here = marks if file == "loss" else []
        title = title[0].upper() + title[1:]
        svg = lines(series, x=say("optimiser step"), y=y, title=title, marks=here)
        shown = figure(svg, _caption(say, file, series), _numbers(say, series), say("The numbers"))
        drawn[file] = (svg, shown)
    return drawn


def thin(points: Sequence[tuple[float, float]], most: int = _MOST) -> Points:
    """Average neighbours so that at most `most` points remain; the first and last steps stay."""
    if len(points) <= most:
        return list(points)
    size = -(-len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    middle = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    middle[0] = (points[0][0], middle[0][1])
    middle[-1] = (points[-1][0], middle[-1][1])
    return middle


def _splits(evidence: Evidence, stage: str, name: str) -> dict[str, Points]:
    say = evidence.say
    found = {
        say("dev"): thin(curve(evidence, stage, "dev", name)),
        say("train"): thin(curve(evidence, stage, "train", name)),
        say("train, each step"): thin(curve(evidence, stage, None, name)),
    }
    return {series: points for series, points in found.items() if points}


def _caption(say: Words, file: str, series: Mapping[str, Points]) -> str:
    text = say("Train and dev part where learning turns into learning by heart.")
    if file == "pretrain-loss":
        text = say("Masked-language-model loss in nats per hidden token.")
    if any(len(points) == _MOST for points in series.values()):
        text += say(" Each point is the mean of some neighbouring steps.")
    return text


def _numbers(say: Words, series: Mapping[str, Points]) -> Html:
    rows = [(name, f"{x:,.0f}", f"{y:.4f}") for name, points in series.items() for x, y in points]
    return table((say("line"), say("step"), say("value")), rows, numeric={1, 2})
