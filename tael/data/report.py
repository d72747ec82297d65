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
from tael.data.tokens import HEADING, PENDING
from tael.files import write_text
from tael.page.chart import bars, histogram
from tael.page.page import Html, Section, figure, note, paragraph, render, table

__all__ = ["add_corpus", "lead", "write_report"]

_ADDED = re.compile("<!--corpus-->.*<!--/corpus-->", re.DOTALL)
_SAMPLES = 10
_SHOWN = 160  # characters of a text in a table
_CORPUS = "<!--corpus-->"  # here the counts of text without labels go, once it is read
_CLASSES = 40  # bars in the class chart


def write_report(folder: Path, splits: Splits, extra: Mapping[str, int] | None = None) -> None:
    """Write `report.html` and `report.json` into `folder`.

    `extra` are further counts (texts cut to the maximal length, for example) shown with the others.
    """
    counts = {**splits.counts, **(extra or {})}
    parts = {"train": splits.train, "dev": splits.dev, "test": splits.test}
    sections = [
        Section("Every step, counted", Html(_counts(counts) + _CORPUS)),
        *([Section("What was repaired", _repaired(splits))] if splits.repairs else []),
        Section("What was taken out", _taken_out(splits)),
        Section("Classes", _classes(parts)),
        Section("Lengths", _lengths(parts)),
        Section(HEADING, PENDING),
        Section("Files", _files(splits.hashes)),
    ]
    page = render("Data report", lead(splits), sections)
    write_text(folder / "report.html", page)
    write_text(
        folder / "report.json", json.dumps(_facts(splits, counts), indent=1, ensure_ascii=False)
    )


def add_corpus(folder: Path, corpus: Corpus) -> None:
    """Add what became of the text without labels to `report.html` and `report.json`, if there."""
    page, facts = folder / "report.html", folder / "report.json"
    if not page.exists() or not facts.exists():
        return
    counts = {**corpus.counts, "texts left to learn from": corpus.texts}
    rows = [(step, f"{number:,}") for step, number in counts.items() if number]
    shown = table(("Step", "Number"), rows, numeric={1}, caption="Text without labels")
    text = page.read_text("utf-8")
    old = _ADDED.search(text)
    new = f"{_CORPUS}{shown}<!--/corpus-->"
    write_text(page, text.replace(old[0] if old else _CORPUS, new, 1))
    told = json.loads(facts.read_text("utf-8")) | {"corpus": counts}
    write_text(facts, json.dumps(told, indent=1, ensure_ascii=False))


def lead(splits: Splits) -> str:
    """Say in a few sentences what is left, what was taken out, and which leak that prevented."""
    kept = len(splits.train) + len(splits.dev) + len(splits.test)
    exact = sum(match.exact for match in splits.duplicates)
    near = len(splits.duplicates) - exact
    said = f"{kept:,} texts are left: {len(splits.train):,} train, {len(splits.dev):,} dev, "
    said += f"{len(splits.test):,} test. "
    said += f"Taken out first: {exact:,} duplicates, {near:,} near duplicates"
    clash = sum(map(len, splits.conflicts))
    said += f", {clash:,} rows with contradicting labels met" if clash else ""
    leaked = len(splits.leaks)
    said += f", {leaked:,} training rows that repeat dev or test." if leaked else "."
    share = _leak_if_split_first(splits)
    return said + (
        f" Split first, about {100 * share:.0f} % of the test texts would have stood in train too."
        if share >= 0.005
        else ""
    )


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


def _counts(counts: Mapping[str, int]) -> str:
    rows = [(step, f"{number:,}") for step, number in counts.items()]
    return table(("Step", "Number"), rows, numeric={1})


def _repaired(splits: Splits) -> str:
    rows = [(step, *pair) for step, pairs in splits.repairs.items() for pair in pairs]
    caption = "The first texts of each step, around the change"
    return table(("Step", "Before", "After"), rows, caption=caption)


