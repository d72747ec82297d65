"""Tags and the spans that they stand for, and the best legal row of tags.

Tags are read in every scheme there is (IOB1, BIO, BIOES, BILOU, BMES, with and without types) and
learned in one, BIO. Ramshaw and Marcus 1995, arXiv:cmp-lg/9505040; the reading of rows that break
the rules is that of CoNLL's own script: a span begins wherever none of its type goes on.

Letters: W words · C labels.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["OUTSIDE", "Chunk", "best_path", "bio", "chunks", "is_span_tag", "labels_of"]

Chunk = tuple[str, int, int]  # type ("" where the tags have none), first word, word after the last
OUTSIDE = "O"
_TAG = re.compile(r"([BIESMLU])(?:[-_](.+))?")


def is_span_tag(tag: str) -> bool:
    """Say whether a tag is O, or a place in a span such as B-PER or S."""
    return tag == OUTSIDE or _TAG.fullmatch(tag) is not None


def chunks(tags: Sequence[str]) -> list[Chunk]:
    """Return the spans of a row of tags, in any of the schemes."""
    found: list[Chunk] = []
    begin, inside = 0, None  # of the span that is open: its first word, its type
    for at, tag in enumerate([*tags, OUTSIDE]):
        place, kind = _place(tag)
        goes_on = inside is not None and kind == inside and place in "IMEL"
        if inside is not None and not goes_on:
            found.append((inside, begin, at))
            inside = None
        if place != OUTSIDE and inside is None:
            begin, inside = at, kind
        if place in "ESLU" and inside is not None:
            found.append((inside, begin, at + 1))
            inside = None
    return found


def bio(spans: Iterable[Chunk], words: int) -> list[str]:
    """Return a BIO tag a word. Of spans that overlap the longest is kept, then the first."""
    tags = [OUTSIDE] * words
    for kind, first, end in sorted(spans, key=lambda span: (span[1] - span[2], span[1])):
        if end > first and all(tag == OUTSIDE for tag in tags[first:end]):
            ending = f"-{kind}" if kind else ""
            tags[first:end] = [f"B{ending}", *[f"I{ending}"] * (end - first - 1)]
    return tags


def labels_of(types: Iterable[str]) -> list[str]:
    """Return the labels of a head that tells these types: O, then B and I of each."""
    endings = [f"-{kind}" if kind else "" for kind in types]
    return [OUTSIDE, *(f"{place}{ending}" for ending in endings for place in "BI")]


def best_path(scores_WC: NDArray[np.float64], labels: Sequence[str]) -> list[int]:
    """Return the legal row of labels with the largest sum (Viterbi 1967).

    Illegal is I-X but for behind B-X or I-X. Labels without a place (parts of speech) are all legal
    everywhere.
    """
    if not len(scores_WC):
        return []
    before_C = _openers(labels)
    inside_C = before_C >= 0
    total_C = np.where(inside_C, -np.inf, scores_WC[0])
    came_WC = np.zeros(scores_WC.shape, np.int64)
    columns_C = np.arange(len(labels))
    for at in range(1, len(scores_WC)):
        from_C = np.full(len(labels), int(total_C.argmax()))
        begun_C = total_C[before_C] >= total_C
        from_C[inside_C] = np.where(begun_C, before_C, columns_C)[inside_C]
        came_WC[at] = from_C
        total_C = total_C[from_C] + scores_WC[at]
    path = [int(total_C.argmax())]
    for at in range(len(scores_WC) - 1, 0, -1):
        path.append(int(came_WC[at, path[-1]]))
    return path[::-1]


def _openers(labels: Sequence[str]) -> NDArray[np.int64]:
    """Return for each label I-X where B-X stands, (C,); -1 for all others."""
    index = {label: at for at, label in enumerate(labels)}
    found = [
        index.get(f"B{label[1:]}", -1) if label[:1] == "I" and label[1:2] in ("", "-") else -1
        for label in labels
    ]
    return np.array(found, np.int64)


def _place(tag: str) -> tuple[str, str]:
    match = _TAG.fullmatch(tag)
    return (match[1], match[2] or "") if match else (OUTSIDE, "")
