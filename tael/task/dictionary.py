"""What a sceptic would tag with: a dictionary of what the training records have tagged."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from tael.data.record import Record
from tael.task.base import Answer
from tael.task.scheme import OUTSIDE, Chunk, chunks
from tael.task.tag_data import Scheme, spans_at, tags_of, words_in

__all__ = ["Dictionary"]

Words = tuple[str, ...]


class Dictionary:
    """Tags words as train mostly did: the longest known span first, or each word's usual tag."""

    def __init__(self, scheme: Scheme, known: dict[Words, str], other: str) -> None:
        self._scheme, self._known, self._other = scheme, known, other
        self._longest = max(map(len, known), default=1)

    @classmethod
    def learn(cls, records: Sequence[Record], scheme: Scheme) -> "Dictionary":
        """Return the dictionary of these records; a word outside a span counts against it."""
        counts: defaultdict[Words, Counter[str]] = defaultdict(Counter)
        rows: list[tuple[Words, list[str]]] = []
        for record in records:
            source = words_in(record)
            words = tuple(source.text[start:end] for start, end in source.cells)
            tags = tags_of(record, source.cells, scheme) or []
            rows.append((words, tags))
            if scheme == "plain":
                for word, tag in zip(words, tags, strict=True):
                    counts[(word,)][tag] += 1
            else:
                for kind, first, end in chunks(tags):
                    counts[words[first:end]][kind] += 1
        if scheme == "plain":
            usual = Counter(tag for _, tags in rows for tag in tags).most_common(1)[0][0]
            return cls(scheme, {w: c.most_common(1)[0][0] for w, c in counts.items()}, usual)
        longest = max(map(len, counts), default=1)
        for words, tags in rows:
            for first in range(len(words)):
                for end in range(first + 1, min(first + longest, len(words)) + 1):
                    outside = all(tag == OUTSIDE for tag in tags[first:end])
                    if outside and words[first:end] in counts:
                        counts[words[first:end]][OUTSIDE] += 1
        known = {words: of.most_common(1)[0][0] for words, of in counts.items()}
        return cls(scheme, {w: kind for w, kind in known.items() if kind != OUTSIDE}, OUTSIDE)

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record, in order."""
        return [self._answer(record) for record in records]

    def _answer(self, record: Record) -> Answer:
        source = words_in(record)
        words = tuple(source.text[start:end] for start, end in source.cells)
        if self._scheme == "plain":
            tags = [self._known.get((word,), self._other) for word in words]
            return {"tokens": list(words), "tags": tags}
        found: list[Chunk] = []
        at = 0
        while at < len(words):
            end = next(
                (
                    end
                    for end in range(min(at + self._longest, len(words)), at, -1)
                    if words[at:end] in self._known
                ),
                None,
            )
            if end is not None:
                found.append((self._known[words[at:end]], at, end))
            at = end or at + 1
        return {"spans": spans_at(found, source.text, source.cells)}
