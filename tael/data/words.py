"""Text to ids, faster: each different word is segmented once, not each time it stands.

A trained tokenizer cuts text into words and segments every word by itself, so the ids of a word
are always the same. The cutting is done here by one regular expression, the segmenting by the
tokenizer's own model; a test holds the ids equal to the tokenizer's. Text with characters outside
well-known blocks, and tokenizers of other make, take the tokenizer's own way.
"""

import json
import re
import unicodedata
from array import array
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models

from tael.data.tokenizer import shell

__all__ = ["Encoder"]

_KEPT = 60_000  # words remembered, twice: the recent ones, and those before them
# Characters whose normal form and class no version of Unicode disputes. Others go the long way.
_STRANGE = re.compile(
    "[^\t\n -~¡-\u024f\u0370-\u0373\u0391-\u03c9\u0410-\u044f\u2010-\u2027\u2030-\u205e"
    "\u20a0-\u20b1\u2190-\u21ff\u2460-\u24fe\u2500-\u2580\u2582-\u25ff\u2600-\u2613"
    "\u3000-\u3006\u3008-\u3020\u3041-\u3094\u309b-\u309e\u30a1-\u30fe\u4e00-\u9fa5\uff01-\uff5e]"
)
_HAN = "々一-龥"


class Encoder:
    """Turn texts into ids, the same as `tokenizer` without special tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._kind = "H" if tokenizer.get_vocab_size() <= 1 << 16 else "I"
        self.dtype = np.dtype(self._kind)
        self._tokenizer, self._model = tokenizer, tokenizer.model
        self._mark = _mark(tokenizer)
        self._recent: dict[str, bytes] = {}
        self._before: dict[str, bytes] = {}

    def __call__(self, texts: Sequence[str]) -> list[bytes]:
        """Return the ids of each text as the bytes of an array of `dtype`."""
        if self._mark is None:
            return self._whole(texts)
        cut = [None if _STRANGE.search(text) else _words(text, self._mark) for text in texts]
        self._learn(set(chain.from_iterable(words for words in cut if words)))
        known = self._recent.__getitem__
        strange = iter(
            self._whole([t for t, words in zip(texts, cut, strict=True) if words is None])
        )
        return [next(strange) if w is None else b"".join(map(known, w)) for w in cut]

    def _whole(self, texts: Sequence[str]) -> list[bytes]:
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._bytes(one.ids) for one in found]

    def _learn(self, words: set[str]) -> None:
        if len(self._recent) > _KEPT:  # what is not asked for any more is forgotten
            self._before, self._recent = self._recent, {}
        for word in words - self._recent.keys():
            ids = self._before.get(word)
            if ids is None:
                ids = self._bytes([token.id for token in self._model.tokenize(word)])
            self._recent[word] = ids

    def _bytes(self, ids: list[int]) -> bytes:
        return array(self._kind, ids).tobytes()


def _mark(tokenizer: Tokenizer) -> str | None:
    """Return the sign for a space of a tokenizer whose words are known here; None for others."""
    if not tokenizer.encode_special_tokens:
        return None
    for mark in ("▁", ""):
        ours = _steps(shell(models.Unigram(), mark))
        if _steps(tokenizer) == ours:
            return mark
    return None


def _steps(tokenizer: Tokenizer) -> tuple[Any, Any]:
    parts = json.loads(tokenizer.to_str())
    return parts["normalizer"], parts["pre_tokenizer"]


def _words(text: str, mark: str) -> list[str]:
    plain = text.isascii()
    if not plain:
        text = unicodedata.normalize("NFKC", text)
    unmarked, pattern = _patterns(mark, plain)
    if mark and text:
        text = mark + text.replace(" ", mark)
        text = unmarked.sub("", text, count="\n" not in text)
    found: list[str] = pattern.findall(text)
    return found


@cache
def _patterns(mark: str, plain: bool) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the mark that goes, at the head of a line before Han and signs, and what a word is."""
    most = 1 << (7 if plain else 16)
    han = "" if plain else _HAN
    signs, numbers = (_class(kind, most) for kind in "PN")
    together = rf"[{signs}]+" if plain else rf"[{han}]+|[{signs}]+"
    ordinary = rf"[{numbers}]+|[^\s{mark}{han}{signs}{numbers}]+"
    if not mark:
        return re.compile(""), re.compile(f"{together}|{ordinary}")
    # A mark belongs to the word after it; those before it, and those before signs, stand alone.
    alone = rf"{mark}+(?={mark}[^\s{mark}{han}{signs}])|{mark}+"
    pattern = rf"{mark}?(?:{ordinary})|{together}|\s+|{alone}"
    return re.compile(f"(?m)^{mark}(?=[{han}{signs}])"), re.compile(pattern)


def _class(kind: str, most: int) -> str:
    """Return the characters under `most` of a Unicode category, for a regular expression."""
    found = (chr(code) for code in range(most) if unicodedata.category(chr(code))[0] == kind)
    return "".join(map(re.escape, found))
