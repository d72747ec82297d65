"""`report.html`, `report.json`, `model-card.md` and `curves/`: what a run is worth, with its proof.

The first screen answers in one sentence; the sections after it are the evidence, in the order in
which one would ask. A pure function of its `Evidence`: training and engines are not asked here.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tael.errors import UsageError
from tael.evaluate.card import model_card
from tael.evaluate.curves import Drawn, draw_curves
from tael.evaluate.evidence import Evidence, Findings, find
from tael.evaluate.mistakes import worst
from tael.evaluate.score import Score, to_json
from tael.evaluate.wording import LONG_NAMES, difference, duration, figure, interval, is_share
from tael.files import write_text
from tael.page import chart, page
from tael.page.page import Html, Section
from tael.page.svg import standalone
from tael.task.metrics import calibration, confusion, per_class

__all__ = ["write_report"]

_NAMES = {"tfidf": "TF-IDF + linear model", "majority": "most frequent answer"}
_TILES = ("f1", "auroc", "ece", "mae", "spearman")  # shown large beside the task's own metric
_MISTAKES = 20


def write_report(run: Path, evidence: Evidence, *, resamples: int = 1000) -> Findings:
    """Write the report of a run into its folder and return what it says.

    Without train or dev there is no diagnosis, without history no curves. Raises UsageError when no
    split holds a record.
    """
    filled = {name: part for name, part in evidence.splits.items() if len(part.records)}
    if not filled:
        raise UsageError(f"{run}: a report needs answers to at least one record, found none")
    evidence = replace(evidence, splits=filled)
    findings = find(evidence, resamples=resamples)
    drawn = draw_curves(evidence, findings)
    for name, (svg, _) in drawn.items():
        write_text(run / "curves" / f"{name}.svg", standalone(svg))
    about = _subtitle(evidence)
    text = page.render(
        evidence.name, findings.sentence, _sections(evidence, findings, drawn), subtitle=about
    )
    write_text(run / "report.html", text)
    values = json.dumps(_values(evidence, findings), ensure_ascii=False, indent=1, allow_nan=False)
    write_text(run / "report.json", values + "\n")
    write_text(run / "model-card.md", model_card(evidence, findings))
    return findings


def _subtitle(evidence: Evidence) -> str:
    sizes = ", ".join(f"{len(part.records):,} {name}" for name, part in evidence.splits.items())
    weights = f" · {evidence.parameters:,} parameters" if evidence.parameters else ""
    return f"{evidence.task} · {evidence.system}{weights} · records: {sizes}"


def _sections(evidence: Evidence, findings: Findings, drawn: Drawn) -> list[Section]:
    found = [
        Section("Scores", _scores(evidence, findings)),
        Section("Against simple baselines", _comparison(evidence, findings)),
        Section("Does it over-fit?", _fit(findings, drawn)),
    ]
    if evidence.kind != "regression":
        found.append(Section("Classes", _classes(evidence, findings)))
    if evidence.kind == "single" and "ece" in findings.scores[findings.main]:
        found.append(Section("Can the scores be trusted?", _calibration(evidence, findings)))
    found.append(Section("Worst mistakes", _mistakes(evidence, findings)))
    found.append(Section("Data", _data(evidence)))
    found.append(Section("Costs", _costs(evidence)))
    if evidence.recipe_yaml:
        found.append(Section("Recipe", page.preformatted(evidence.recipe_yaml)))
    return found


def _scores(evidence: Evidence, findings: Findings) -> Html:
    main = findings.scores[findings.main]
    # With one label a text, the weighted recall is the accuracy by definition.
    hidden = {evidence.metric, "recall_weighted" if evidence.kind == "single" else ""}
    order = [evidence.metric, *(name for name in main if name not in hidden)]
    tiles = page.tiles(
        [
            (LONG_NAMES.get(name, name), figure(name, main[name].value), interval(name, main[name]))
            for name in dict.fromkeys([evidence.metric, *_TILES])
            if name in main
        ]
    )
    rows = [
        (LONG_NAMES.get(name, name), *(_cell(name, scores) for scores in findings.scores.values()))
        for name in order
    ]
    table = page.table(
        (
            "metric",
            *(f"{name} ({len(evidence.splits[name].records):,})" for name in findings.scores),
        ),
        rows,
        numeric=set(range(1, 1 + len(findings.scores))),
        strong={0},
        caption="Below each value its 95 % interval over bootstrap draws of the records. "
        f"The figures above the table are those of {findings.main}.",
    )
    return Html(tiles + table)


def _cell(metric: str, scores: dict[str, Score]) -> str:
    if metric not in scores:
        return "–"
    return page.ranged(figure(metric, scores[metric].value), interval(metric, scores[metric]))


def _comparison(evidence: Evidence, findings: Findings) -> Html:
    metric, main = evidence.metric, findings.main
    name = LONG_NAMES.get(metric, metric)
    shown = [metric, *(x for x in ("f1", "auroc") if x != metric and x in findings.scores[main])]
    rows: list[Sequence[object]] = [
        ("this model", *(_cell(x, findings.scores[main]) for x in shown), "", "", "")
    ]
    for key, scores in findings.baselines.items():
        pair = findings.comparisons[key]
        ends = f"{difference(metric, pair.low)} to {difference(metric, pair.high)}"
        verdict = "not proved" if not pair.proved else "better" if pair.gain > 0 else "worse"
        rows.append(
            (
                _NAMES.get(key, key),
                *(_cell(x, scores) for x in shown),
                page.ranged(difference(metric, pair.difference), ends),
                "< 0.001" if pair.p < 0.001 else f"{pair.p:.3f}",
                verdict,
            )
        )
    unit = ", points" if is_share(metric) else ""
    headings = (
        f"on {main}", *(LONG_NAMES.get(x, x) for x in shown),
        f"this model minus it, {name}{unit}", "p", "this model is",
    )  # fmt: skip
    test = "McNemar's exact test" if metric == "accuracy" else "the bootstrap"
    note = (
        "Every system answered the same records, so they are compared in pairs: the difference has "
        f"its own 95 % interval (paired bootstrap) and p is that of {test}. What was chosen for "
        "TF-IDF was chosen on dev."
    )
    numeric = set(range(1, len(shown) + 3))
    return Html(page.table(headings, rows, numeric=numeric, strong={0}) + page.paragraph(note))


def _fit(findings: Findings, drawn: Drawn) -> Html:
    parts = []
    found = findings.diagnosis
    if found is not None:
        parts.append(page.note(found.explanation, "good" if found.verdict == "fits" else "warn"))
        if found.knobs:
            parts += [page.subheading("What would help, first things first")]
            parts += [page.bullets(found.knobs)]
    if drawn:
        parts.append(page.grid(*(shown for _, shown in drawn.values())))
    if not parts:
        parts.append(page.paragraph("Train and dev were not both scored, so this is not known."))
    return Html("".join(parts))


def _classes(evidence: Evidence, findings: Findings) -> Html:
    part = evidence.splits[findings.main]
    found = per_class(evidence.kind, part.answers, part.references, evidence.labels)
    rows = [
        (
            one["label"],
            *(f"{100 * one[x]:.1f}" for x in ("precision", "recall", "f1")),
            one["support"],
        )
        for one in found
    ]
    headings = ("class", "precision, %", "recall, %", "F1, %", "records")
    table = page.table(headings, rows, numeric={1, 2, 3, 4}, caption=f"On {findings.main}.")
    if evidence.kind != "single":
        return table
    counts = confusion(part.answers, part.references, evidence.labels).tolist()
    svg = chart.heatmap(counts, evidence.labels, x="answered", y="truth", title="Confusion matrix")
    behind = page.table(
        ("truth \\ answered", *evidence.labels),
        [(label, *row) for label, row in zip(evidence.labels, counts, strict=True)],
        numeric=set(range(1, len(evidence.labels) + 1)),
    )
    caption = "Each row is a true class; the stronger a colour, the larger its share of the row."
    return page.grid(table, page.figure(svg, caption, behind))


def _calibration(evidence: Evidence, findings: Findings) -> Html:
    part = evidence.splits[findings.main]
    bins = calibration(part.answers, part.references)
    error = findings.scores[findings.main]["ece"]
    rows = [(f"{c:.3f}", f"{r:.3f}", f"{count:,}") for c, r, count in bins]
    text = (
        f"The expected calibration error is {error.value:.3f} ({interval('ece', error)}). "
        f"{_leaning(bins, error)}"
    )
    behind = page.table(("mean confidence", "share right", "answers"), rows, numeric={0, 1, 2})
    svg = chart.reliability(bins, title="Reliability")
    caption = "Below the dashed line it is too sure; a dot's size is the number of answers."
    return page.grid(page.paragraph(text), page.figure(svg, caption, behind))


def _leaning(bins: Sequence[tuple[float, float, int]], error: Score) -> str:
    """Return in words whether a score may be read as a probability."""
    total = sum(count for _, _, count in bins)
    sure = sum(confidence * count for confidence, _, count in bins) / total
    right = sum(share * count for _, share, count in bins) / total
    text = f"On average it is {100 * sure:.1f} % sure and {100 * right:.1f} % right: "
    if error.low < 0.03 and abs(sure - right) < 0.02:
        return text + "its scores may be read as probabilities."
    help_ = "Fewer epochs or train.label_smoothing would help."
    if sure - right >= 0.02:
        return text + f"it is too sure of itself. Read a score as an order only. {help_}"
    if right - sure >= 0.02:
        return text + "it is too modest. Read a score as an order only."
    return text + f"right as a whole, too sure in one place and too modest in another. {help_}"


def _mistakes(evidence: Evidence, findings: Findings) -> Html:
    found = worst(evidence.splits[findings.main], evidence.kind, _MISTAKES)
    if not found:
        return page.paragraph(f"None: every answer on {findings.main} is right.")
    last, order = {
        "single": ("sure, %", "surest"),
        "multi": ("labels wrong", "most labels"),
        "regression": ("error", "furthest off"),
    }[evidence.kind]
    rows = [
        (
            one.text,
            one.truth,
            one.answer,
            f"{100 * one.badness:.1f}" if evidence.kind == "single" else f"{one.badness:.4g}",
            one.place,
        )
        for one in found
    ]
    note = (
        f"The wrong answers on {findings.main}, {order} first. Wrong labels in the data often "
        "stand among them: look before you blame the model."
    )
    headings = ("text", "truth", "answered", last, "place")
    return Html(page.paragraph(note) + page.table(headings, rows, numeric={3}))


def _data(evidence: Evidence) -> Html:
    parts = [page.note(note) for note in evidence.notes]
    rows = [
        (name, f"{len(part.records):,}", _lengths(part.records))
        for name, part in evidence.splits.items()
    ]
    headings = ("split", "records", "characters (median / longest)")
    parts.append(page.table(headings, rows, numeric={1, 2}))
    if evidence.counts:
        steps = [
            (step, f"{n:,}" if isinstance(n, int) else n) for step, n in evidence.counts.items()
        ]
        parts.append(page.details("Every step of preparation, counted",
                                  page.table(("step", "number"), steps, numeric={1})))  # fmt: skip
    return Html("".join(parts))


def _lengths(records: Sequence[dict[str, Any]]) -> str:
    lengths = sorted(len(str(record.get("text", ""))) for record in records)
    return f"{lengths[len(lengths) // 2]:,} / {lengths[-1]:,}" if lengths else "–"


def _costs(evidence: Evidence) -> Html:
    costs = evidence.costs
    seconds: dict[str, float] = dict(costs.get("seconds", {}))
    if not seconds:
        return page.paragraph("Nothing was measured.")
    price = float(costs.get("price_per_hour", 0))
    rows = [
        (phase, duration(spent), f"{spent / 3600 * price:.4f}") for phase, spent in seconds.items()
    ]
    total = sum(seconds.values())
    rows.append(("in all", duration(total), f"{total / 3600 * price:.4f}"))
    table = page.table(
        ("phase", "time", f"money, {evidence.currency}"),
        rows,
        numeric={1, 2},
        strong={len(rows) - 1},
    )
    machine = ", ".join(f"{key} {value}" for key, value in evidence.machine.items())
    where = f" on {machine}" if machine else ""
    note = f"At {price:g} {evidence.currency} a machine hour{where}."
    extra = {
        key: value for key, value in costs.items()
        if key not in ("seconds", "price_per_hour", "money") and isinstance(value, int | float)
    }  # fmt: skip
    work = page.paragraph(" · ".join(f"{k.replace('_', ' ')} {v:,}" for k, v in extra.items()))
    return Html(table + page.paragraph(note) + (work if extra else ""))


def _values(evidence: Evidence, findings: Findings) -> dict[str, Any]:
    part = evidence.splits[findings.main]
    found: dict[str, Any] = {
        "name": evidence.name,
        "task": evidence.task,
        "metric": evidence.metric,
        "sentence": findings.sentence,
        "split": findings.main,
        "scores": {name: to_json(scores) for name, scores in findings.scores.items()},
        "baselines": {name: to_json(scores) for name, scores in findings.baselines.items()},
        "comparisons": {
            name: vars(pair) | {"proved": pair.proved}
            for name, pair in findings.comparisons.items()
        },
        "diagnosis": findings.diagnosis.to_json() if findings.diagnosis else None,
        "costs": dict(evidence.costs),
    }
    if evidence.kind != "regression":
        found["labels"] = list(evidence.labels)
        found["classes"] = per_class(evidence.kind, part.answers, part.references, evidence.labels)
    if evidence.kind == "single":
        found["confusion"] = confusion(part.answers, part.references, evidence.labels).tolist()
    return found
