"""Duplicates, near duplicates, contradictions and leaks.

Exact means equal once width, case, spaces and punctuation are taken away. Near means that the sets
of three-character pieces of two such texts have a Jaccard similarity of at least the threshold:
MinHash with banding (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets,
chapter 3) proposes pairs, and the true similarity of each proposed pair decides. So a near
duplicate is never a false one; the few that banding misses are under one in a hundred.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tael.data.record import Record, place
from tael.errors import DataError
from tael.recipe.schema import Clean

__all__ = [
    "SHORTEST",
    "Deduped",
    "Match",
    "dedup",
    "leaks",
    "near",
    "normalised",
    "similarities",
    "sketch",
]

SHORTEST = 10  # normalised characters; one changed sign is too much of a shorter text: exact only
_PIECE = 3  # characters: three Han characters are as telling as a word or two
_HASHES = 128
_CROWD = 100  # texts remembered under one band; templates would make this quadratic otherwise
_LOOKS = 16  # exact comparisons a text
_BLOCK = 1 << 16  # pieces hashed at once: fits the cache, bounds memory
_REMEMBERED = 1 << 15  # texts whose normal form is kept: each is asked for at every step on its way
_MEMORABLE = 512  # characters of the longest of them: together under 64 MiB


@dataclass(frozen=True, slots=True)
class Match:
    """A record that was taken out, the one it repeats, and the similarity of their pieces."""

    record: Record
    kept: Record
    similarity: float

    @property
    def exact(self) -> bool:
        """Whether the normalised texts are equal; their pieces may agree without that."""
        return normalised(self.record) == normalised(self.kept)


@dataclass(frozen=True, slots=True)
class Deduped:
    """What is left, what was taken out as a duplicate, and groups of contradicting records."""

    kept: list[Record]
    duplicates: list[Match] = field(default_factory=list)
    conflicts: list[list[Record]] = field(default_factory=list)


def dedup(records: Sequence[Record], rules: Clean, counts: Counter[str]) -> Deduped:
    """Keep the first of each group of duplicates.

    A text that stands with different labels is dropped with all its copies, kept once a label, or
    raises DataError, as `rules.conflicts` says. A near duplicate with another label than the first
    one is dropped as a duplicate and counted on its own line.
    """
    if rules.dedup == "off":
        return Deduped(list(records))
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(normalised(record), []).append(record)
    kept, duplicates, conflicts = _exact(list(groups.values()), rules, counts)
    counts["exact duplicates removed"] += len(duplicates)
    if rules.dedup == "near":
        keys = [normalised(record) for record in kept]
        matches = near(keys, rules.near_threshold, counts=counts)
        twins = [
            Match(record, kept[match[0]], match[1])
            for record, match in zip(kept, matches, strict=True)
            if match
        ]
        kept = [record for record, match in zip(kept, matches, strict=True) if not match]
        counts["near duplicates removed"] += len(twins)
        counts["near duplicates with another label"] += sum(
            twin.record.get("label") != twin.kept.get("label") for twin in twins
        )
        duplicates += twins
    return Deduped(kept, duplicates, conflicts)


def leaks(
    train: Sequence[Record], other: Sequence[Record], rules: Clean
) -> tuple[list[Record], list[Match]]:
    """Return the records of `train` that repeat none of `other`, and the matches of those that do.

    Labels play no part: a text that training has seen is no test, whatever its label.
    """
    if rules.dedup == "off" or not other or not train:
        return list(train), []
    first: dict[str, Record] = {}
    for record in other:
        first.setdefault(normalised(record), record)
    keys = [normalised(record) for record in train]
    found = {i: Match(train[i], first[key], 1.0) for i, key in enumerate(keys) if key in first}
    if rules.dedup == "near":
        references = list(first)
        matches = near([*references, *keys], rules.near_threshold, references=len(references))
        for i, match in enumerate(matches[len(references) :]):
            if match and i not in found:
                found[i] = Match(train[i], first[references[match[0]]], match[1])
    kept = [record for i, record in enumerate(train) if i not in found]
    return kept, [found[i] for i in sorted(found)]


class _Stripped(dict[int, int | None]):
    """Character → itself, or nothing if it is punctuation, a space or a control character."""

    def __missing__(self, code: int) -> int | None:
        kind = unicodedata.category(chr(code))
        self[code] = None if kind[0] in "PZC" or kind == "Sk" else code
        return self[code]


_STRIPPED = _Stripped()
_STRIPPED_ASCII = bytes(code for code in range(128) if _STRIPPED[code] is None)


def normalised(record: Record) -> str:
    """Return the text (and its pair) by which two records count as the same."""
    texts = [_normalised(str(record["text"]))]
    if record.get("text_pair") is not None:
        texts.append(_normalised(str(record["text_pair"])))
    return "\n".join(texts)


def _normalised(text: str) -> str:
    return _remembered(text) if len(text) <= _MEMORABLE else _normal(text)


def _normal(text: str) -> str:
    if text.isascii():
        plain = text.lower().encode().translate(None, _STRIPPED_ASCII).decode()
        return plain or "".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text).casefold()
    # "!!!" and "…" would both be empty: such texts are compared as they are, without spaces.
    return folded.translate(_STRIPPED) or "".join(folded.split())


_remembered = lru_cache(_REMEMBERED)(_normal)


def _exact(
    groups: Sequence[list[Record]], rules: Clean, counts: Counter[str]
) -> tuple[list[Record], list[Match], list[list[Record]]]:
    kept: list[Record] = []
    duplicates: list[Match] = []
    conflicts = [group for group in groups if _contradicts(group)]
    if conflicts and rules.conflicts == "fail":
        places = ", ".join(place(record) for record in conflicts[0][:4])
        raise DataError(
            f"{place(conflicts[0][0])}: {len(conflicts)} texts stand with different labels, the "
            f"first at {places}. Mend them, or set data.clean.conflicts=drop (or keep)."
        )
    counts["texts with different labels"] += len(conflicts)
    for group in groups:
        if rules.conflicts == "drop" and _contradicts(group):
            counts["rows dropped for contradicting labels"] += len(group)
            continue
        by_label: dict[object, Record] = {}
        for record in group:
            first = by_label.setdefault(record.get("label"), record)
            if first is record:
                kept.append(record)
            else:
                duplicates.append(Match(record, first, 1.0))
    return kept, duplicates, conflicts


def _contradicts(group: Sequence[Record]) -> bool:
    return len(group) > 1 and len({record.get("label") for record in group}) > 1


def near(
    keys: Sequence[str],
    threshold: float,
    *,
    references: int | None = None,
    counts: Counter[str] | None = None,
) -> list[tuple[int, float] | None]:
    """Return for each text the (index, similarity) of an earlier one it nearly repeats, or None.

    Without `references` a text is compared with the earlier texts that got None, so no two of those
    are near duplicates. With it the first `references` texts get None and all others are compared
    with them alone. Texts under `SHORTEST` characters get None.
    """
    counts = Counter() if counts is None else counts
    long = [i for i, key in enumerate(keys) if len(key) >= SHORTEST]
    found: list[tuple[int, float] | None] = [None] * len(keys)
    pieces = _Pieces([keys[i] for i in long])
    signature_NH = _minhash(pieces)
    bands_NB = _bands(signature_NH, threshold)
    shelves: dict[tuple[int, int], list[int]] = {}
    for n, i in enumerate(long):
        # A band that no other text has, -1 here, can neither find nor be found.
        places = [(b, key) for b, key in enumerate(bands_NB[n].tolist()) if key >= 0]
        if references is None or i >= references:
            candidates = {m for place_ in places for m in shelves.get(place_, ())}
            likely = _likely(sorted(candidates), n, signature_NH, threshold)
            best = max(((pieces.jaccard(m, n), -m) for m in likely), default=(0.0, 0))
            if best[0] >= threshold:
                found[i] = (long[-best[1]], best[0])
        if found[i] is None and (references is None or i < references):
            for place_ in places:
                shelf = shelves.setdefault(place_, [])
                if len(shelf) < _CROWD:
                    shelf.append(n)
                else:
                    counts["near-duplicate comparisons given up: very many alike"] += 1
    return found


def sketch(keys: Sequence[str], threshold: float) -> NDArray[np.uint64]:
    """Return a number for each band of each text, (N, B): near duplicates have one in common.

    All `keys` have `SHORTEST` characters at least. Texts with a number in common may still differ.
    """
    rows = _rows(threshold)
    signature_NH = _minhash(_Pieces(keys)).astype(np.uint64)
    band_NB = np.zeros((len(keys), _HASHES // rows), np.uint64)
    for row in range(rows):
        band_NB ^= signature_NH[:, row : rows * band_NB.shape[1] : rows]
        band_NB *= np.uint64(0x9E3779B97F4A7C15)
        band_NB ^= band_NB >> np.uint64(29)
    return band_NB


def similarities(keys: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[float]:
    """Return the Jaccard similarity of the pieces of each pair of `keys`, given by their places."""
    pieces = _Pieces(keys)
    sets = [pieces.of(n) for n in range(len(keys))]  # arrays: a tenth of the memory of sets
    found = []
    for m, n in pairs:
        both = len(np.intersect1d(sets[m], sets[n], assume_unique=True))
        found.append(both / (len(sets[m]) + len(sets[n]) - both))
    return found


class _Pieces:
    """The distinct three-character pieces of each text, packed into integers without collisions."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self._sets: dict[int, frozenset[int]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, n: int) -> NDArray[np.uint64]:
        codes = np.frombuffer(self._keys[n].encode("utf-32-le"), np.uint32).astype(np.uint64)
        packed = codes[:-2] << np.uint64(42) | codes[1:-1] << np.uint64(21) | codes[2:]
        return np.unique(packed)

    def jaccard(self, m: int, n: int) -> float:
        one, other = self._set(m), self._set(n)
        both = len(one & other)
        return both / (len(one) + len(other) - both)

    def _set(self, n: int) -> frozenset[int]:
        if n not in self._sets:
            self._sets[n] = frozenset(self.of(n).tolist())
        return self._sets[n]


