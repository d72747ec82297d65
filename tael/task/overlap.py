"""How far an answer agrees with the given ones: exact match and F1 over words, or characters.

Rajpurkar et al. 2016, SQuAD, arXiv:1606.05250, section 6.1. Chinese and Japanese have no spaces
between words, so there the bag is of letters, digits and characters.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal

__all__ = ["Unit", "best_overlap", "exact", "f1", "unit_of", "units"]

Unit = Literal["word", "character"]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)  # of English: SQuAD takes ASCII out, nothing else
_UNSPACED = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_SHARE = 0.3  # of the letters: a Chinese text may name things in Latin letters


def unit_of(text: str) -> Unit:
    """Return what is counted in a text: characters where it is written without spaces."""
    letters = sum(map(str.isalpha, text))
    return "character" if len(_UNSPACED.findall(text)) > _SHARE * letters else "word"


def units(text: str, unit: Unit) -> list[str]:
    """Return the units of an answer, in order; case and punctuation gone, in English articles."""
    lower = text.lower()
    if unit == "character":
        return [sign for sign in lower if not _is_punctuation(sign)]
    plain = "".join(sign for sign in lower if sign not in _PUNCTUATION)
    return _ARTICLES.sub(" ", plain).split()


def _is_punctuation(sign: str) -> bool:
    return sign in _PUNCTUATION or unicodedata.category(sign)[0] in "PZC"


def exact(answer: str, truth: str, unit: Unit) -> float:
    """Return 1.0 where both have the same units, else 0.0."""
    return float(units(answer, unit) == units(truth, unit))


def f1(answer: str, truth: str, unit: Unit) -> float:
    """Return twice the shared units over all units; where one has none, whether both have none."""
    ours, theirs = units(answer, unit), units(truth, unit)
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def best_overlap(answer: str, truths: Sequence[str], unit: Unit) -> tuple[float, float]:
    """Return exact match and F1 with the truth that fits best; no truth: nothing is the answer."""
    candidates = truths or [""]
    return (
        max(exact(answer, truth, unit) for truth in candidates),
        max(f1(answer, truth, unit) for truth in candidates),
    )
