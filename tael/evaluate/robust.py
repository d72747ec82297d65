"""What careless or cunning writing costs: the same records answered again, each text changed.

Every kind of change is compared in pairs with the answers to the texts as they are. Negation is
another question: there the answer should change, so what counts is how often it does.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Protocol

import numpy as np

from tael.data.record import Record, place
from tael.evaluate.answered import Split
from tael.evaluate.compare import Paired, paired
from tael.evaluate.interval import wilson
from tael.evaluate.perturb import PERTURBATIONS, coverage, negated
from tael.evaluate.score import Score
from tael.evaluate.slices import LEAST, holm
from tael.task.base import Answer
from tael.task.metrics import Kind, outcomes

__all__ = ["ROWS", "Drop", "Negation", "Robustness", "Shown", "measure_robustness"]

ROWS = 200  # records that are changed: twelve kinds of change are 2,400 texts at most
_AROUND = 36  # characters shown on both sides of a change
_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


class Answering(Protocol):
    """Anything that answers records in order."""

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record."""
        ...


@dataclass(frozen=True)
class Shown:
    """One record before and after a change, and what was answered."""

    place: str
    before: str
    after: str
    answer_before: str
    answer_after: str


@dataclass(frozen=True)
class Drop:
    """What one kind of change costs, over the `rows` texts that it does change.

    `change` is the metric after minus before, in pairs; None where fewer than 30 texts change.
    `flipped` of the answers became others. `p` is corrected by Holm for all kinds.
    """

    kind: str
    rows: int
    before: float | None
    after: float | None
    change: Paired | None
    flipped: int
    p: float | None
    shown: Shown | None

    @property
    def proved(self) -> bool:
        """Return whether the change makes answers worse, or better, beyond chance."""
        return self.change is not None and self.p is not None and self.p < 0.05


@dataclass(frozen=True)
class Negation:
    """What negated clauses do: the share of answers that change, and the confidence in the old one.

    `confidence` is after minus before; it and `changed` are None where fewer than 30 texts have a
    clause that the rules negate.
    """

    rows: int
    changed: Score | None
    confidence: Score | None
    shown: Shown | None


@dataclass(frozen=True)
class Robustness:
    """Every kind of change of one system; `rows` records of `of` were taken."""

    system: str
    metric: str
    rows: int
    of: int
    texts: int  # answered, the unchanged ones among them
    drops: list[Drop]
    negation: Negation | None
    homophones: float  # share of the Chinese characters that have one in the table

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def measure_robustness(
    predictor: Answering,
    part: Split,
    kind: Kind,
    labels: Sequence[str],
    metric: str,
    *,
    system: str,
    seed: int,
    rows: int = ROWS,
    resamples: int = 1000,
    say: Callable[[str], None] = lambda _: None,
) -> Robustness:
    """Answer up to `rows` records of `part` again, once for each kind of change.

    The same seed gives the same records and the same changes, so systems can be compared. Only the
    first text of a pair is changed. `say` hears beforehand how many texts will be answered.
    """
    chosen = sorted(Random(seed).sample(range(len(part.records)), min(rows, len(part.records))))
    records = [part.records[at] for at in chosen]
    references = [part.references[at] for at in chosen]
    variants = _variants(records, seed)
    asked = [*records, *(record for _, _, changed in variants for record in changed)]
    say(
        f"robustness of {system}: {len(records):,} of {len(part.records):,} records, "
        f"{len(variants)} kinds of change, {len(asked):,} texts"
    )
    answers = predictor.predict(asked)
    before, start = answers[: len(records)], len(records)
    drops: list[Drop] = []
    negation = None
    for name, places, changed in variants:
        after = answers[start : start + len(changed)]
        start += len(changed)
        pairs = _Pairs(
            [records[at] for at in places], changed, [before[at] for at in places], after,
            [references[at] for at in places],
        )  # fmt: skip
        if name == _NEGATION:
            negation = _negation(pairs, kind)
        else:
            drops.append(_drop(name, pairs, kind, labels, metric, resamples, seed))
    texts = [str(record["text"]) for record in records]
    return Robustness(
        system, metric, len(records), len(part.records), len(asked), _corrected(drops), negation,
        coverage(texts),
    )  # fmt: skip


_NEGATION = "negation"
_Variant = tuple[str, list[int], list[Record]]  # kind, places of the records changed, as changed


