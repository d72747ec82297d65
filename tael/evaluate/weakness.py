"""Where a model is weak, for a reader: its worst slices, what careless writing costs, more data."""

from collections.abc import Sequence

from tael.evaluate.learning import Learning, Point
from tael.evaluate.robust import Drop, Negation, Robustness, Shown
from tael.evaluate.slices import LEAST, RARE, Slice
from tael.evaluate.wording import difference, distance, figure, is_share, named
from tael.page import chart, page
from tael.page.page import Html
from tael.page.words import Words

__all__ = [
    "fragile", "learning_section", "learnt", "robustness_section", "slices_section", "weak",
]  # fmt: skip

_LEARNERS = {"tfidf": "TF-IDF", "network": "the network"}
_KINDS = {
    "length": "length, characters",
    "source": "source",
    "column": "column",
    "label": "label",
    "rare words": "share of rare words",
}


def weak(say: Words, slices: Sequence[Slice]) -> list[str]:
    """Say which slices are worse than the rest beyond chance, the worst first."""
    worse = [one for one in slices if one.verdict == "worse" and one.difference is not None]
    return [
        say(
            "Weaker than elsewhere: {kind} {name}, {value} against {rest} on the rest ({rows} "
            "records).",
            kind=say(_KINDS[one.kind]),
            name=one.name,
            value=_value(say, one, one.value),
            rest=_value(say, one, one.value - (one.difference or 0.0)),
            rows=f"{one.rows:,}",
        )
        for one in sorted(worse, key=lambda one: -abs(one.difference or 0.0))
    ]


def fragile(say: Words, found: Sequence[Robustness]) -> list[str]:
    """Say which changes of the text cost a system quality beyond chance, the dearest first."""
    lines = []
    for one in found:
        worse = [d for d in one.drops if d.proved and d.change is not None and d.change.gain < 0]
        for drop in sorted(worse, key=lambda drop: drop.change.gain if drop.change else 0.0):
            assert drop.change is not None
            lines.append(
                say(
                    "{system}: {kind} cost {gap} {metric} ({rows} texts).",
                    system=one.system, kind=say(drop.kind), metric=named(say, one.metric),
                    gap=distance(say, one.metric, drop.change.difference), rows=f"{drop.rows:,}",
                )
            )  # fmt: skip
    return lines


def slices_section(say: Words, slices: Sequence[Slice], split: str) -> Html:
    """Return the table of slices, and in words those that are worse."""
    judged = sum(one.p is not None for one in slices)
    worse = weak(say, slices)
    if not judged:
        text = say("No slice has {least} records, so none is judged.", least=LEAST)
        return Html(page.note(text) + _slice_table(say, slices, split))
    if worse:
        lead = page.note(say("Some slices are worse than the rest."), "warn") + page.bullets(worse)
    else:
        lead = page.note(say("No slice is worse than the rest beyond chance."), "good")
    told = say(
        "Each slice is compared with all other records of {split} (Fisher's exact test; for "
        "numbers Welch's). p is corrected for the {count} slices judged (Holm). Below {least} "
        "records a slice is too small to be judged. A word is rare where train has it fewer than "
        "{rare} times; for Chinese, pairs of characters stand for words.",
        split=say(split), count=judged, least=LEAST, rare=RARE,
    )  # fmt: skip
    return Html(lead + _slice_table(say, slices, split) + page.paragraph(told))


def robustness_section(say: Words, found: Sequence[Robustness]) -> Html:
    """Return a table a system, what it costs in words, and samples of every kind of change."""
    first = found[0]
    told = say(
        "{rows} of {of} records were answered again with their text changed, each time about one "
        "word or character in ten. Difference: the metric after minus before on the texts that "
        "changed, in pairs, with its 95 % interval; p is corrected for all kinds (Holm).",
        rows=f"{first.rows:,}", of=f"{first.of:,}",
    )  # fmt: skip
    if first.homophones:
        told += say(
            " Homophones: {share} of the Chinese characters here have one in the table.",
            share=say.percent(first.homophones),
        )
    worse = fragile(say, found)
    lead = page.note(say("No kind of change costs quality beyond chance."), "good")
    if worse:
        lead = Html(
            page.note(say("Some kinds of change cost quality."), "warn") + page.bullets(worse)
        )
    parts = [lead, page.paragraph(told)]
    for one in found:
        parts += [page.subheading(one.system), _drop_table(say, one)]
        if one.negation is not None:
            parts.append(_negation(say, one.negation))
        parts.append(page.details(say("Samples, before and after"), _samples(say, one)))
    return Html("".join(parts))


