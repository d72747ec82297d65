"""What a sceptic tries before a network that writes: which characters followed the last ones.

A character 5-gram with Witten-Bell smoothing (Witten and Bell 1991, The zero-frequency problem,
method C; interpolated as in Chen and Goodman 1999, section 2.6). It is a real code: a character
never seen costs its escape and one of all code points.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from tael.data.record import Record
from tael.task.base import Answer
from tael.task.text_data import choices_of, is_judged, size_of

__all__ = ["CharacterGrams"]

_ORDER = 5
_POINTS = 0x110000  # code points
_END = "\n"  # of a text


class CharacterGrams:
    """A model of the characters of texts; each begins behind a line end, and ends with one."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._after: dict[str, Counter[str]] = defaultdict(Counter)
        for text in texts:
            line = _END + text + _END
            for order in range(_ORDER):
                for at in range(1, len(line)):
                    if at >= order:
                        self._after[line[at - order : at]][line[at]] += 1
        self._total = {before: followed.total() for before, followed in self._after.items()}

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return what the network's answers hold, tokens being characters."""
        return [self._answer(record) for record in records]

    def _answer(self, record: Record) -> Answer:
        if is_judged(record):
            lead, choices = choices_of(record)
            sums = [self._told(lead + choice, len(lead) or 1)[0] for choice in choices]
            return {"choice": sums.index(max(sums)), "log_probabilities": sums}
        lead = str(record.get("before") or _END)[1 - _ORDER :]
        end = "" if record.get("goes_on") else _END
        total, right = self._told(lead + str(record["text"]) + end, len(lead))
        characters = size_of(record)["characters"]
        return {
            "log_probability": total,
            "tokens": characters,
            "foreseen": right,
            "perplexity": math.exp(-total / characters),
            "bits_per_char": -total / math.log(2) / characters,
        }

    def _told(self, line: str, first: int) -> tuple[float, int]:
        """Return log P of the characters from `first` on, and how many were the likeliest."""
        total, right = 0.0, 0
        for at in range(first, len(line)):
            before = line[max(0, at - _ORDER + 1) : at]
            total += math.log(self._share(before, line[at]))
            while before not in self._after:
                before = before[1:]
            right += self._after[before].most_common(1)[0][0] == line[at]
        return total, right

    def _share(self, before: str, character: str) -> float:
        share = 1 / _POINTS
        for start in range(len(before), -1, -1):  # from no context to all of it
            context = before[start:]
            followed = self._after.get(context)
            if followed is None:
                break
            kinds, total = len(followed), self._total[context]
            share = (followed[character] + kinds * share) / (total + kinds)
        return share
