"""The worked example of docs/model.md, from the equations alone: numpy, no torch, nothing of tael.

`python tests/model/worked_example.py docs` writes its numbers into the pages.
Letters: T query positions · S key positions · H heads · G heads of keys and values · K head size ·
D hidden · F ffn · C classes.
"""

import math
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HIDDEN, FFN, EPS = 512, 2048, 1e-5
PAGES = ("model.md", "model.zh-CN.md")
# Each matrix and norm has a prime of its own: n i² j then never meets another's.
ENCODER = {"q": 2, "k": 3, "v": 5, "out": 7, "up": 11, "down": 13, "attention": 17, "ffn": 19}
DECODER = {"q": 23, "k": 29, "v": 31, "out": 37, "up": 41, "down": 43, "attention": 47, "ffn": 53}
CROSS = {"q": 59, "k": 61, "v": 67, "out": 71, "attention": 73}
LOGITS_NC = np.array([[2.0, 0.5, -1.0], [0.0, 1.0, 0.5]])
CLASSES_N, WEIGHT_C, SMOOTHING = np.array([0, 2]), np.array([1.0, 2.0, 0.5]), 0.1
CHOSEN_NC = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
SCORE_N, NUMBER_N, SPREAD = np.array([3.5, 1.0]), np.array([4.0, 2.0]), 2.0


# The weights, by formula; i, j, t and d count from 1.


def tokens(first: int, count: int = 5) -> Array:
    """√2 sin(t d²), (T, D)."""
    t_T1, d_D = np.arange(first, first + count)[:, None], np.arange(1, HIDDEN + 1)
    return np.sqrt(2) * np.sin(t_T1 * d_D**2)


@cache
def matrix(n: int, rows: int, columns: int) -> Array:
    """√(2 / columns) sin(n i² j)."""
    i, j = np.arange(1, rows + 1)[:, None], np.arange(1, columns + 1)
    return np.sqrt(2 / columns) * np.sin(n * i**2 * j)


def bias(n: int, size: int) -> Array:
    """sin(n i) / 10."""
    return np.sin(n * np.arange(1, size + 1)) / 10


def scale(n: int, size: int = HIDDEN) -> Array:
    """1 + cos(n i) / 10."""
    return 1 + np.cos(n * np.arange(1, size + 1)) / 10


# The equations.


def linear(x: Array, n: int, rows: int) -> Array:
    return x @ matrix(n, rows, x.shape[-1]).T + bias(n, rows)


def softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def layer_norm(x_TD: Array, n: int) -> Array:
    centred_TD = x_TD - x_TD.mean(-1, keepdims=True)
    spread_T1 = np.sqrt((centred_TD**2).mean(-1, keepdims=True) + EPS)
    return centred_TD / spread_T1 * scale(n) + bias(n, HIDDEN)


def gelu(x: Array) -> Array:
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def split(x_TE: Array, width: int) -> Array:
    """(T, H·K) to (H, T, K)."""
    return x_TE.reshape(len(x_TE), -1, width).swapaxes(0, 1)


