"""Where a model is worse than elsewhere: its answers by length, source, label and rare words.

Every slice is compared with all other records by a test of two groups; Holm 1979 keeps the chance
that any slice at all is flagged wrongly below 5 %, however many there are.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tael.data.record import AT, Record, place
from tael.evaluate.interval import wilson
from tael.task.base import Answer
from tael.task.metrics import Kind, split_labels

__all__ = ["LEAST", "RARE", "Slice", "SliceKind", "find_slices", "holm", "word_counts"]

LEAST = 30  # records from which a slice is judged: below, even a difference of 20 points is chance
RARE = 3  # a word that train holds fewer times is rare
_BINS = 4
_SOURCES = 12  # values of a column from which on it is no slicing of the data
_LABELS = 40
_LONGEST = 40  # characters of a column's value
_WORD = re.compile(r"[^\W\d_\u3400-\u9fff]+|[\u3400-\u9fff]+")
_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution

SliceKind = Literal["length", "source", "column", "label", "rare words"]
Verdict = Literal["worse", "better", "like the rest", "too small"]
Measure = Literal["share right", "mean absolute error"]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Slice:
    """One part of the records; `value` is the share that is right, or the mean absolute error.

    `difference` is the slice minus all others, with its 95 % interval; `p` is corrected by Holm for
    all slices judged. Where the slice (or the rest) is too small, these are None.
    """

    kind: SliceKind
    name: str  # of a column: `COLUMN: VALUE`
    measure: Measure
    rows: int
    value: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    verdict: Verdict = "too small"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def find_slices(
    kind: Kind,
    answers: Sequence[Answer],
    references: Sequence[Any],
    records: Sequence[Record],
    known: Mapping[str, int] | None = None,
) -> list[Slice]:
    """Return every slice of the records with its score, in the order length, source, label, words.

    `known` counts the words of the whole training split (`word_counts`); without it there are no
    slices by rare words. A slice that holds all records is none.
    """
    values_N = _values(kind, answers, references)
    parts = [
        (what, name, inside_N)
        for what, name, inside_N in _parts(kind, references, records, known)
        if 0 < inside_N.sum() < len(records)
    ]
    whole = kind != "regression"
    found = [_measure(what, name, values_N, inside_N, whole) for what, name, inside_N in parts]
    judged = [one for one in found if one.p is not None]
    corrected = dict(zip(map(id, judged), holm([one.p or 0.0 for one in judged]), strict=True))
    return [_judged(one, corrected.get(id(one)), whole) for one in found]


def word_counts(texts: Iterable[str]) -> Counter[str]:
    """Count the words of `texts`, lower-case; of Chinese, which has no spaces, pairs of characters.

    What is seldom among the pairs is seldom among the words, and no dictionary is needed.
    """
    return Counter(word for text in texts for word in _words(text))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p corrected for as many tests (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected


def _words(text: str) -> list[str]:
    words: list[str] = []
    for run in _WORD.findall(text.lower()):
        if run[0] < "\u3400" or len(run) == 1:
            words.append(run)
        else:
            words += [run[at : at + 2] for at in range(len(run) - 1)]
    return words


def _values(kind: Kind, answers: Sequence[Answer], references: Sequence[Any]) -> Floats:
    pairs = zip(answers, references, strict=True)
    if kind == "regression":
        return np.array([abs(float(a["value"]) - float(r)) for a, r in pairs])
    if kind == "multi":
        return np.array([float(set(a["labels"]) == set(split_labels(r))) for a, r in pairs])
    return np.array([float(str(a["label"]) == str(r)) for a, r in pairs])


def _parts(
    kind: Kind,
    references: Sequence[Any],
    records: Sequence[Record],
    known: Mapping[str, int] | None,
) -> list[tuple[SliceKind, str, Bools]]:
    parts: list[tuple[SliceKind, str, Bools]] = []
    lengths_N = np.array([len(_text(record)) for record in records], np.float64)
    parts += [("length", *one) for one in _bins(lengths_N, lambda value: f"{value:,.0f}")]
    files = [place(record).rpartition(":")[0] for record in records]
    parts += [("source", *one) for one in _groups(_shortened(files), _SOURCES)]
    for column in _columns(records):
        found = _groups([record.get(column) for record in records], _SOURCES)
        parts += [("column", f"{column}: {name}", inside_N) for name, inside_N in found]
    if kind == "single":
        parts += [("label", *one) for one in _groups([str(r) for r in references], _LABELS)]
    if kind == "multi":
        sets = [set(split_labels(reference)) for reference in references]
        names = sorted(set().union(*sets))[:_LABELS]
        parts += [("label", name, np.array([name in one for one in sets])) for name in names]
    if known is not None:
        shares_N = np.array([_rare_share(_text(record), known) for record in records])
        parts += [
            ("rare words", *one) for one in _bins(shares_N, lambda value: f"{100 * value:.0f} %")
        ]
    return parts


def _bins(values_N: Floats, show: Callable[[float], str]) -> list[tuple[str, Bools]]:
    """Return the records by quarters of a value; equal values stay together, so bins may be few."""
    edges = np.unique(np.quantile(values_N, np.linspace(0, 1, _BINS + 1)[1:-1], method="lower"))
    place_N = np.searchsorted(edges, values_N, side="left")  # a value on an edge is below it
    found = []
    for number in range(len(edges) + 1):
        inside_N = place_N == number
        if inside_N.any():
            low, high = show(values_N[inside_N].min()), show(values_N[inside_N].max())
            found.append((low if low == high else f"{low} – {high}", inside_N))
    return found


def _groups(values: Sequence[Any], most: int) -> list[tuple[str, Bools]]:
    """Return the records by value, the most frequent first; none where there are too many."""
    names = ["" if value is None else str(value) for value in values]
    counts = Counter(names)
    if not 1 < len(counts) <= most:
        return []
    array_N = np.array(names, dtype=object)
    return [(name or "–", array_N == name) for name, _ in counts.most_common()]


def _columns(records: Sequence[Record]) -> list[str]:
    """Return the further columns whose values are few and short: a shop, a product, a language."""
    names = dict.fromkeys(name for record in records[:1000] for name in record)
    found = []
    for name in names:
        if name in (AT, "text", "text_pair", "label"):
            continue
        values = {record.get(name) for record in records if _is_plain(record.get(name))}
        plain = all(_is_plain(record.get(name)) for record in records)
        if plain and 1 < len(values) <= _SOURCES:
            found.append(name)
    return found


def _is_plain(value: Any) -> bool:
    return value is None or (isinstance(value, str | int | bool) and len(str(value)) <= _LONGEST)


def _shortened(paths: Sequence[str]) -> list[str]:
    """Return the file names alone where they tell the files apart."""
    names = {path: re.split(r"[\\/]", path)[-1] for path in set(paths)}
    apart = len(set(names.values())) == len(names)
    return [names[path] for path in paths] if apart else list(paths)


def _rare_share(text: str, known: Mapping[str, int]) -> float:
    found = _words(text)
    return sum(known.get(word, 0) < RARE for word in found) / len(found) if found else 0.0


def _text(record: Record) -> str:
    return " ".join(str(record[role]) for role in ("text", "text_pair") if record.get(role))


def _measure(
    kind: SliceKind, name: str, values_N: Floats, inside_N: Bools, is_share: bool
) -> Slice:
    """Score a slice and compare it with the rest; p is not corrected yet."""
    here, rest = values_N[inside_N], values_N[~inside_N]
    measure: Measure = "share right" if is_share else "mean absolute error"
    ends = _interval(here, is_share)
    value = float(here.mean())
    if len(here) < LEAST or len(rest) < LEAST:
        return Slice(kind, name, measure, len(here), value, *ends)
    difference = value - float(rest.mean())
    other = _interval(rest, is_share)
    # Newcombe 1998, method 10: the distances to the ends of both intervals, squared and added.
    low = difference - float(np.hypot(value - ends[0], other[1] - rest.mean()))
    high = difference + float(np.hypot(ends[1] - value, rest.mean() - other[0]))
    p = _fisher(here, rest) if is_share else _welch(here, rest)
    return Slice(kind, name, measure, len(here), value, *ends, difference, low, high, p)


def _interval(values_N: Floats, is_share: bool) -> tuple[float, float]:
    if is_share:
        return wilson(float(values_N.sum()), len(values_N))
    mean = float(values_N.mean())
    half = _Z * float(values_N.std(ddof=1)) / len(values_N) ** 0.5 if len(values_N) > 1 else mean
    return max(0.0, mean - half), mean + half


def _fisher(here: Floats, rest: Floats) -> float:
    """Return the exact two-sided p that two groups are right equally often (Fisher 1922)."""
    from scipy.stats import fisher_exact

    table = [[int(part.sum()), int(len(part) - part.sum())] for part in (here, rest)]
    return float(fisher_exact(table)[1])


def _welch(here: Floats, rest: Floats) -> float:
    """Return the two-sided p that two groups have the same mean error (Welch 1947)."""
    from scipy.stats import ttest_ind

    if here.std() == rest.std() == 0:
        return 1.0 if here.mean() == rest.mean() else 0.0
    return float(ttest_ind(here, rest, equal_var=False).pvalue)


def _judged(one: Slice, p: float | None, is_share: bool) -> Slice:
    if p is None or one.difference is None:
        return one
    verdict: Verdict = "like the rest"
    if p < 0.05:
        verdict = "worse" if (one.difference < 0) == is_share else "better"
    return Slice(**{**asdict(one), "p": p, "verdict": verdict})
