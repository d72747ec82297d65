"""The text of a growing list of ids, in whole characters, and cut where a stop string begins."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from tael.data.detokenize import Detokenizer

__all__ = ["Growing"]

_BEHIND = 8  # tokens of the prompt that a decoder is shown first; spaces depend on what went before


class Growing:
    """Text that grows by tokens; what is handed out is never taken back.

    What may become a stop string is held back until it is one or cannot be. The stop string that is
    complete first ends the text, so how the text is cut into tokens makes no difference.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt: Sequence[int] = (), stop: Sequence[str] = ()
    ) -> None:
        self._detokenizer = Detokenizer(tokenizer)
        for id_ in prompt[-_BEHIND:]:
            self._detokenizer.feed(id_)
        self._detokenizer.end()
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def feed(self, id_: int) -> str:
        """Take the next id; return the text that is now certain, which may be empty."""
        return "" if self.stopped else self._sure(self._detokenizer.feed(id_))

    def end(self) -> str:
        """Return what was held back; nothing after a stop string."""
        if self.stopped:
            return ""
        sure = self._sure(self._detokenizer.end())
        rest, self._held = self._held, ""
        return sure if self.stopped else sure + rest

    def _sure(self, piece: str) -> str:
        text = self._held + piece
        found = [(start + len(s), start) for s in self._stop if (start := text.find(s)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        held = max((_overlap(text, s) for s in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Return how many last characters of a text may be the first ones of a stop string."""
    for size in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
