"""What a sceptic would write: what stands in train for the nearest source, or the source's start.

Letters: N records · V n-grams.
"""

import re
from collections.abc import Sequence

from tael.data.record import Record
from tael.task.base import Answer

__all__ = ["Lead", "Memory"]

_FIRST = 3  # lines or sentences
_AT_ONCE = 512  # records, so that their similarities to all of train fit any memory
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*")


class Memory:
    """A translation memory: the target of the nearest training source, by TF-IDF."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        sources, self._targets = [source for source, _ in pairs], [target for _, target in pairs]
        han = sum("\u3400" <= letter <= "\u9fff" for text in sources for letter in text)
        chinese = han > sum(map(len, sources)) / 4
        unit = {"analyzer": "char"} if chinese else {"token_pattern": r"(?u)\S+"}
        self._vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **unit)
        self._known_NV = self._vectors.fit_transform(sources)

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return the target of the nearest training source of each record."""
        found: list[Answer] = []
        for start in range(0, len(records), _AT_ONCE):
            some = [str(record["source"]) for record in records[start : start + _AT_ONCE]]
            nearness = self._vectors.transform(some) @ self._known_NV.T
            found += [_text(self._targets[int(n)]) for n in nearness.toarray().argmax(axis=1)]
        return found


class Lead:
    """The first three lines of the source, or sentences where it is one line."""

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return the beginning of each source."""
        found = []
        for record in records:
            lines = [line for line in str(record["source"]).splitlines() if line.strip()]
            parts = lines if len(lines) > 1 else _SENTENCE.split(" ".join(lines))
            found.append(_text(" ".join(parts[:_FIRST])))
        return found


def _text(text: str) -> Answer:
    return {"text": text, "finished": True, "tokens": 0}
