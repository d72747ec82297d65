"""Which parts of a context stand in the question too: a feature beside the words themselves.

Chen et al. 2017, DrQA, arXiv:1704.00051, section 3.2, "exact match". A network that has read little
text cannot learn from a few thousand questions that equal words should be compared.
"""

import re

from tael.task.overlap import unit_of

__all__ = ["LEVELS", "SEGMENTS", "levels"]

LEVELS = 3  # one unit alone, two in a row, three or more
SEGMENTS = 2 + LEVELS  # the question, the context, and those of its parts that match
_WORD = re.compile(r"\w+")
_STEM = 5  # letters by which words are taken for the same: surrender, surrendered


def levels(question: str, context: str) -> list[int]:
    """Return for each character of the context how many units in a row are the question's, to 3.

    A unit is a character in Chinese and Japanese, else a word by its first letters.
    """
    if unit_of(context) == "character":
        spots = [(at, at + 1) for at, sign in enumerate(context) if sign.isalnum()]
        asked = [sign for sign in question.lower() if sign.isalnum()]
        theirs = [context[start].lower() for start, _ in spots]
    else:
        spots = [word.span() for word in _WORD.finditer(context)]
        asked = [word[0].lower()[:_STEM] for word in _WORD.finditer(question)]
        theirs = [context[start:end].lower()[:_STEM] for start, end in spots]
    found = [0] * len(context)
    for (start, end), level in zip(spots, _runs(theirs, asked), strict=True):
        found[start:end] = [level] * (end - start)
    return found


def _runs(units: list[str], asked: list[str]) -> list[int]:
    """Return for each unit the longest run around it that stands in `asked`, to `LEVELS`."""
    known = {
        tuple(asked[at : at + size])
        for size in range(1, LEVELS + 1)
        for at in range(len(asked) - size + 1)
    }
    runs = [0] * len(units)
    for size in range(1, LEVELS + 1):
        for at in range(len(units) - size + 1):
            if tuple(units[at : at + size]) in known:
                for inside in range(at, at + size):
                    runs[inside] = size
    return runs
