"""`model-card.md`: what a model is for, how good it is, and where it should not be used."""

from tael.evaluate.evidence import Evidence, Findings
from tael.evaluate.weakness import fragile, weak
from tael.evaluate.wording import difference, duration, figure, interval, named

__all__ = ["SYSTEMS", "model_card"]

SYSTEMS = {
    "tfidf": "TF-IDF + linear model",
    "majority": "most frequent answer",
    "dictionary": "most frequent tag of each word",
    "5-gram": "5-gram model of characters",
    "memory": "what train has for the nearest source",
    "lead": "the first lines of the source",
    "nearest": "part of the text that shares most with the question",
}
_PIPELINES = {
    "classify": "text-classification",
    "tag": "token-classification",
    "clm": "text-generation",
}


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
    kind = _PIPELINES.get(evidence.task, evidence.task)
    return f"---\nlibrary_name: tael\npipeline_tag: {kind}\n---"


def _about(evidence: Evidence) -> str:
    say = evidence.say
    lines = [say("- Task: {task}", task=evidence.task)]
    if evidence.kind is not None:
        kind = say(_KINDS[evidence.kind])
        lines = [say("- Task: {task} ({kind})", task=evidence.task, kind=kind)]
    if evidence.labels:
        shown = ", ".join(f"`{_plain(label)}`" for label in evidence.labels[:50])
        rest = len(evidence.labels) - 50
        shown += say(" and {rest} more", rest=rest) if rest > 0 else ""
        lines.append(say("- Labels: {labels}", labels=shown))
    if evidence.parameters:
        lines.append(say("- Parameters: {count}", count=f"{evidence.parameters:,}"))
    sizes = ", ".join(
        f"{say(name)} {len(part.records):,}" for name, part in evidence.splits.items()
    )
    lines.append(say("- Records scored: {sizes}", sizes=sizes))
    lines.append(say("- The folder `model/` opens with tael and with `transformers` as it is."))
    return f"## {say('What it is')}\n\n" + "\n".join(lines)


_KINDS = {"single": "one label a text", "multi": "several labels a text", "regression": "a number"}


def _scores(evidence: Evidence, findings: Findings) -> str:
    say = evidence.say
    names = [say(name) for name in findings.scores]
    rows = [f"| {say('metric')} | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for metric in findings.scores[findings.main]:
        cells = [
            f"{figure(say, metric, scores[metric].value)} ({interval(metric, scores[metric])})"
            if metric in scores
            else "–"
            for scores in findings.scores.values()
        ]
        rows.append(f"| {named(say, metric)} | {' | '.join(cells)} |")
    heading = f"## {say('How good it is')}\n\n{say('With 95 % intervals.')}\n\n"
    return heading + "\n".join(rows)


def _baselines(evidence: Evidence, findings: Findings) -> str:
    say, metric = evidence.say, evidence.metric
    rows = [
        f"| {say(SYSTEMS[key])} | {figure(say, metric, findings.baselines[key][metric].value)} | "
        f"{difference(metric, pair.difference)} ({difference(metric, pair.low)} – "
        f"{difference(metric, pair.high)}) | {say('yes') if pair.proved else say('no')} |"
        for key, pair in findings.comparisons.items()
    ]
    if not rows:
        return ""
    head = (
        f"| {say('baseline on {split}', split=say(findings.main))} | {named(say, metric)} | "
        f"{say('this model minus it')} | {say('proved')} |"
    )
    heading = f"## {say('Against simple baselines')}\n\n"
    return heading + "\n".join([head, "|---|---:|---:|---|", *rows])


def _limits(evidence: Evidence, findings: Findings) -> str:
    say = evidence.say
    lines = [
        say(
            "Scores hold for texts like those of the splits: another source, language or time may "
            "be harder. Score it on your own labelled texts first: `tael evaluate RUN --data FILE`."
        ),
        say(
            "It was not tested for fairness between groups of people, nor against texts written to "
            "deceive it. Do not let it alone decide about a person."
        ),
    ]
    if findings.diagnosis is not None:
        lines.insert(0, findings.diagnosis.explanation)
    lines += [*weak(say, findings.slices), *fragile(say, evidence.robustness)]
    lines += evidence.notes
    return f"## {say('Limits')}\n\n" + "\n".join(f"- {line}" for line in lines)


def _costs(evidence: Evidence) -> str:
    say, seconds = evidence.say, evidence.costs.get("seconds", {})
    if not seconds:
        return ""
    money = evidence.costs.get("money")
    paid = f", {money:.4f} {evidence.currency}" if isinstance(money, float | int) else ""
    spent = duration(say, sum(seconds.values()))
    told = say("Training and preparation: {time}{money}.", time=spent, money=paid)
    return f"## {say('What it cost')}\n\n{told}"


def _plain(label: str) -> str:
    return label.replace("`", "'").replace("\n", " ")