@dataclass(frozen=True)
class _Pairs:
    """Records before and after one kind of change, with both answers."""

    records: list[Record]
    changed: list[Record]
    before: list[Answer]
    after: list[Answer]
    references: list[Any]


def _variants(records: Sequence[Record], seed: int) -> list[_Variant]:
    found: list[_Variant] = []
    for name in (*PERTURBATIONS, _NEGATION):
        places, changed = [], []
        for at, record in enumerate(records):
            text = str(record["text"])
            # A generator a text: neither order nor company decides how a text is changed.
            rng = Random(f"{seed} {name} {text}")
            other = negated(text) if name == _NEGATION else PERTURBATIONS[name](text, rng)
            if other != text:
                places.append(at)
                changed.append(record | {"text": other})
        found.append((name, places, changed))
    return found


def _drop(
    name: str,
    pairs: _Pairs,
    kind: Kind,
    labels: Sequence[str],
    metric: str,
    resamples: int,
    seed: int,
) -> Drop:
    flipped = sum(
        _said(a, kind) != _said(b, kind) for a, b in zip(pairs.before, pairs.after, strict=True)
    )
    shown = _shown(pairs, kind)
    if len(pairs.records) < LEAST:
        return Drop(name, len(pairs.records), None, None, None, flipped, None, shown)
    before = outcomes(kind, pairs.before, pairs.references, labels)
    after = outcomes(kind, pairs.after, pairs.references, labels)
    once = np.ones((1, before.size))
    change = paired(after, before, metric, resamples=resamples, seed=seed)
    return Drop(
        name,
        len(pairs.records),
        float(before.metrics(once)[metric][0]),
        float(after.metrics(once)[metric][0]),
        change,
        flipped,
        change.p,
        shown,
    )


def _corrected(drops: Sequence[Drop]) -> list[Drop]:
    judged = [drop for drop in drops if drop.p is not None]
    p_values = dict(
        zip((drop.kind for drop in judged), holm([drop.p or 0.0 for drop in judged]), strict=True)
    )
    return [Drop(**{**vars(drop), "p": p_values.get(drop.kind)}) for drop in drops]


def _negation(pairs: _Pairs, kind: Kind) -> Negation | None:
    """Return None for numbers, where it is not known which way they should go."""
    if kind == "regression":
        return None
    rows, shown = len(pairs.records), _shown(pairs, kind)
    if rows < LEAST:
        return Negation(rows, None, None, shown)
    both = list(zip(pairs.before, pairs.after, strict=True))
    changed = sum(_said(a, kind) != _said(b, kind) for a, b in both)
    return Negation(
        rows,
        Score(changed / rows, *wilson(changed, rows)),
        _confidence(both) if kind == "single" else None,
        shown,
    )


def _confidence(both: Sequence[tuple[Answer, Answer]]) -> Score | None:
    """Return how much the score of the answer before falls, with its interval in pairs."""
    if any("scores" not in answer for pair in both for answer in pair):
        return None
    falls_N = np.array([b["scores"][a["label"]] - a["scores"][a["label"]] for a, b in both])
    mean = float(falls_N.mean())
    half = _Z * float(falls_N.std(ddof=1)) / len(falls_N) ** 0.5
    return Score(mean, mean - half, mean + half)


def _shown(pairs: _Pairs, kind: Kind) -> Shown | None:
    """Return the first record whose answer changed, else the first, around its first change."""
    if not pairs.records:
        return None
    said = [
        (_said(a, kind), _said(b, kind)) for a, b in zip(pairs.before, pairs.after, strict=True)
    ]
    at = next((number for number, (a, b) in enumerate(said) if a != b), 0)
    texts = str(pairs.records[at]["text"]), str(pairs.changed[at]["text"])
    return Shown(place(pairs.records[at]), *_around(*texts), *said[at])


def _around(before: str, after: str) -> tuple[str, str]:
    same = next(
        (at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
        min(len(before), len(after)),
    )
    start = max(0, same - _AROUND)
    return tuple(  # type: ignore[return-value]  # two texts give two
        ("…" if start else "")
        + text[start : same + _AROUND]
        + ("…" if len(text) > same + _AROUND else "")
        for text in (before, after)
    )


def _said(answer: Answer, kind: Kind) -> str:
    if kind == "regression":
        return f"{float(answer['value']):.4g}"
    return " | ".join(answer["labels"]) if kind == "multi" else str(answer["label"])
