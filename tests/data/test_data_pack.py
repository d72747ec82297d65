"""Shards and plans: nothing encoded twice, nothing lost, any step at once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tael.data.pack import Plan, fill, micro, pack
from tael.data.shards import Shard, build
from tael.errors import DataError

TEXTS = ["alpha", "", "béta 服务", "gamma" * 40]


class Encoder:
    """Characters as ids, and a count of the texts it was asked for."""

    def __init__(self, offset: int = 0) -> None:
        self.offset, self.texts = offset, 0

    def __call__(self, texts: list[str]) -> list[list[int]]:
        self.texts += len(texts)
        return [[ord(character) + self.offset for character in text] for text in texts]


def test_a_shard_gives_back_what_was_encoded(tmp_path: Path) -> None:
    shard = build(tmp_path, TEXTS, Encoder(), "characters")
    assert [row.tolist() for row in shard] == [[ord(c) for c in text] for text in TEXTS]
    assert shard.lengths.tolist() == [len(text) for text in TEXTS]
    assert (len(shard), shard.tokens) == (4, sum(map(len, TEXTS)))
    assert isinstance(shard[0].base, np.memmap)  # on disk, not in memory
    with pytest.raises(IndexError):
        shard[4]


def test_nothing_is_encoded_twice_and_another_content_or_key_is_another_shard(
    tmp_path: Path,
) -> None:
    encoder = Encoder()
    first = build(tmp_path, TEXTS, encoder, "characters")
    again = build(tmp_path, iter(TEXTS), encoder, "characters")
    assert encoder.texts == len(TEXTS)
    assert again.folder == first.folder
    others = [
        build(tmp_path, TEXTS, encoder, "other key"),
        build(tmp_path, TEXTS[::-1], encoder, "characters"),
        build(tmp_path, ["ab"], encoder, "k"),
        build(tmp_path, ["a", "b"], encoder, "k"),
    ]
    assert len({shard.folder for shard in [first, *others]}) == 5


@pytest.mark.parametrize(("offset", "kind"), [(0, np.uint16), (1 << 16, np.uint32)])
def test_ids_take_two_bytes_where_they_fit_and_never_wrap(
    tmp_path: Path, offset: int, kind: type
) -> None:
    shard = build(tmp_path, ["ab"], Encoder(offset), "k")
    assert shard[0].dtype == kind
    assert shard[0].tolist() == [ord("a") + offset, ord("b") + offset]


def test_a_build_that_dies_leaves_nothing_that_passes_for_a_shard(tmp_path: Path) -> None:
    def dies(texts: list[str]) -> list[list[int]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, TEXTS, dies, "k")
    assert build(tmp_path, TEXTS, Encoder(), "k").tokens == sum(map(len, TEXTS))


def test_no_texts_and_a_damaged_folder(tmp_path: Path) -> None:
    assert len(build(tmp_path, [], Encoder(), "k")) == 0
    shard = build(tmp_path, TEXTS, Encoder(), "k")
    np.save(shard.folder / "ids.npy", shard._ids[:3])
    with pytest.raises(DataError, match="damaged: 3 of"):
        Shard(shard.folder)
    (shard.folder / "ids.npy").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="not a token shard"):
        Shard(shard.folder)


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
    assert fill(rows, lengths, 128) > 0.98
    assert fill([], lengths, 128) == 0


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
