"""Records of embedding: one text, a pair with or without a score, or a triple."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from tael.data.form import Form, Mend, string
from tael.data.record import Record, place
from tael.errors import DataError
from tael.recipe.schema import Columns, Recipe
from tael.task.labels import number

__all__ = [
    "METRICS",
    "TEXTS",
    "Lessons",
    "check",
    "check_known",
    "forms",
    "guess",
    "line",
    "scale",
    "survey",
    "taught",
    "texts_of",
]  # fmt: skip

TEXTS = ("text", "text_pair", "negative")
# What the records teach: pairs with a score; pairs that belong together; triples of which one of
# two is nearer.
Lessons = Literal["score", "pairs", "triples"]
METRICS: Mapping[Lessons, tuple[str, ...]] = {
    "score": ("spearman", "pearson"),
    "pairs": ("ndcg@10", "recall@1", "recall@10", "mrr"),
    "triples": ("accuracy",),
}
_NEEDS: Mapping[Lessons, str] = {
    "score": "two texts and a score", "pairs": "two texts", "triples": "three texts",
}  # fmt: skip
_TRICLUE = ("sentence_0", "sentence_1", "sentence_2")


def forms(columns: Columns) -> tuple[Form, ...]:
    """Return the forms: three texts, two, or one whose vector is asked for."""
    columns_of = {role: getattr(columns, role) for role in TEXTS}
    lay = partial(_lay, columns)
    found = []
    for count in (3, 2, 1):
        given = {role: columns_of[role] for role in TEXTS[:count]}
        if None not in given.values():
            found.append(Form(given, {}, lay))
    return tuple(found)


def _lay(columns: Columns, record: Record, mend: Mend, counts: Counter[str]) -> Record:
    laid = dict(record)
    for role in TEXTS:
        if role in laid:
            laid[role] = mend(string(laid[role], record, role))
    score, label = laid.pop(columns.score, None), laid.pop(columns.label, None)
    if score not in (None, ""):
        laid["score"] = number(str(score))
        if laid["score"] is None:
            raise DataError(f"{place(record)}: score must be a number, found {score!r:.40}.")
    if "negative" in laid and label not in (None, ""):
        if str(label) not in ("1", "2"):
            raise DataError(
                f"{place(record)}: label must be 1 (text_pair is nearer) or 2 (negative is), found "
                f"{label!r:.40}."
            )
        laid["label"] = int(str(label))
    return laid


def check(split: str, records: Sequence[Record], recipe: Recipe) -> None:
    """Raise DataError where there is no second text, or only some records have a score."""
    if recipe.data.columns.text_pair is None:
        raise DataError(
            f"{split}: one text a record; say which column holds the one that belongs to it: "
            "data.columns.text_pair=NAME"
        )
    without = [record for record in records if "score" not in record]
    if 0 < len(without) < len(records):
        raise DataError(
            f"{place(without[0])}: no score, nor have {len(without)} of {len(records)} records of "
            f"{split}; give all of them one, or none"
        )


def check_known(split: str, records: Sequence[Record], teaches: Lessons) -> None:
    """Raise DataError for records that lack a text or the score."""
    least = 3 if teaches == "triples" else 2
    for record in records:
        if len(texts_of(record)) < least or (teaches == "score" and "score" not in record):
            raise DataError(
                f"{place(record)}: {split} needs {_NEEDS[teaches]} a record; data.columns says "
                "which columns have them"
            )


def survey(splits: Mapping[str, Sequence[Record]], recipe: Recipe) -> dict[str, int]:
    """Return {}: there are no labels; DataError where every score is the same."""
    scale(splits["train"], taught(splits["train"]))
    return {}


def line(record: Record) -> str:
    """Return the texts, and their score before them."""
    score = f"{record['score']:g}  " if "score" in record else ""
    return score + " ¦ ".join(texts_of(record))


def guess(records: Sequence[Record]) -> list[str] | None:
    """Return settings for triples as triCLUE has them, or for pairs with a score."""
    names = list(records[0]) if records else []
    if set(_TRICLUE) <= set(names):
        pairs = zip(TEXTS, _TRICLUE, strict=True)
        return [f"data.columns.{role}={column}" for role, column in pairs]
    scores = [name for name in names if name.startswith("score")]
    if {"sentence1", "sentence2"} <= set(names) and len(scores) == 1:
        return [
            "data.columns.text=sentence1",
            "data.columns.text_pair=sentence2",
            f"data.columns.score={scores[0]}",
        ]
    return None


def taught(records: Sequence[Record]) -> Lessons:
    """Return what records teach, by what they hold."""
    if records and records[0].get("negative") is not None:
        return "triples"
    return "score" if records and "score" in records[0] else "pairs"


def scale(records: Sequence[Record], teaches: Lessons) -> tuple[float, float]:
    """Return the lowest and the highest score; DataError where all are one."""
    if teaches != "score":
        return 0.0, 1.0
    scores = [float(record["score"]) for record in records]
    if min(scores) == max(scores):
        raise DataError(
            f"train: every score is {scores[0]:g}; is `data.columns.score` the right column?"
        )
    return min(scores), max(scores)


def texts_of(record: Record) -> list[str]:
    """Return the one, two or three texts of a record, in order."""
    return [str(record[role]) for role in TEXTS if record.get(role) is not None]
