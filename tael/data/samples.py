"""What each repair did, shown on a few texts: the place of the change before and after it."""

import re
from itertools import takewhile

from tael.data.personal import mask

__all__ = ["Samples"]

_EACH = 3  # texts a step
_BEFORE, _LONGEST = 20, 120  # characters ahead of the change, and in all


class Samples:
    """The first changes of each step. With `masked` no personal data is kept, on either side."""

    def __init__(self, masked: bool) -> None:
        self._masked = masked
        self.steps: dict[str, list[tuple[str, str]]] = {}

    def add(self, step: str, before: str, after: str) -> None:
        """Note a change, if there is still room for one of this step."""
        pairs = self.steps.setdefault(step, [])
        if len(pairs) < _EACH:
            if self._masked:
                before, after = _hidden(before), _hidden(after)
            letters = zip(before, after, strict=False)
            same = sum(1 for _ in takewhile(lambda two: two[0] == two[1], letters))
            pairs.append((_around(before, same), _around(after, same)))


def _hidden(text: str) -> str:
    # A number may be in pieces that only the repair brings together, so every digit goes.
    return re.sub(r"\d", "#", mask(text))


def _around(text: str, at: int) -> str:
    start = max(0, at - _BEFORE)
    part = text[start : start + _LONGEST]
    return ("…" if start else "") + part + ("…" if start + _LONGEST < len(text) else "")