def _taken_out(splits: Splits) -> str:
    near = sorted((m for m in splits.duplicates if not m.exact), key=lambda m: m.similarity)
    exact = [match for match in splits.duplicates if match.exact]
    parts = [
        _matches("Training rows that repeat dev or test", splits.leaks),
        _matches("Near duplicates, the least alike first", near),
        _matches("Exact duplicates (but for case, width, spaces, punctuation)", exact),
        _contradictions(splits.conflicts),
    ]
    found = [part for part in parts if part]
    return "".join(found) or note("No duplicates, no leaks, no contradictions.", "good")


def _matches(caption: str, matches: Sequence[Match]) -> str:
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
    headings = ("Similarity", "Taken out", "Its text", "Repeats", "Its text")
    return table(headings, rows, caption=f"{caption}: {len(matches):,}", numeric={0})


def _contradictions(groups: Sequence[Sequence[Record]]) -> str:
    if not groups:
        return ""
    rows = []
    for group in sorted(groups, key=len, reverse=True)[:_SAMPLES]:
        labels = Counter(str(record.get("label")) for record in group).most_common(4)
        tally = ", ".join(f"{label}: {times}" for label, times in labels)
        rows.append((len(group), tally, place(group[0]), _short(group[0])))
    caption = f"Texts that stand with different labels: {len(groups):,}"
    return table(("Rows", "Labels", "First at", "Text"), rows, caption=caption, numeric={0})


def _classes(parts: Mapping[str, Sequence[Record]]) -> str:
    labels = {name: _labels(records) for name, records in parts.items()}
    total = sum(labels.values(), Counter[str]())
    if not total:
        return paragraph("The records have no labels.")
    most = [label for label, _ in total.most_common(_CLASSES)]
    rows = [
        (label, *(_share(labels[name][label], len(parts[name])) for name in parts))
        for label in most
    ]
    numbers = table(("Label", *(f"{name} (rows, %)" for name in parts)), rows, numeric={1, 2, 3})
    if len(total) > _CLASSES:
        rest = f"{len(total):,} labels; the {_CLASSES} most frequent are shown."
        return Html(paragraph(rest) + numbers)
    chart = bars(
        {label: float(labels["train"][label]) for label in most},
        x="rows in train",
        title="Rows a label, train",
        digits=0,
    )
    return figure(chart, "Balance of the labels in train.", numbers)


def _labels(records: Sequence[Record]) -> Counter[str]:
    """Count labels; a text with several counts for each."""
    return Counter(
        label for record in records for label in str(record.get("label", "")).split("|") if label
    )


def _share(rows: int, total: int) -> str:
    return f"{rows:,} ({100 * rows / total:.1f})" if total else "0"


def _lengths(parts: Mapping[str, Sequence[Record]]) -> str:
    lengths = {name: sorted(len(record["text"]) for record in parts[name]) for name in parts}
    rows = [
        (name, *(f"{value:,}" for value in _quantiles(values)))
        for name, values in lengths.items()
        if values
    ]
    headings = ("Split", "Shortest", "Median", "95th percentile", "Longest")
    numbers = table(headings, rows, numeric={1, 2, 3, 4}, caption="Characters a text")
    train = lengths["train"]
    longest = _quantiles(train)[2]  # the few very long ones would press all others into one bar
    shown = [float(min(length, longest)) for length in train]
    chart = histogram(shown, x=f"characters ({longest:,} or more in the last)", title="Lengths")
    return figure(chart, "Characters a text in train.", numbers)


def _quantiles(values: Sequence[int]) -> tuple[int, int, int, int]:
    high = values[min(len(values) - 1, int(0.95 * len(values)))]
    return values[0], int(statistics.median(values)), high, values[-1]


def _files(hashes: Mapping[str, str]) -> str:
    return table(("File", "SHA-256"), list(hashes.items()))


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
