"""Training of the Unigram subword model, with the same result for the same texts.

Kudo 2018, Subword Regularization, arXiv:1804.10959, section 3.2, with two departures. The best
segmentation alone is counted, not the expectation over all (hard EM): counts are integers, so
neither threads nor hash seeds change a bit. The `tokenizers` trainer sums floats in the order of a
hash map: its vocabularies differ from run to run. And candidates are pieces whose beginnings are
frequent too, found length by length. The segmenting itself is the library's Unigram model.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

__all__ = ["learn_pieces"]

_LONGEST = 12  # characters in a piece
_LEAST = 3  # times that a candidate must occur
_SEEDS = 6  # candidates a wanted piece
_ROUNDS = 4  # of pruning; each keeps the same share, the last one leaves what is wanted


def learn_pieces(words: Counter[str], size: int, alphabet: str = "") -> list[tuple[str, float]]:
    """Return up to `size` (piece, log-probability), most probable first.

    `words` are pre-tokens with their counts. Every single character of them, and of `alphabet`,
    becomes a piece, even where that makes more than `size`.
    """
    texts = sorted(words)
    times = np.array([words[text] for text in texts], np.int64)
    characters = {character for text in (*texts, alphabet) for character in text}
    pieces = _seeds(words, characters, size * _SEEDS)
    shrink = (min(1.0, size / max(1, len(pieces)))) ** (1 / _ROUNDS)
    for _ in range(_ROUNDS):
        pieces = _counted(pieces, texts, times, characters)
        target = max(size, math.ceil(len(pieces) * shrink))
        pieces = _pruned(pieces, characters, target)
    pieces = _pruned(_counted(pieces, texts, times, characters), characters, size)
    return sorted(_logs(pieces).items(), key=lambda item: (-item[1], item[0]))


def _seeds(words: Counter[str], characters: Iterable[str], most: int) -> dict[str, int]:
    """Return the frequent substrings with their counts, the heaviest (count × length) first."""
    found: dict[str, int] = {}
    frequent: set[str] | None = None  # substrings one character shorter that occur often enough
    for length in range(1, _LONGEST + 1):
        here: Counter[str] = Counter()
        for word, times in words.items():
            for start in range(len(word) - length + 1):
                piece = word[start : start + length]
                if frequent is None or piece[:-1] in frequent:
                    here[piece] += times
        frequent = {piece for piece, times in here.items() if length == 1 or times >= _LEAST}
        found.update((piece, here[piece]) for piece in frequent)
    heaviest = sorted(found, key=lambda piece: (-found[piece] * len(piece), piece))[:most]
    return {piece: found.get(piece, 0) for piece in {*heaviest, *characters}}


def _logs(pieces: dict[str, int]) -> dict[str, float]:
    total = math.log(sum(pieces.values()) or 1)
    # Half a count for a piece that is never used: only characters are kept so.
    return {piece: round(math.log(times or 0.5) - total, 4) for piece, times in pieces.items()}


def _counted(
    pieces: dict[str, int], texts: Sequence[str], times: NDArray[np.int64], characters: set[str]
) -> dict[str, int]:
    """Count how often the best segmentation of the texts uses each piece."""
    names = sorted(pieces)
    logs = _logs(pieces)
    vocab = [("<unk>", -100.0), *((name, logs[name]) for name in names)]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=False))
    used = np.zeros(len(vocab), np.int64)
    for start in range(0, len(texts), 10_000):
        batch = tokenizer.encode_batch_fast(texts[start : start + 10_000])
        weights = times[start : start + 10_000]
        ids = [encoding.ids for encoding in batch]
        weight = np.repeat(weights, [len(row) for row in ids])
        np.add.at(used, np.concatenate([np.asarray(row, np.int64) for row in ids]), weight)
    counts = dict(zip(names, used[1:].tolist(), strict=True))
    return {name: count for name, count in counts.items() if count or name in characters}


def _pruned(pieces: dict[str, int], characters: set[str], size: int) -> dict[str, int]:
    """Keep the characters and the pieces whose loss would cost the most likelihood."""
    logs = _logs(pieces)
    cost = {
        piece: times * (logs[piece] - _without(piece, logs))
        for piece, times in pieces.items()
        if piece not in characters
    }
    room = max(0, size - len(characters))
    kept = sorted(cost, key=lambda piece: (-cost[piece], piece))[:room]
    return {piece: pieces[piece] for piece in (*sorted(characters), *kept)}


def _without(piece: str, logs: dict[str, float]) -> float:
    """Return the log-probability of the best way to write a piece with other pieces."""
    best = [0.0] + [-math.inf] * len(piece)
    for end in range(1, len(piece) + 1):
        for start in range(end):
            if end - start < len(piece) and (part := piece[start:end]) in logs:
                best[end] = max(best[end], best[start] + logs[part])
    return best[-1]