def _rows(threshold: float) -> int:
    """Return the most rows a band may have so that 99.5 % of pairs at the threshold share one."""
    missed = {r: (1 - threshold**r) ** (_HASHES // r) for r in range(1, 17)}
    return max(r for r in missed if missed[r] <= 0.005)


def _likely(
    candidates: list[int], n: int, signature_NH: NDArray[np.uint32], threshold: float
) -> list[int]:
    """Return the candidates worth an exact look: few, where a template makes very many."""
    if len(candidates) <= _LOOKS:
        return candidates
    alike = (signature_NH[candidates] == signature_NH[n]).mean(axis=1)
    order = np.argsort(-alike, kind="stable")[:_LOOKS]
    # The estimate strays by 0.035 at a similarity of 0.8: three times that is allowed for.
    return [candidates[i] for i in order.tolist() if alike[i] >= threshold - 0.1]


def _bands(signature_NH: NDArray[np.uint32], threshold: float) -> NDArray[np.int64]:
    """Return one number a text and band, (N, B); -1 where no other text has the same."""
    rows = _rows(threshold)
    bands = _HASHES // rows
    out_NB = np.full((len(signature_NH), bands), -1, np.int64)
    for b in range(bands):
        band = np.ascontiguousarray(signature_NH[:, b * rows : (b + 1) * rows])
        _, inverse, times = np.unique(
            band.view([("", band.dtype)] * rows).ravel(), return_inverse=True, return_counts=True
        )
        out_NB[:, b] = np.where(times[inverse] > 1, inverse, -1)
    return out_NB


def _minhash(pieces: _Pieces) -> NDArray[np.uint32]:
    """Return the signatures, (N, `_HASHES`)."""
    signature_NH = np.empty((len(pieces), _HASHES), np.uint32)
    start, waiting, size = 0, list[NDArray[np.uint64]](), 0
    for n in range(len(pieces)):
        waiting.append(pieces.of(n))
        size += len(waiting[-1])
        if size >= _BLOCK or n + 1 == len(pieces):
            signature_NH[start : n + 1] = _signatures(waiting)
            start, waiting, size = n + 1, [], 0
    return signature_NH


def _signatures(sets: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint32]:
    generator = np.random.default_rng(0)  # fixed: the same texts give the same answer anywhere
    factor_H = generator.integers(0, 1 << 63, _HASHES, np.uint64) * np.uint64(2) + np.uint64(1)
    shift_H = generator.integers(0, 1 << 63, _HASHES, np.uint64)
    piece = np.concatenate(sets)
    piece = (piece ^ piece >> np.uint64(31)) * np.uint64(0x9E3779B97F4A7C15)
    piece ^= piece >> np.uint64(29)  # neighbours in code points must not stay neighbours
    starts = np.cumsum([0, *(len(one) for one in sets[:-1])])
    out_NH = np.empty((len(sets), _HASHES), np.uint32)
    for h in range(_HASHES):
        hashed = (piece * factor_H[h] + shift_H[h]) >> np.uint64(32)
        out_NH[:, h] = np.minimum.reduceat(hashed, starts)
    return out_NH