def learning_section(say: Words, found: Sequence[Learning]) -> Html:
    """Return what the last doubling of the data gained, in words, as a chart and as a table."""
    first = found[0]
    series = {
        say(_LEARNERS[one.system]): [(float(p.rows), p.score.value) for p in one.points]
        for one in found
    }
    svg = chart.lines(
        series, x=say("training records"), y=named(say, first.metric), title=say("Learning curve")
    )
    rows = [
        (say(_LEARNERS[one.system]), say.percent(point.share, 0), f"{point.rows:,}",
         _point(say, first.metric, point), len(point.score.by_seed))
        for one in found for point in one.points
    ]  # fmt: skip
    headings = (say("learner"), say("share of train"), say("training records"),
                named(say, first.metric), say("draws"))  # fmt: skip
    table = page.table(headings, rows, numeric={1, 2, 3, 4})
    note = say(
        "Each part of train was drawn as often as the last column says. Intervals count both the "
        "draw of the part and the judged records; one draw alone says nothing of the former."
    )
    text = page.bullets([learnt(say, one) for one in found]) + page.paragraph(note)
    return page.grid(Html(text + table), page.figure(svg, "", ""))


def learnt(say: Words, found: Learning) -> str:
    """Say what twice the data gained, and carefully what that means for more of it."""
    effect, metric = found.doubling, found.metric
    values = {
        "system": say(_LEARNERS[found.system]),
        "metric": named(say, metric),
        "size": difference(metric, effect.value),
        "low": difference(metric, effect.low),
        "high": difference(metric, effect.high),
    }
    text = say("{system}: from 50 to 100 % of train {size} {metric} ({low} to {high})", **values)
    if is_share(metric):
        text = say(
            "{system}: from 50 to 100 % of train {size} points {metric} ({low} to {high})", **values
        )
    if not effect.proved:
        return text + say(": no gain is proved, so more data may not help.")
    if effect.gain > 0:
        return text + say(": more data would probably help.")
    return text + say(": more data made it worse; look for bad labels among the rows added.")


def _slice_table(say: Words, slices: Sequence[Slice], split: str) -> Html:
    rows: list[tuple[object, ...]] = []
    for one in slices:
        ends = _value(say, one, one.low), _value(say, one, one.high)
        apart, p = "–", "–"
        if one.difference is not None and one.p is not None:
            low, high = (_apart(one, x) for x in (one.difference_low, one.difference_high))
            apart = page.ranged(_apart(one, one.difference), f"{low} – {high}")
            p = _p(one.p)
        value = page.ranged(_value(say, one, one.value), " – ".join(ends))
        rows.append((say(_KINDS[one.kind]), one.name, f"{one.rows:,}", value, apart, p,
                     say(one.verdict)))  # fmt: skip
    right = say("share right") if not slices or _is_share(slices[0]) else say("mean absolute error")
    headings = (say("by"), say("slice"), say("records"), right, say("minus the rest"),
                say("p, corrected"), say("it is"))  # fmt: skip
    strong = {at for at, one in enumerate(slices) if one.verdict == "worse"}
    caption = say("Slices of {split}.", split=say(split))
    return page.table(headings, rows, numeric={2, 3, 4, 5}, strong=strong, caption=caption)


def _is_share(one: Slice) -> bool:
    return one.measure == "share right"


def _value(say: Words, one: Slice, value: float) -> str:
    return say.percent(value) if _is_share(one) else f"{value:.3g}"


