"""May a score be read as a probability? The calibration of the answers, drawn and in words."""

from collections.abc import Sequence

from tael.evaluate.answered import Split
from tael.evaluate.score import Score
from tael.evaluate.wording import interval
from tael.page import chart, page
from tael.page.page import Html
from tael.page.words import Words
from tael.task.metrics import calibration

__all__ = ["calibration_section"]

Bins = Sequence[tuple[float, float, int]]  # mean confidence, share right, answers


def calibration_section(say: Words, part: Split, error: Score) -> Html:
    """Return the calibration error `error` of the answers in words, with the reliability chart."""
    bins = calibration(part.answers, part.references)
    rows = [(f"{c:.3f}", f"{r:.3f}", f"{count:,}") for c, r, count in bins]
    text = say(
        "The expected calibration error is {error} ({ends}). ",
        error=f"{error.value:.3f}", ends=interval("ece", error),
    )  # fmt: skip
    headings = (say("mean confidence"), say("share right"), say("answers"))
    svg = chart.reliability(
        bins,
        title=say("Reliability"),
        x=say("confidence of the answer"),
        y=say("share that was right"),
        names=(say("perfect"), say("this model")),
    )
    caption = say("Below the dashed line it is too sure; a dot's size is the number of answers.")
    behind = page.table(headings, rows, numeric={0, 1, 2})
    shown = page.figure(svg, caption, behind, say("The numbers"))
    return page.grid(page.paragraph(text + _leaning(say, bins, error)), shown)


def _leaning(say: Words, bins: Bins, error: Score) -> str:
    """Return in words whether a score may be read as a probability."""
    total = sum(count for _, _, count in bins)
    sure = sum(confidence * count for confidence, _, count in bins) / total
    right = sum(share * count for _, share, count in bins) / total
    text = say(
        "On average it is {sure} sure and {right} right: ",
        sure=say.percent(sure), right=say.percent(right),
    )  # fmt: skip
    if error.low < 0.03 and abs(sure - right) < 0.02:
        return text + say("its scores may be read as probabilities.")
    help_ = say(" Fewer epochs or train.label_smoothing would help.")
    if sure - right >= 0.02:
        return text + say("it is too sure of itself. Read a score as an order only.") + help_
    if right - sure >= 0.02:
        return text + say("it is too modest. Read a score as an order only.")
    return text + say("right as a whole, too sure in one place and too modest in another.") + help_
