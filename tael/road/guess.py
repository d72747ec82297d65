"""Which task an unknown file is for, and which of its columns is what."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tael.data.clean import clean
from tael.data.read import read
from tael.data.record import AT, Record
from tael.errors import DataError
from tael.recipe.schema import Clean, Columns
from tael.recipe.write import scalar
from tael.task.base import TASKS, find
from tael.task.labels import Kind, number

__all__ = ["Found", "Guess", "guess_columns", "guess_task"]

_ROWS = 1000  # read for a guess
_MOST_CLASSES = 100
_SHORTEST = 5  # characters that a text has on average
_UNLIKE = 4  # times as long as the other: two such columns are no pair
_TEXTS = ("text", "review", "comment", "content", "sentence", "body", "message", "title",
          "文本", "内容", "评论", "评价", "正文", "句子", "标题")  # fmt: skip
_LABELS = ("label", "labels", "sentiment", "category", "class", "target", "tag", "intent",
           "polarity", "rating", "score", "stars", "topic",
           "标签", "类别", "分类", "情感", "评分", "类型")  # fmt: skip
_PAIRS = (("text", "text_pair"), ("sentence1", "sentence2"), ("text1", "text2"),
          ("text_a", "text_b"), ("question1", "question2"), ("premise", "hypothesis"))  # fmt: skip


@dataclass(frozen=True)
class Guess:
    """Columns by role, the kind of label, and the first rows, to be judged by a person."""

    text: str
    text_pair: str | None
    label: str
    kind: Kind
    rows: list[Record]

    def settings(self) -> list[str]:
        """Return the guess as `key=value` settings of a recipe."""
        pair = [f"data.columns.text_pair={scalar(self.text_pair)}"] if self.text_pair else []
        kind = [f"data.labels={self.kind}"] if self.kind != "single" else []
        text, label = scalar(self.text), scalar(self.label)
        texts = [f"data.columns.text={text}", *pair, f"data.columns.label={label}"]
        return [*texts, *kind]


@dataclass(frozen=True)
class Found:
    """The task whose rows these are, its settings, and the first rows in a line each."""

    task: str
    settings: list[str]
    lines: list[str]


def guess_task(path: Path) -> Found | None:
    """Return the first task that knows such rows as its own; None: they are texts with labels."""
    records = list(read([path], limit=_ROWS))
    for name in TASKS:
        settings = find(name).guess(records) if records else None
        if settings is not None:
            return Found(name, settings, _shown(name, settings, records[:3]))
    return None


def _shown(name: str, settings: Sequence[str], rows: Sequence[Record]) -> list[str]:
    task, named = find(name), (one.partition("=") for one in settings)
    roles = {key.rpartition(".")[2]: column for key, _, column in named if ".columns." in key}
    columns = Columns(**{role: column.strip("'\"") for role, column in roles.items()})
    forms = task.forms(columns)
    records = clean(rows, columns, Clean(), Counter(), labelled=False, forms=forms)
    return [" ".join(str(task.line(record)).split()) for record in records]


def guess_columns(path: Path) -> Guess:
    """Guess from names first, then from the values of the first 1,000 rows.

    Raises DataError where no column looks like text or none like a label, with what to write.
    """
    records = list(read([path], limit=_ROWS))
    columns = _columns(records)
    pair = next((p for p in _PAIRS if p[0] in columns and p[1] in columns), None)
    named = None if pair else _best(columns, _TEXTS)
    pair = pair or (None if named else _pair(columns))
    text = pair[0] if pair else named or _longest(columns)
    rest = {name: values for name, values in columns.items() if name not in (pair or (text,))}
    label = _best(rest, _LABELS) or _fewest(rest)
    if text is None or label is None:
        raise DataError(
            f"{path}: cannot guess which column holds the {'label' if text else 'text'}; the file "
            f"has {', '.join(columns) or 'no columns of text'}. Say it: `tael new NAME --task "
            f"classify data.train={path} data.columns.text=… data.columns.label=…`."
        )
    return Guess(text, pair[1] if pair else None, label, _kind(columns[label]), records[:3])


def _columns(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return the non-empty plain values by column."""
    columns: dict[str, list[str]] = {}
    for record in records:
        for name, value in record.items():
            if name != AT and not isinstance(value, Mapping):
                columns.setdefault(name, []).extend([_text(value)] if _text(value) else [])
    return columns


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(map(str, value))
    return "" if value is None else str(value).strip()


def _best(columns: Mapping[str, list[str]], names: Sequence[str]) -> str | None:
    """Return the column with the earliest of `names`: the same word, or as one of its words."""
    for name in names:
        for column in columns:
            words = column.casefold().replace("-", "_").replace(" ", "_").split("_")
            if name == column.casefold() or name in words:
                return column
    return None


def _longest(columns: Mapping[str, list[str]]) -> str | None:
    texts = {name: values for name, values in columns.items() if _is_text(values)} or columns
    mean = {name: sum(map(len, v)) / len(v) for name, v in texts.items() if v}
    return max(mean, key=mean.__getitem__, default=None)


def _pair(columns: Mapping[str, list[str]]) -> tuple[str, str] | None:
    """Return the columns of running text, in order, where there are exactly two of like length."""
    unlabelled = {
        name: values for name, values in columns.items() if _best({name: []}, _LABELS) is None
    }
    found = {name: sum(map(len, v)) / len(v) for name, v in unlabelled.items() if _is_text(v)}
    if len(found) != 2 or max(found.values()) > _UNLIKE * min(found.values()):
        return None
    first, second = found
    return first, second


def _is_text(values: Sequence[str]) -> bool:
    """Say whether most values are several words, few of them twice: no names, numbers or dates."""
    telling = [value for value in values if len(value.split()) > 1 or not value.isascii()]
    letters = sum(letter.isalpha() for value in telling for letter in value)
    size = sum(map(len, values))
    return (
        2 * len(telling) > len(values)
        and 2 * letters > size >= _SHORTEST * len(values)
        and 4 * len(set(values)) > len(values)
    )


def _fewest(columns: Mapping[str, list[str]]) -> str | None:
    classes = {name: len(set(values)) for name, values in columns.items()}
    fit = {n: c for n, c in classes.items() if 2 <= c <= min(_MOST_CLASSES, len(columns[n]) / 2)}
    return min(fit, key=fit.__getitem__, default=None)


def _kind(values: Sequence[str]) -> Kind:
    distinct = set(values)
    if all(number(value) is not None for value in distinct):
        whole = all(float(value).is_integer() for value in distinct)
        return "single" if whole and len(distinct) <= 20 else "regression"
    if sum("|" in value for value in values) * 20 > len(values):
        return "multi"
    return "single"
