"""What a sceptic tries before a network, where texts are compared: the words they share.

Both are without a network: the cosine of TF-IDF for how alike texts are, and the part of a context
that shares most with the question for its answer.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from tael.data.record import Record
from tael.task.base import Answer
from tael.task.overlap import unit_of, units

__all__ = ["NearestPart", "SharedWords"]

_TEXTS = ("text", "text_pair", "negative")
# English answers are a few words; what is asked of a Chinese text is longer, often a sentence.
_PARTS = {"word": re.compile(r"[^,;:.!?\n]+"), "character": re.compile(r"[^。！？!?\n]+")}
Analyzer = Literal["word", "char"]


class _Judge(Protocol):
    """The part of the task that says how good answers are."""

    metric: str

    def references(self, records: Sequence[Record]) -> list[object]: ...

    def metrics(
        self, answers: Sequence[Answer], references: Sequence[object]
    ) -> dict[str, float]: ...


class SharedWords:
    """The cosine of TF-IDF vectors, of words or of characters."""

    def __init__(self, analyzer: Analyzer, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        # Characters are tokens by themselves; so are words of one letter.
        pattern = r"(?u)\b\w+\b" if analyzer == "word" else None
        self._vectors = TfidfVectorizer(analyzer=analyzer, token_pattern=pattern, sublinear_tf=True)
        self._vectors.fit(texts)

    @classmethod
    def chosen(cls, judge: _Judge, train: Sequence[Record], dev: Sequence[Record]) -> "SharedWords":
        """Return the one of words and characters that dev (or train, without dev) likes better."""
        texts = [str(record[role]) for record in train for role in _TEXTS if role in record]
        judged = dev or train
        references = judge.references(judged)

        def liked(one: "SharedWords") -> float:
            value = judge.metrics(one.predict(judged), references)[judge.metric]
            return value if math.isfinite(value) else -math.inf  # no two answers differ

        return max((cls(analyzer, texts) for analyzer in ("word", "char")), key=liked)

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return the cosine of each pair, or the nearer text of each triple."""
        first, *others = (
            self._vectors.transform([str(record.get(role) or "") for record in records])
            for role in _TEXTS[: 3 if any(record.get("negative") for record in records) else 2]
        )
        cosines = [np.asarray(first.multiply(other).sum(axis=1)).ravel() for other in others]
        answers: list[Answer] = [{"score": float(cosine)} for cosine in cosines[0]]
        if len(cosines) == 1:
            return answers
        return [
            {"nearer": 1 + int(far > near), "scores": [float(near), float(far)]}
            for near, far in zip(*cosines, strict=True)
        ]


class NearestPart:
    """The clause of the context that shares most with the question, rare units counting more.

    In Chinese the sentence.
    """

    def __init__(self, contexts: Sequence[str]) -> None:
        self._times = Counter(
            unit for context in set(contexts) for unit in set(units(context, unit_of(context)))
        )
        self._count = len(set(contexts))

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return one part a record, with its place in the context."""
        return [self._answer(str(one["context"]), str(one["question"])) for one in records]

    def _answer(self, context: str, question: str) -> Answer:
        unit = unit_of(context)
        asked = set(units(question, unit))
        best, most = (0, len(context)), -1.0
        for part in _PARTS[unit].finditer(context):
            shared = sum(map(self._weight, asked & set(units(part[0], unit))))
            if shared > most:
                best, most = part.span(), shared
        start, end = best
        text = context[start:end]
        start += len(text) - len(text.lstrip())
        return {
            "answer": context[start:end].rstrip(),
            "start": start,
            "end": start + len(context[start:end].rstrip()),
            "score": 0.0,
        }

    def _weight(self, unit: str) -> float:
        return math.log((1 + self._count) / (1 + self._times[unit])) + 1
