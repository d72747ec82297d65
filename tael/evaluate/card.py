"""`model-card.md`: what a model is for, how good it is, and where it should not be used."""

from tael.evaluate.evidence import Evidence, Findings
from tael.evaluate.wording import LONG_NAMES, difference, duration, figure, interval

__all__ = ["model_card"]


def model_card(evidence: Evidence, findings: Findings) -> str:
    """Return the card as Markdown, with the header that model hubs read."""
    return "\n\n".join(
        part
        for part in (
            _header(evidence),
            f"# {evidence.name}\n\n{findings.sentence}",
            _about(evidence),
            _scores(evidence, findings),
            _baselines(evidence, findings),
            _limits(evidence, findings),
            _costs(evidence),
        )
        if part
    ) + "\n"  # fmt: skip


def _header(evidence: Evidence) -> str:
    kind = "text-classification" if evidence.task == "classify" else evidence.task
    return f"---\nlibrary_name: tael\npipeline_tag: {kind}\n---"


def _about(evidence: Evidence) -> str:
    lines = [f"- Task: {evidence.task} ({_KINDS[evidence.kind]})"]
    if evidence.labels:
        shown = ", ".join(f"`{_plain(label)}`" for label in evidence.labels[:50])
        rest = len(evidence.labels) - 50
        lines.append(f"- Labels: {shown}{f' and {rest} more' if rest > 0 else ''}")
    if evidence.parameters:
        lines.append(f"- Parameters: {evidence.parameters:,}")
    sizes = ", ".join(f"{len(part.records):,} {name}" for name, part in evidence.splits.items())
    lines.append(f"- Records scored: {sizes}")
    lines.append("- The folder `model/` opens with tael and with `transformers` as it is.")
    return "## What it is\n\n" + "\n".join(lines)


_KINDS = {"single": "one label a text", "multi": "several labels a text", "regression": "a number"}


def _scores(evidence: Evidence, findings: Findings) -> str:
    names = list(findings.scores)
    rows = [f"| metric | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for metric in findings.scores[findings.main]:
        cells = [
            f"{figure(metric, scores[metric].value)} ({interval(metric, scores[metric])})"
            if metric in scores
            else "–"
            for scores in findings.scores.values()
        ]
        rows.append(f"| {LONG_NAMES.get(metric, metric)} | {' | '.join(cells)} |")
    return "## How good it is\n\nWith 95 % intervals.\n\n" + "\n".join(rows)


def _baselines(evidence: Evidence, findings: Findings) -> str:
    metric = evidence.metric
    name = LONG_NAMES.get(metric, metric)
    rows = [
        f"| {key} | {figure(metric, findings.baselines[key][metric].value)} | "
        f"{difference(metric, pair.difference)} ({difference(metric, pair.low)} to "
        f"{difference(metric, pair.high)}) | {'yes' if pair.proved else 'no'} |"
        for key, pair in findings.comparisons.items()
    ]
    if not rows:
        return ""
    head = f"| baseline on {findings.main} | {name} | this model minus it | proved |"
    return "## Against simple baselines\n\n" + "\n".join([head, "|---|---:|---:|---|", *rows])


def _limits(evidence: Evidence, findings: Findings) -> str:
    lines = [
        "- Scores hold for texts like those of the splits: another source, language or time may "
        "be harder. Score it on your own labelled texts first: `tael evaluate RUN --data FILE`.",
        "- It was not tested for fairness between groups of people, nor against texts written to "
        "deceive it. Do not let it alone decide about a person.",
    ]
    if findings.diagnosis is not None:
        lines.insert(0, f"- {findings.diagnosis.explanation}")
    lines += [f"- {note}" for note in evidence.notes]
    return "## Limits\n\n" + "\n".join(lines)


def _costs(evidence: Evidence) -> str:
    seconds = evidence.costs.get("seconds", {})
    if not seconds:
        return ""
    money = evidence.costs.get("money")
    paid = f", {money:.4f} {evidence.currency}" if isinstance(money, float | int) else ""
    return f"## What it cost\n\nTraining and preparation: {duration(sum(seconds.values()))}{paid}."


def _plain(label: str) -> str:
    return label.replace("`", "'").replace("\n", " ")
