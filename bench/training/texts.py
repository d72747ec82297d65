"""The texts that all sides learn from: English, one a line, of the lengths that texts have."""

import csv
import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

__all__ = ["DATA", "english", "natural", "shared", "tokens", "write_pieces"]

DATA = Path(os.environ.get("TAEL_DATA", Path(__file__).parents[3] / "shared/data"))
_SOURCES = (
    "lm_en_tinyshakespeare/input.txt",
    "sum_en_dialogsum/dev.jsonl",
    "sum_en_dialogsum/test.jsonl",
    "cls_en_rotten_tomatoes/train.csv",
)


def shared() -> bool:
    """Whether the shared texts are there."""
    return all((DATA / name).exists() for name in _SOURCES)


def english(count: int) -> list[str]:
    """Return the first words of a running English text, `count` at most.

    Without the shared data they are drawn: 20,000 made-up words, by Zipf's law and by the word
    before, so that there is something to learn.
    """
    if not shared():
        return list(_drawn(count))
    words = (word for name in _SOURCES for word in _read(DATA / name).split())
    return list(itertools.islice(words, count))


def write_pieces(
    path: Path, words: list[str], tokenizer: Tokenizer, lengths: Iterator[int]
) -> None:
    """Write the words as texts, one a line, each of the next of `lengths` in tokens, or just under.

    A text ends with a word, so it is a few tokens shorter; the order is shuffled, with a seed.
    """
    sizes = [len(one.ids) for one in tokenizer.encode_batch(words, add_special_tokens=False)]
    texts, text, room = [], list[str](), next(lengths)
    for word, size in zip(words, sizes, strict=True):
        if size > room and text:
            texts.append(" ".join(text))
            text, room = [], next(lengths)
        text.append(word)
        room -= size
    texts.append(" ".join(text))
    random.Random(0).shuffle(texts)
    path.write_text("\n".join(texts) + "\n", "utf-8")


def natural(mean: float, longest: int) -> Iterator[int]:
    """Yield lengths for ever, log-normal and cut at `longest`, about `mean` on average."""
    luck = np.random.default_rng(0)
    while True:
        yield int(np.clip(luck.lognormal(np.log(mean), 0.6), 8, longest))


def tokens(path: Path, tokenizer: Tokenizer) -> list[list[int]]:
    """Return the ids of each line, special tokens included."""
    lines = path.read_text("utf-8").splitlines()
    return [one.ids for one in tokenizer.encode_batch(lines)]


def _read(path: Path) -> str:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return " ".join(row["text"] for row in csv.DictReader(file))
    if path.suffix == ".jsonl":
        lines = path.read_text("utf-8").splitlines()
        return " ".join(json.loads(line)["dialogue"] for line in lines)
    return path.read_text("utf-8")


def _drawn(count: int) -> Iterator[str]:
    draw = random.Random(0)
    parts = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er")]
    words = ["".join(draw.choices(parts, k=draw.randint(1, 3))) for _ in range(20_000)]
    last = 0
    for _ in range(count):
        rank = int(len(words) ** draw.random()) - 1
        last = (rank * 31 + last % 7) % len(words)
        yield words[last]
