"""`report.html`, `report.json`, `model-card.md` and `curves/`: what a run is worth, with its proof.

The first screen answers in one sentence; the sections after it are the evidence, in the order in
which one would ask. A pure function of its `Evidence`: training and engines are not asked here.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tael.data.steps import step_name
from tael.errors import UsageError
from tael.evaluate.card import SYSTEMS, model_card
from tael.evaluate.curves import Drawn, draw_curves
from tael.evaluate.evidence import Evidence, Findings, find
from tael.evaluate.mistakes import worst
from tael.evaluate.questions import questions
from tael.evaluate.score import Score, to_json
from tael.evaluate.trust import calibration_section
from tael.evaluate.weakness import learning_section, robustness_section, slices_section
from tael.evaluate.wording import difference, duration, figure, interval, is_share, named
from tael.files import write_text
from tael.page import chart, page
from tael.page.page import Html, Section
from tael.page.svg import standalone
from tael.page.words import Words, words
from tael.task.metrics import confusion, per_class

__all__ = ["write_report"]

_TILES = ("f1", "auroc", "ece", "mae", "spearman")  # shown large beside the task's own metric
_MISTAKES = 20
_PHASES = {
    "data": "data preparation", "tokenizer": "tokenizer", "pretrain": "pretraining",
    "train": "training", "variants": "variants", "price": "pricing", "report": "this report",
}  # fmt: skip


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
    text = page.render(
        evidence.name,
        findings.sentence,
        _sections(evidence, findings, drawn),
        subtitle=_subtitle(evidence),
        first=page.answers(questions(evidence, findings)),
        lang=evidence.lang,
    )
    write_text(run / "report.html", text)
    values = json.dumps(_values(evidence, findings), ensure_ascii=False, indent=1, allow_nan=False)
    write_text(run / "report.json", values + "\n")
    write_text(run / "model-card.md", model_card(evidence, findings))
    return findings


def _subtitle(evidence: Evidence) -> str:
    say = evidence.say
    sizes = ", ".join(
        f"{say(name)} {len(part.records):,}" for name, part in evidence.splits.items()
    )
    weights = ""
    if evidence.parameters:
        weights = say(" · {count} parameters", count=f"{evidence.parameters:,}")
    return say(
        "{task} · {system}{weights} · records: {sizes}",
        task=evidence.task, system=say(evidence.system), weights=weights, sizes=sizes,
    )  # fmt: skip


def _sections(evidence: Evidence, findings: Findings, drawn: Drawn) -> list[Section]:
    say, main = evidence.say, findings.main
    found = [
        Section(say("Scores"), _scores(evidence, findings)),
        Section(say("Against simple baselines"), _comparison(evidence, findings)),
        Section(say("Does it over-fit?"), _fit(say, findings, drawn)),
    ]
    if findings.slices:
        found.append(Section(say("Where is it weak?"), slices_section(say, findings.slices, main)))
    if evidence.robustness:
        shown = robustness_section(say, evidence.robustness)
        found.append(Section(say("Does it stand careless writing?"), shown))
    if evidence.learning:
        shown = learning_section(say, evidence.learning)
        found.append(Section(say("Would more data help?"), shown))
    if evidence.written:
        found.append(Section(say("What does it write?"), _written(evidence)))
    if evidence.kind in ("single", "multi"):
        found.append(Section(say("Classes"), _classes(evidence, findings)))
    if evidence.kind == "single" and "ece" in findings.scores[main]:
        error = findings.scores[main]["ece"]
        shown = calibration_section(say, evidence.splits[main], error)
        found.append(Section(say("Can the scores be trusted?"), shown))
    found.append(Section(say("Worst mistakes"), _mistakes(evidence, findings)))
    found.append(Section(say("Data"), _data(evidence)))
    found.append(Section(say("Costs"), _costs(evidence)))
    if evidence.recipe_yaml:
        found.append(Section(say("Recipe"), page.preformatted(evidence.recipe_yaml)))
    return found


def _scores(evidence: Evidence, findings: Findings) -> Html:
    say, main = evidence.say, findings.scores[findings.main]
    # With one label a text, the weighted recall is the accuracy by definition.
    hidden = {evidence.metric, "recall_weighted" if evidence.kind == "single" else ""}
    order = [evidence.metric, *(name for name in main if name not in hidden)]
    tiles = page.tiles(
        [
            (named(say, name), figure(say, name, main[name].value), interval(name, main[name]))
            for name in dict.fromkeys([evidence.metric, *_TILES])
            if name in main
        ]
    )
    rows = [
        (named(say, name), *(_cell(say, name, scores) for scores in findings.scores.values()))
        for name in order
    ]
    sizes = (
        say("{split} ({rows})", split=say(name), rows=f"{len(evidence.splits[name].records):,}")
        for name in findings.scores
    )
    table = page.table(
        (say("metric"), *sizes),
        rows,
        numeric=set(range(1, 1 + len(findings.scores))),
        strong={0},
        caption=say(
            "Below each value its 95 % interval over draws of the records. The figures above the "
            "table are those of {split}.",
            split=say(findings.main),
        ),
    )
    return Html(tiles + table)


def _cell(say: Words, metric: str, scores: dict[str, Score]) -> str:
    if metric not in scores:
        return "–"
    return page.ranged(figure(say, metric, scores[metric].value), interval(metric, scores[metric]))


def _comparison(evidence: Evidence, findings: Findings) -> Html:
    say, metric, main = evidence.say, evidence.metric, findings.main
    name = named(say, metric)
    shown = [metric, *(x for x in ("f1", "auroc") if x != metric and x in findings.scores[main])]
    rows: list[Sequence[object]] = [
        (say("this model"), *(_cell(say, x, findings.scores[main]) for x in shown), "", "", "")
    ]
    for key, scores in findings.baselines.items():
        pair = findings.comparisons[key]
        ends = f"{difference(metric, pair.low)} – {difference(metric, pair.high)}"
        verdict = say("better") if pair.gain > 0 else say("worse")
        rows.append(
            (
                say(SYSTEMS.get(key, key)),
                *(_cell(say, x, scores) for x in shown),
                page.ranged(difference(metric, pair.difference), ends),
                "< 0.001" if pair.p < 0.001 else f"{pair.p:.3f}",
                verdict if pair.proved else say("not proved"),
            )
        )
    minus = say("this model minus it, {metric}", metric=name)
    if is_share(metric):
        minus = say("this model minus it, {metric}, points", metric=name)
    headings = (
        say("on {split}", split=say(main)), *(named(say, x) for x in shown), minus, "p",
        say("this model is"),
    )  # fmt: skip
    note = say(
        "Every system answered the same records, so they are compared in pairs: the difference has "
        "its own 95 % interval (paired bootstrap) and p is that of {test}.",
        test=say("McNemar's exact test") if metric == "accuracy" else say("the bootstrap"),
    )
    if "tfidf" in findings.baselines:
        note += say(" What was chosen for TF-IDF was chosen on dev.")
    numeric = set(range(1, len(shown) + 3))
    return Html(page.table(headings, rows, numeric=numeric, strong={0}) + page.paragraph(note))


def _fit(say: Words, findings: Findings, drawn: Drawn) -> Html:
    parts = []
    found = findings.diagnosis
    if found is not None:
        parts.append(page.note(found.explanation, "good" if found.verdict == "fits" else "warn"))
        if found.knobs:
            parts += [page.subheading(say("What would help, first things first"))]
            parts += [page.bullets(found.knobs)]
    if drawn:
        parts.append(page.grid(*(shown for _, shown in drawn.values())))
    if not parts:
        text = say("Train and dev were not both scored, so this is not known.")
        parts.append(page.paragraph(text))
    return Html("".join(parts))


def _classes(evidence: Evidence, findings: Findings) -> Html:
    say, part = evidence.say, evidence.splits[findings.main]
    assert evidence.kind is not None
    found = per_class(evidence.kind, part.answers, part.references, evidence.labels)
    rows = [
        (
            one["label"],
            *(f"{100 * one[x]:.1f}" for x in ("precision", "recall", "f1")),
            one["support"],
        )
        for one in found
    ]
    headings = (
        say("class"), say("precision, %"), say("recall, %"), "F1, %", say("records"),
    )  # fmt: skip
    caption = say("On {split}.", split=say(findings.main))
    table = page.table(headings, rows, numeric={1, 2, 3, 4}, caption=caption)
    if evidence.kind != "single":
        return table
    counts = confusion(part.answers, part.references, evidence.labels).tolist()
    svg = chart.heatmap(
        counts, evidence.labels, x=say("answered"), y=say("truth"), title=say("Confusion matrix")
    )
    behind = page.table(
        (say("truth \\ answered"), *evidence.labels),
        [(label, *row) for label, row in zip(evidence.labels, counts, strict=True)],
        numeric=set(range(1, len(evidence.labels) + 1)),
    )
    caption = say(
        "Each row is a true class; the stronger a colour, the larger its share of the row."
    )
    return page.grid(table, page.figure(svg, caption, behind, say("The numbers")))


def _written(evidence: Evidence) -> Html:
    say = evidence.say
    told = page.note(
        say(
            "Beginnings of dev texts, and how the model goes on, at temperature 0.8; a line end "
            "is shown as ⏎."
        )
    )
    rows = [tuple(part.replace("\n", " ⏎ ") for part in pair) for pair in evidence.written]
    return Html(told + page.table((say("Beginning"), say("The model goes on")), rows))


def _mistakes(evidence: Evidence, findings: Findings) -> Html:
    say = evidence.say
    split = say(findings.main)
    found = worst(evidence.splits[findings.main], evidence.mistake, _MISTAKES)
    if not found:
        return page.paragraph(say("None: every answer on {split} is right.", split=split))
    last, order = {
        "single": (say("sure, %"), say("surest")),
        "multi": (say("labels wrong"), say("most labels")),
        "regression": (say("error"), say("furthest off")),
        None: (say("error"), say("furthest off")),
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
    note = say(
        "The wrong answers on {split}, {order} first. Wrong labels in the data often stand among "
        "them: look before you blame the model.",
        split=split, order=order,
    )  # fmt: skip
    headings = (say("text"), say("truth"), say("answered"), last, say("place"))
    return Html(page.paragraph(note) + page.table(headings, rows, numeric={3}))


def _data(evidence: Evidence) -> Html:
    say = evidence.say
    parts = [page.note(note) for note in evidence.notes]
    rows = [
        (say(name), f"{len(part.records):,}", _lengths(part.records))
        for name, part in evidence.splits.items()
    ]
    headings = (say("split"), say("records"), say("characters (median / longest)"))
    parts.append(page.table(headings, rows, numeric={1, 2}))
    if evidence.counts:
        steps = [
            (step_name(words("data", evidence.lang), step), f"{n:,}" if isinstance(n, int) else n)
            for step, n in evidence.counts.items()
        ]
        table = page.table((say("preparation"), say("number")), steps, numeric={1})
        parts.append(page.details(say("Every step of preparation, counted"), table))
    return Html("".join(parts))


def _lengths(records: Sequence[dict[str, Any]]) -> str:
    lengths = sorted(len(str(record.get("text", ""))) for record in records)
    return f"{lengths[len(lengths) // 2]:,} / {lengths[-1]:,}" if lengths else "–"


def _costs(evidence: Evidence) -> Html:
    say, costs = evidence.say, evidence.costs
    seconds: dict[str, float] = dict(costs.get("seconds", {}))
    if not seconds:
        return page.paragraph(say("Nothing was measured."))
    price = float(costs.get("price_per_hour", 0))
    rows = [
        (say(_PHASES.get(phase, phase)), duration(say, spent), f"{spent / 3600 * price:.4f}")
        for phase, spent in seconds.items()
    ]
    total = sum(seconds.values())
    rows.append((say("in all"), duration(say, total), f"{total / 3600 * price:.4f}"))
    table = page.table(
        (say("phase"), say("time"), say("money, {currency}", currency=evidence.currency)),
        rows,
        numeric={1, 2},
        strong={len(rows) - 1},
    )
    machine = ", ".join(f"{key} {value}" for key, value in evidence.machine.items())
    where = say(" on {machine}", machine=machine) if machine else ""
    note = say(
        "At {price} {currency} a machine hour{where}.",
        price=f"{price:g}", currency=evidence.currency, where=where,
    )  # fmt: skip
    extra = {
        key: value for key, value in costs.items()
        if key not in ("seconds", "price_per_hour", "money") and isinstance(value, int | float)
    }  # fmt: skip
    work = page.paragraph(" · ".join(f"{say(_spaced(k))} {v:,}" for k, v in extra.items()))
    return Html(table + page.paragraph(note) + (work if extra else ""))


def _spaced(name: str) -> str:
    return name.replace("_", " ")


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
        "questions": [
            dict(zip(("question", "answer", "why", "kind"), one, strict=True))
            for one in questions(evidence, findings)
        ],
        "slices": [one.to_json() for one in findings.slices],
        "robustness": [one.to_json() for one in evidence.robustness],
        "learning": [one.to_json() for one in evidence.learning],
        "costs": dict(evidence.costs),
    }
    if evidence.kind in ("single", "multi"):
        assert evidence.kind is not None
        found["labels"] = list(evidence.labels)
        found["classes"] = per_class(evidence.kind, part.answers, part.references, evidence.labels)
    if evidence.kind == "single":
        found["confusion"] = confusion(part.answers, part.references, evidence.labels).tolist()
    return found
