"""Rows and plans: nothing lost, no row too full, any step at once."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tael.data.pack import Plan, micro, pack, pieces_of


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 64), max_size=200))
def test_packing_holds_every_text_once_and_overfills_no_row(sizes: list[int]) -> None:
    lengths = np.array(sizes, np.int64)
    rows = pack(lengths, 64)
    assert sorted(index for row in rows for index in row.tolist()) == list(range(len(sizes)))
    assert all(lengths[row].sum() <= 64 for row in rows)
    # Best fit decreasing never leaves two rows that fit into one.
    loads = sorted(int(lengths[row].sum()) for row in rows)
    assert len(loads) < 2 or loads[0] + loads[1] > 64


def test_packing_fills_rows_of_a_real_mix_of_lengths() -> None:
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(3.5, 0.8, 20_000).astype(np.int64), 1, 128)
    rows = pack(lengths, 128)
    assert lengths.sum() / (len(rows) * 128) > 0.98


def test_pieces_cover_every_token_once_and_empty_texts_give_none() -> None:
    pieces = pieces_of(np.array([0, 5, 14, 15, 29]), 14)
    assert pieces.tolist() == [
        [1, 0, 5], [2, 0, 14], [3, 0, 14], [3, 14, 15], [4, 0, 14], [4, 14, 28], [4, 28, 29]
    ]  # fmt: skip
    assert pieces_of(np.array([], dtype=np.int64), 14).shape == (0, 3)


@pytest.mark.parametrize("sizes", [[0, 3], [3, 65]])
def test_lengths_that_no_row_can_hold_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="lengths must be 1 to 64"):
        pack(np.array(sizes), 64)


def plan_of(texts: int, batch: int, group: bool, seed: int = 13) -> Plan:
    return Plan(np.random.default_rng(1).integers(1, 100, texts), batch, seed, group)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.booleans(), st.integers(0, 3))
def test_each_epoch_sees_every_text_once(texts: int, batch: int, group: bool, epoch: int) -> None:
    plan = plan_of(texts, batch, group)
    start = epoch * plan.steps_per_epoch
    steps = [plan[step] for step in range(start, start + plan.steps_per_epoch)]
    assert sorted(np.concatenate(steps).tolist()) == list(range(texts))
    assert all(len(step) == batch for step in steps[:-1])


@pytest.mark.parametrize("group", [False, True])
def test_any_step_is_the_same_asked_in_any_order(group: bool) -> None:
    plan = plan_of(500, 32, group)
    forward = [plan[step].tolist() for step in range(60)]
    fresh = plan_of(500, 32, group)
    assert [fresh[step].tolist() for step in reversed(range(60))] == forward[::-1]
    assert forward[:16] != forward[16:32]  # another epoch, another order
    assert plan_of(500, 32, group, seed=14)[0].tolist() != forward[0]


def padding(steps: Iterator[np.ndarray], lengths: np.ndarray) -> float:
    steps = list(steps)  # type: ignore[assignment]
    real = sum(int(lengths[step].sum()) for step in steps)
    return 1 - real / sum(int(lengths[step].max()) * len(step) for step in steps)


def test_grouping_lowers_padding_and_keeps_the_order_random() -> None:
    lengths = np.random.default_rng(1).integers(1, 100, 4000)
    plain, grouped = (Plan(lengths, 32, 13, group) for group in (False, True))
    waste = [padding((plan[step] for step in range(125)), lengths) for plan in (plain, grouped)]
    assert waste[1] < 0.1 < 0.4 < waste[0]
    means = np.array([lengths[grouped[step]].mean() for step in range(125)])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3


def test_micro_batches_hold_the_step_sorted_by_length() -> None:
    lengths = np.random.default_rng(1).integers(1, 100, 50)
    step = np.arange(10, 43)
    parts = micro(step, lengths, 8)
    assert sorted(np.concatenate(parts).tolist()) == step.tolist()
    assert [len(part) for part in parts] == [8, 8, 8, 8, 1]
    flat = lengths[np.concatenate(parts)]
    assert (np.diff(flat) >= 0).all()


def test_a_plan_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a plan needs texts"):
        Plan(np.array([], np.int64), 8, 0)
    with pytest.raises(IndexError):
        plan_of(5, 2, False)[-1]