def _apart(one: Slice, value: float | None) -> str:
    return difference("accuracy" if _is_share(one) else "mae", value or 0.0)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _drop_table(say: Words, found: Robustness) -> Html:
    changed = [drop for drop in found.drops if drop.rows]
    rows = [_drop_row(say, found.metric, drop) for drop in changed]
    name = named(say, found.metric)
    headings = (
        say("change"), say("texts changed"), say("{metric} before", metric=name),
        say("after"), say("difference"), say("p, corrected"), say("answers changed"), "",
    )  # fmt: skip
    strong = {at for at, drop in enumerate(changed) if drop.proved}
    table = page.table(headings, rows, numeric=set(range(1, 7)), strong=strong)
    idle = [say(drop.kind) for drop in found.drops if not drop.rows]
    if not idle:
        return table
    told = say("There was nothing to change for: {kinds}.", kinds=say(", ").join(idle))
    return Html(table + page.paragraph(told))


def _drop_row(say: Words, metric: str, drop: Drop) -> tuple[object, ...]:
    start = say(drop.kind), f"{drop.rows:,}"
    flipped = f"{drop.flipped:,}"
    if drop.change is None or drop.before is None or drop.after is None or drop.p is None:
        return (*start, "–", "–", "–", "–", flipped, say("too few to judge"))
    ends = f"{difference(metric, drop.change.low)} – {difference(metric, drop.change.high)}"
    verdict = say("within chance")
    if drop.proved:
        verdict = say("worse") if drop.change.gain < 0 else say("better")
    before, after = (figure(say, metric, value) for value in (drop.before, drop.after))
    change = page.ranged(difference(metric, drop.change.difference), ends)
    return (*start, before, after, change, _p(drop.p), flipped, verdict)


def _negation(say: Words, found: Negation) -> Html:
    if found.changed is None:
        few = say("Negation: only {rows} texts have a clause that the rules can negate; too few.",
                  rows=found.rows)  # fmt: skip
        return page.paragraph(few)
    ends = f"{100 * found.changed.low:.1f} – {100 * found.changed.high:.1f}"
    text = say(
        "Negation: with every clause negated that simple rules find, {share} of the answers change "
        "({ends}; {rows} texts).",
        share=say.percent(found.changed.value), ends=ends, rows=f"{found.rows:,}",
    )  # fmt: skip
    if found.confidence is not None:
        fall = found.confidence
        text += say(
            " The score of the answer before moves by {mean} ({low} to {high}).",
            mean=difference("ece", fall.value), low=difference("ece", fall.low),
            high=difference("ece", fall.high),
        )  # fmt: skip
    return page.paragraph(
        text
        + say(
            " Where labels tell what a text says of something, a model that reads should often "
            "change its answer; where they tell its topic, it should not."
        )
    )


def _samples(say: Words, found: Robustness) -> Html:
    shown = [(drop.kind, drop.shown) for drop in found.drops]
    shown += [("negation", found.negation.shown)] if found.negation else []
    rows = [
        (say(kind), _visible(one.before), _visible(one.after), _answers(one), one.place)
        for kind, one in shown
        if one is not None
    ]
    headings = (say("change"), say("before"), say("after"), say("answer"), say("place"))
    note = say("The first text whose answer changes, if any. ␣ stands for a zero-width space.")
    return Html(page.paragraph(note) + page.table(headings, rows))


def _answers(one: Shown) -> str:
    if one.answer_before == one.answer_after:
        return one.answer_before
    return f"{one.answer_before} → {one.answer_after}"


def _visible(text: str) -> str:
    return text.replace("\u200b", "␣")


def _point(say: Words, metric: str, point: Point) -> Html:
    score = point.score
    if is_share(metric):
        ends = f"{100 * score.low:.1f} – {100 * min(score.high, 1.0):.1f}"
    else:
        ends = f"{score.low:.3f} – {score.high:.3f}"
    return page.ranged(figure(say, metric, score.value), ends)