def attention(
    x_TD: Array,
    source_SD: Array,
    n: dict[str, int],
    heads: int,
    seen_TS: NDArray[np.bool_] | None = None,
    groups: int | None = None,
) -> tuple[Array, Array]:
    """The weights (H, T, S) and the output (T, D)."""
    width = HIDDEN // heads
    inner = (groups or heads) * width
    q_HTK = split(linear(x_TD, n["q"], HIDDEN), width)
    k_GSK = split(linear(source_SD, n["k"], inner), width)
    v_GSK = split(linear(source_SD, n["v"], inner), width)
    k_HSK, v_HSK = (np.repeat(x, heads // len(x), axis=0) for x in (k_GSK, v_GSK))
    scores_HTS = q_HTK @ k_HSK.swapaxes(1, 2) / np.sqrt(width)
    if seen_TS is not None:
        scores_HTS = np.where(seen_TS, scores_HTS, -np.inf)
    weights_HTS = softmax(scores_HTS)
    joined_TD = (weights_HTS @ v_HSK).swapaxes(0, 1).reshape(len(x_TD), -1)
    return weights_HTS, linear(joined_TD, n["out"], HIDDEN)


def feed_forward(x_TD: Array, n: dict[str, int]) -> Array:
    return linear(gelu(linear(x_TD, n["up"], FFN)), n["down"], HIDDEN)


def join(x_TD: Array, branch: Callable[[Array], Array], n: int, place: str) -> Array:
    """A residual sum with its norm, after it or before the branch."""
    if place == "post":
        return layer_norm(x_TD + branch(x_TD), n)
    return x_TD + branch(layer_norm(x_TD, n))


def encoder_layer(x_TD: Array, place: str = "post", heads: int = 8) -> Array:
    x_TD = join(x_TD, lambda x: attention(x, x, ENCODER, heads)[1], ENCODER["attention"], place)
    return join(x_TD, lambda x: feed_forward(x, ENCODER), ENCODER["ffn"], place)


def decoder_layer(y_TD: Array, source_SD: Array, place: str = "post", heads: int = 8) -> Array:
    y_TD = decoder_reads_itself(y_TD, place, heads)
    y_TD = join(y_TD, lambda y: attention(y, source_SD, CROSS, heads)[1], CROSS["attention"], place)
    return join(y_TD, lambda y: feed_forward(y, DECODER), DECODER["ffn"], place)


def decoder_reads_itself(y_TD: Array, place: str = "post", heads: int = 8) -> Array:
    seen_TS = causal(len(y_TD))
    return join(
        y_TD, lambda y: attention(y, y, DECODER, heads, seen_TS)[1], DECODER["attention"], place
    )


def causal(length: int = 5) -> NDArray[np.bool_]:
    return np.tril(np.ones((length, length), dtype=bool))


def documents(numbers_T: tuple[int, ...] = (1, 1, 2, 2, 2)) -> NDArray[np.bool_]:
    return np.equal.outer(numbers_T, numbers_T)


def cross_entropy(smoothing: float, weight_C: Array) -> float:
    """The sum of one-label losses over the records, over the sum of their labels' weights."""
    wrong_NC = -np.log(softmax(LOGITS_NC))
    own_N = np.take_along_axis(wrong_NC, CLASSES_N[:, None], 1)[:, 0] * weight_C[CLASSES_N]
    all_N = (wrong_NC * weight_C).mean(1)
    return float(((1 - smoothing) * own_N + smoothing * all_N).sum() / weight_C[CLASSES_N].sum())


def binary_cross_entropy(smoothing: float, weight_C: Array) -> float:
    soft_NC = CHOSEN_NC * (1 - smoothing) + smoothing / 2
    chance_NC = 1 / (1 + np.exp(-LOGITS_NC))
    wrong_NC = -(soft_NC * np.log(chance_NC) + (1 - soft_NC) * np.log(1 - chance_NC))
    return float((wrong_NC * weight_C).sum() / (len(wrong_NC) * weight_C.sum()))


def squared_error() -> float:
    return float((((SCORE_N - NUMBER_N) / SPREAD) ** 2).mean())


# The blocks of the pages.


def rows(title: str, x: Array, columns: int = 5) -> Iterator[str]:
    yield title
    for t, row in enumerate(x[:, :columns], 1):
        yield f"  {t}  " + " ".join(f"{number + 0.0:8.4f}" for number in row)


def attended(heads: int, seen_TS: NDArray[np.bool_] | None, *shown: int) -> Iterator[str]:
    weights_HTS, out_TD = attention(tokens(1), tokens(1), ENCODER, heads, seen_TS)
    for head in shown:
        yield from rows(f"A, head {head} of {heads} (T x S)", weights_HTS[head - 1])
    yield from rows("output, numbers 1 to 5 of 512 (T x D)", out_TD)


def blocks() -> dict[str, list[str]]:
    """The lines of every generated block, by name."""
    x_TD, y_TD, plain_C = tokens(1), tokens(6), np.ones(3)
    source_SD = encoder_layer(x_TD)
    after_TD = decoder_reads_itself(y_TD)
    shared_HTS, shared_TD = attention(x_TD, x_TD, ENCODER, 8, groups=2)
    return {
        "inputs": [
            *rows("x, numbers 1 to 5 of 512 (T x D)", x_TD),
            *rows("W of q, its corner (D x D)", matrix(ENCODER["q"], HIDDEN, HIDDEN)[:5]),
        ],
        "one": list(attended(1, None, 1)),
        "one-causal": list(attended(1, causal(), 1)),
        "eight": list(attended(8, None, 1, 8)),
        "eight-causal": list(attended(8, causal(), 1)),
        "grouped": [
            *rows("A, head 5 of 8, which reads key head 2 of 2", shared_HTS[4]),
            *rows("output, numbers 1 to 5 of 512", shared_TD),
        ],
        "packed": list(attended(8, documents(), 1)),
        "encoder": [
            *rows("post-norm, numbers 1 to 5 of 512", source_SD),
            *rows("pre-norm, numbers 1 to 5 of 512", encoder_layer(x_TD, "pre")),
        ],
        "decoder": [
            *rows("A of cross-attention, head 1 of 8 (T x S)",
                  attention(after_TD, source_SD, CROSS, 8)[0][0]),
            *rows("post-norm, numbers 1 to 5 of 512", decoder_layer(y_TD, source_SD)),
            *rows("pre-norm, numbers 1 to 5 of 512", decoder_layer(y_TD, source_SD, "pre")),
        ],
        "losses": [
            f"one label                        {cross_entropy(0, plain_C):.4f}",
            f"smoothing 0.1                    {cross_entropy(SMOOTHING, plain_C):.4f}",
            f"weights 1, 2, 0.5                {cross_entropy(0, WEIGHT_C):.4f}",
            f"both                             {cross_entropy(SMOOTHING, WEIGHT_C):.4f}",
            f"several labels, both             {binary_cross_entropy(SMOOTHING, WEIGHT_C):.4f}",
            f"a number                         {squared_error():.4f}",
        ],
    }  # fmt: skip


def filled(page: str) -> str:
    """Return a page with its blocks made anew."""
    for name, lines in blocks().items():
        mark = f"<!-- worked: {name} -->"
        made = "\n".join([mark, "```text", *lines, "```", "<!-- /worked -->"])
        page, found = re.subn(rf"{mark}.*?<!-- /worked -->", lambda _, made=made: made, page,
                              flags=re.DOTALL)  # fmt: skip
        assert found == 1, f"one place for {name} in a page, found {found}"
    return page


if __name__ == "__main__":
    for name in PAGES:
        path = Path(sys.argv[1]) / name
        path.write_text(filled(path.read_text("utf-8")), "utf-8")
