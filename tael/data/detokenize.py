"""Ids to text, one at a time: what a stream shows is never half a character and never taken back.

A character may be spread over several tokens (the bytes of an emoji), and a decoder may treat the
first token of a text differently from later ones. So text is held back until its last token cannot
change it, and every piece is decoded behind the token that stood before it.
"""

import re

from tokenizers import Tokenizer

__all__ = ["Detokenizer"]

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character, or not yet one


class Detokenizer:
    """Decode a growing list of ids: the pieces together are `tokenizer.decode` of all of them.

    One object is one text. Special tokens are left out unless `special` asks for them.
    """

    def __init__(self, tokenizer: Tokenizer, special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._hidden = set() if special else _special_ids(tokenizer)
        self._byte_runs = _joins_bytes(tokenizer)
        self._ids: list[int] = []  # the last token already shown, then those held back
        self._shown = ""  # the text of the token already shown, when it stands alone

    def feed(self, id_: int) -> str:
        """Take the next id and return the text that is now certain; it may be empty."""
        token = None if id_ in self._hidden else self._tokenizer.id_to_token(id_)
        if token is None:  # special, or beyond the vocabulary: decoders leave both out
            return ""
        self._ids.append(id_)
        # Decoders judge a run of byte tokens as a whole: one that is broken breaks all of them.
        if self._byte_runs and _BYTE.fullmatch(token):
            return ""
        text = self._decoded(self._ids)
        if text.endswith(_BROKEN) or not text.startswith(self._shown):
            return ""
        return self._show(text)

    def end(self) -> str:
        """Return the rest: what was held back, and is now as complete as it will ever be."""
        return self._show(self._decoded(self._ids))

    def _show(self, text: str) -> str:
        piece = text[len(self._shown) :]
        self._ids = self._ids[-1:]
        self._shown = self._decoded(self._ids)
        return piece

    def _decoded(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text


def _special_ids(tokenizer: Tokenizer) -> set[int]:
    added = tokenizer.get_added_tokens_decoder()
    return {id_ for id_, token in added.items() if token.special}


def _joins_bytes(tokenizer: Tokenizer) -> bool:
    """Tell whether `<0x41>` is a byte to the decoder, or only its own spelling."""
    decoder = tokenizer.decoder
    return decoder is not None and b"ByteFallback" in decoder.__getstate__()
