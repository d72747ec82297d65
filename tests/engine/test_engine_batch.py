"""Laws of length batching: every row once, in its place, within the budget."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tael.engine.batch import cut, in_batches, pad
from tael.task.base import Example

lengths = st.lists(st.integers(1, 90), max_size=60)


@given(lengths=lengths, rows=st.integers(1, 9), positions=st.integers(1, 300))
def test_every_row_is_computed_exactly_once(lengths: list[int], rows: int, positions: int) -> None:
    groups = cut(lengths, rows=rows, positions=positions)
    together = np.concatenate(groups) if groups else np.empty(0)
    assert sorted(together.tolist()) == list(range(len(lengths)))


@given(lengths=lengths, rows=st.integers(1, 9), positions=st.integers(1, 300))
def test_no_batch_exceeds_its_rows_or_positions(
    lengths: list[int], rows: int, positions: int
) -> None:
    for group in cut(lengths, rows=rows, positions=positions):
        longest = max(lengths[index] for index in group)
        assert len(group) <= rows
        assert len(group) == 1 or longest * len(group) <= positions


@given(lengths=lengths)
def test_no_row_of_a_later_batch_is_longer_than_one_of_an_earlier(lengths: list[int]) -> None:
    groups = cut(lengths, rows=4, positions=200)
    for first, second in pairwise(groups):
        assert min(lengths[i] for i in first) >= max(lengths[i] for i in second)


@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=60), rows=st.integers(1, 9))
def test_rows_come_back_in_the_order_they_were_asked(lengths: list[int], rows: int) -> None:
    examples = [
        Example(ids=[number] * length, types=[0] * length) for number, length in enumerate(lengths)
    ]

    def compute(batch: list[Example]) -> NDArray[np.float32]:
        return np.array([[example.ids[0], len(example)] for example in batch], np.float32)

    out = in_batches(examples, compute, rows=rows)
    assert out[:, 0].tolist() == list(range(len(lengths)))
    assert out[:, 1].tolist() == lengths


def test_nothing_asked_is_nothing_computed() -> None:
    def never(batch: list[Example]) -> NDArray[np.float32]:
        raise AssertionError("computed an empty batch")

    assert len(in_batches([], never)) == 0


def test_padding_is_masked_and_the_rest_is_not() -> None:
    ids, mask, types = pad(
        [Example(ids=[2, 7, 3], types=[0, 0, 1]), Example(ids=[2, 3], types=[0, 1])]
    )
    assert ids.tolist() == [[2, 7, 3], [2, 3, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert types.tolist() == [[0, 0, 1], [0, 1, 0]]
