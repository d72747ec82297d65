"""The data report: what came in, what was taken out and why, and what is left to learn from."""

import json
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tael.data.corpus import Corpus
from tael.data.dedup import Match
from tael.data.prepare import Splits
from tael.data.record import Record, place
from tael.data.steps import step_name
from tael.data.tokens import pending
from tael.files import write_text
from tael.page.chart import bars, histogram
from tael.page.page import Html, Section, figure, language, note, paragraph, render, table
from tael.page.words import Lang, Words, words

__all__ = ["add_corpus", "lead", "write_report"]

_ADDED = re.compile("<!--corpus-->.*<!--/corpus-->", re.DOTALL)
_SAMPLES = 10
_SHOWN = 160  # characters of a text in a table
_CORPUS = "<!--corpus-->"  # here the counts of text without labels go, once it is read
_CLASSES = 40  # bars in the class chart


def write_report(
    folder: Path, splits: Splits, extra: Mapping[str, int] | None = None, *, lang: Lang = "en"
) -> None:
    """Write `report.html` and `report.json` into `folder`.

    `extra` are further counts (texts cut to the maximal length, for example) shown with the others.
    """
    say = words("data", lang)
    counts = {**splits.counts, **(extra or {})}
    parts = {"train": splits.train, "dev": splits.dev, "test": splits.test}
    repaired = [Section(say("What was repaired"), _repaired(say, splits))] if splits.repairs else []
    sections = [
        Section(say("Every step, counted"), Html(_counts(say, counts) + _CORPUS)),
        *repaired,
        Section(say("What was taken out"), _taken_out(say, splits)),
        Section(say("Classes"), _classes(say, parts)),
        Section(say("Lengths"), _lengths(say, parts)),
        Section(say("Tokens"), pending(say)),
        Section(say("Files"), _files(say, splits.hashes)),
    ]
    page = render(say("Data report"), lead(splits, lang), sections, lang=lang)
    write_text(folder / "report.html", page)
    write_text(
        folder / "report.json", json.dumps(_facts(splits, counts), indent=1, ensure_ascii=False)
    )


def add_corpus(folder: Path, corpus: Corpus) -> None:
    """Add what became of the text without labels to `report.html` and `report.json`, if there."""
    page, facts = folder / "report.html", folder / "report.json"
    if not page.exists() or not facts.exists():
        return
    text = page.read_text("utf-8")
    say = words("data", language(text))
    counts = {**corpus.counts, "texts left to learn from": corpus.texts}
    rows = [(step_name(say, step), f"{number:,}") for step, number in counts.items() if number]
    shown = table(
        (say("Step"), say("Number")), rows, numeric={1}, caption=say("Text without labels")
    )
    old = _ADDED.search(text)
    new = f"{_CORPUS}{shown}<!--/corpus-->"
    write_text(page, text.replace(old[0] if old else _CORPUS, new, 1))
    told = json.loads(facts.read_text("utf-8")) | {"corpus": counts}
    write_text(facts, json.dumps(told, indent=1, ensure_ascii=False))


def lead(splits: Splits, lang: Lang = "en") -> str:
    """Say in a few sentences what is left, what was taken out, and which leak that prevented."""
    say = words("data", lang)
    exact = sum(match.exact for match in splits.duplicates)
    said = say(
        "{kept} texts are left: {train} train, {dev} dev, {test} test. Taken out first: {exact} "
        "duplicates, {near} near duplicates",
        kept=f"{len(splits.train) + len(splits.dev) + len(splits.test):,}",
        train=f"{len(splits.train):,}", dev=f"{len(splits.dev):,}", test=f"{len(splits.test):,}",
        exact=f"{exact:,}", near=f"{len(splits.duplicates) - exact:,}",
    )  # fmt: skip
    clash = sum(map(len, splits.conflicts))
    if clash:
        said += say(", {rows} rows with contradicting labels met", rows=f"{clash:,}")
    if splits.leaks:
        repeat = f"{len(splits.leaks):,}"
        said += say(", {rows} training rows that repeat dev or test", rows=repeat)
    said = say("{sentence}.", sentence=said)
    share = _leak_if_split_first(splits)
    if share >= 0.005:
        said += say(
            " Split first, about {share} of the test texts would have stood in train too.",
            share=say.percent(share, 0),
        )
    return said


def _leak_if_split_first(splits: Splits) -> float:
    """Return the share of test rows with a copy in train, had rows been split with duplicates in.

    For a group of g copies each row is expected in train with the share t of all rows, so a test
    row has no copy there with the chance (1 - t)^(g - 1).
    """
    copies = Counter(id(match.kept) for match in splits.duplicates)
    groups = [1 + times for times in copies.values()] + [len(group) for group in splits.conflicts]
    kept = len(splits.train) + len(splits.dev) + len(splits.test)
    total = kept + len(splits.duplicates) + sum(map(len, splits.conflicts))
    train = len(splits.train) / kept
    return sum(size * (1 - (1 - train) ** (size - 1)) for size in groups) / total


def _counts(say: Words, counts: Mapping[str, int]) -> str:
    rows = [(step_name(say, step), f"{number:,}") for step, number in counts.items()]
    return table((say("Step"), say("Number")), rows, numeric={1})


def _repaired(say: Words, splits: Splits) -> str:
    rows = [
        (step_name(say, step), *pair) for step, pairs in splits.repairs.items() for pair in pairs
    ]
    caption = say("The first texts of each step, around the change")
    return table((say("Step"), say("Before"), say("After")), rows, caption=caption)


