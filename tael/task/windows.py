"""Long texts by windows that overlap, and the best stretch of tokens over all of them.

Letters: T positions · W windows · A tokens of an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stretch", "best_stretch", "starts", "tidied"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens first to last (both inside) of a text, and how likely they are the answer."""

    first: int
    last: int
    probability: float


def starts(tokens: int, room: int, stride: int | None = None) -> list[int]:
    """Return where windows of `room` tokens begin, each `stride` (half of `room`) after the last.

    Every token is in a window; the last one ends with the text. No token: one empty window.
    """
    if tokens <= room:
        return [0]
    step = min(stride or -(-room // 2), room)  # a larger one would leave tokens out
    return [*range(0, tokens - room, step), tokens - room]


def best_stretch(
    windows: Sequence[tuple[int, Floats, Floats]], longest: int
) -> tuple[Stretch | None, float]:
    """Return the likeliest stretch of at most `longest` tokens, and the probability of none.

    Of each window: the number of its first token, and what its start and end scores are above
    those of "no answer here"; so windows can be compared. A stretch that several windows hold is
    counted where it scores best.
    """
    best: dict[tuple[int, int], float] = {}
    for offset, start_T, end_T in windows:
        for (first, last), score in _ranked(start_T, end_T, longest):
            key = (offset + first, offset + last)
            best[key] = max(score, best.get(key, -np.inf))
    if not best:
        return None, 1.0
    scores = np.array([*best.values(), 0.0])  # none scores 0 by construction
    weights = np.exp(scores - scores.max())
    share = weights / weights.sum()
    top = int(scores[:-1].argmax())
    first, last = list(best)[top]
    return Stretch(first, last, float(share[top])), float(share[-1])


_KEPT = 50  # stretches of a window that are weighed against each other


def _ranked(start_T: Floats, end_T: Floats, longest: int) -> list[tuple[tuple[int, int], float]]:
    """Return the best (first, last) of one window with their scores, best first."""
    length = len(start_T)
    if not length:
        return []
    width = min(longest, length)
    ends = np.concatenate([end_T, np.full(width - 1, -np.inf)])
    # A band, not a square: a start sees only the ends of the next `longest` tokens.
    score_TA = start_T[:, None] + np.lib.stride_tricks.sliding_window_view(ends, width)
    flat = score_TA.ravel()
    kept = min(_KEPT, flat.size)
    top = np.argpartition(-flat, kept - 1)[:kept]
    top = top[np.lexsort((top, -flat[top]))]
    found = []
    for index in top.tolist():
        first, more = divmod(index, width)
        if np.isfinite(flat[index]):
            found.append(((first, first + more), float(flat[index])))
    return found


def tidied(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the offsets of tokens without white space at their ends.

    A token may carry the space before it, which belongs to no answer.
    """
    tidy = []
    for start, end in offsets:
        piece = text[start:end]
        left = len(piece) - len(piece.lstrip())
        right = len(piece.rstrip())
        tidy.append((start + left, start + right) if right > left else (start, end))
    return tidy