def _taken_out(say: Words, splits: Splits) -> str:
    near = sorted((m for m in splits.duplicates if not m.exact), key=lambda m: m.similarity)
    exact = [match for match in splits.duplicates if match.exact]
    parts = [
        _matches(say, say("Training rows that repeat dev or test"), splits.leaks),
        _matches(say, say("Near duplicates, the least alike first"), near),
        _matches(say, say("Exact duplicates (but for case, width, spaces, punctuation)"), exact),
        _contradictions(say, splits.conflicts),
    ]
    found = [part for part in parts if part]
    return "".join(found) or note(say("No duplicates, no leaks, no contradictions."), "good")


def _matches(say: Words, caption: str, matches: Sequence[Match]) -> str:
    if not matches:
        return ""
    rows = [
        (
            f"{match.similarity:.3f}",
            place(match.record),
            _short(match.record),
            place(match.kept),
            _short(match.kept),
        )
        for match in matches[:_SAMPLES]
    ]
    headings = (
        say("Similarity"), say("Taken out"), say("Its text"), say("Repeats"), say("Its text"),
    )  # fmt: skip
    told = say("{what}: {number}", what=caption, number=f"{len(matches):,}")
    return table(headings, rows, caption=told, numeric={0})


def _contradictions(say: Words, groups: Sequence[Sequence[Record]]) -> str:
    if not groups:
        return ""
    rows = []
    for group in sorted(groups, key=len, reverse=True)[:_SAMPLES]:
        labels = Counter(str(record.get("label")) for record in group).most_common(4)
        tally = ", ".join(f"{label}: {times}" for label, times in labels)
        rows.append((len(group), tally, place(group[0]), _short(group[0])))
    what = say("Texts that stand with different labels")
    caption = say("{what}: {number}", what=what, number=f"{len(groups):,}")
    headings = (say("Rows"), say("Labels"), say("First at"), say("Text"))
    return table(headings, rows, caption=caption, numeric={0})


def _classes(say: Words, parts: Mapping[str, Sequence[Record]]) -> str:
    labels = {name: _labels(records) for name, records in parts.items()}
    total = sum(labels.values(), Counter[str]())
    if not total:
        return paragraph(say("The records have no labels."))
    most = [label for label, _ in total.most_common(_CLASSES)]
    rows = [
        (label, *(_share(labels[name][label], len(parts[name])) for name in parts))
        for label in most
    ]
    headings = (say("Label"), *(say("{split} (rows, %)", split=say(name)) for name in parts))
    numbers = table(headings, rows, numeric={1, 2, 3})
    if len(total) > _CLASSES:
        rest = say(
            "{number} labels; the {shown} most frequent are shown.",
            number=f"{len(total):,}", shown=_CLASSES,
        )  # fmt: skip
        return Html(paragraph(rest) + numbers)
    chart = bars(
        {label: float(labels["train"][label]) for label in most},
        x=say("rows in train"),
        title=say("Rows a label, train"),
        digits=0,
    )
    caption = say("Balance of the labels in train.")
    return figure(chart, caption, numbers, say("The numbers"))


def _labels(records: Sequence[Record]) -> Counter[str]:
    """Count labels; a text with several counts for each."""
    return Counter(
        label for record in records for label in str(record.get("label", "")).split("|") if label
    )


def _share(rows: int, total: int) -> str:
    return f"{rows:,} ({100 * rows / total:.1f})" if total else "0"


def _lengths(say: Words, parts: Mapping[str, Sequence[Record]]) -> str:
    lengths = {name: sorted(len(record["text"]) for record in parts[name]) for name in parts}
    rows = [
        (say(name), *(f"{value:,}" for value in _quantiles(values)))
        for name, values in lengths.items()
        if values
    ]
    headings = (
        say("Split"), say("Shortest"), say("Median"), say("95th percentile"), say("Longest"),
    )  # fmt: skip
    numbers = table(headings, rows, numeric={1, 2, 3, 4}, caption=say("Characters a text"))
    train = lengths["train"]
    longest = _quantiles(train)[2]  # the few very long ones would press all others into one bar
    shown = [float(min(length, longest)) for length in train]
    x = say("characters ({longest} or more in the last)", longest=f"{longest:,}")
    chart = histogram(shown, x=x, y=say("texts"), title=say("Lengths"))
    return figure(chart, say("Characters a text in train."), numbers, say("The numbers"))


def _quantiles(values: Sequence[int]) -> tuple[int, int, int, int]:
    high = values[min(len(values) - 1, int(0.95 * len(values)))]
    return values[0], int(statistics.median(values)), high, values[-1]


def _files(say: Words, hashes: Mapping[str, str]) -> str:
    return table((say("File"), "SHA-256"), list(hashes.items()))


def _short(record: Record) -> str:
    text = str(record["text"])
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _facts(splits: Splits, counts: Mapping[str, int]) -> dict[str, object]:
    parts = {"train": splits.train, "dev": splits.dev, "test": splits.test}
    return {
        "rows": {name: len(records) for name, records in parts.items()},
        "counts": dict(counts),
        "labels": {name: dict(sorted(_labels(part).items())) for name, part in parts.items()},
        "leaks": [_pair(match) for match in splits.leaks],
        "duplicates": [_pair(match) for match in splits.duplicates],
        "conflicts": [[place(record) for record in group] for group in splits.conflicts],
        "repairs": splits.repairs,
        "files": splits.hashes,
    }


def _pair(match: Match) -> dict[str, object]:
    return {
        "taken_out": place(match.record),
        "repeats": place(match.kept),
        "similarity": round(match.similarity, 4),
    }
