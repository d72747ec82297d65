"""The estimate against runs that were measured: close enough to plan by."""

from pathlib import Path

import pytest

from tael.machine.probe import Machine, Peaks
from tael.recipe.load import load_recipe
from tael.recipe.schema import Recipe
from tael.road import estimate as estimating
from tael.road.estimate import Sizes, estimate

SMALL = Sizes(hidden=256, layers=4, ffn=1024, vocab=8000)
# The machine of the measured runs: one core did 96 GFLOP/s in float32, two did 400 in bfloat16.
TWO_CORES = Machine(
    "a server's CPU", 2, 25 * 10**9, (), None, "2.13", Peaks({"float32": 192, "bfloat16": 400}, 18),
    bfloat16_faster=True,
)  # fmt: skip
TRAIN = [{"text": "x" * 4 * 94, "label": "a"}] * 320  # 96 tokens each


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimating, "remembered", lambda: TWO_CORES)
    monkeypatch.setattr(estimating, "cores", lambda: 2)
    monkeypatch.setattr(estimating, "available_bytes", lambda: TWO_CORES.memory_bytes)


def recipe(folder: Path, *settings: str) -> Recipe:
    path = folder / "r.yaml"
    path.write_text("name: r\ntask: classify\ndata: {train: r.csv, max_tokens: 96}\n")
    return load_recipe(path, ["train.steps=1", *settings])


@pytest.mark.parametrize(
    ("settings", "measured"),
    [([], 5700), (["pretrain.dtype=float32", "machine.threads=1"], 2670)],
)
def test_pretraining_takes_about_as_long_as_it_was_measured(
    tmp_path: Path, settings: list[str], measured: float
) -> None:
    short, long = (
        estimate(recipe(tmp_path, f"pretrain.steps={steps}", *settings), TRAIN, SMALL)
        for steps in (100, 200)
    )
    rate = (long.tokens - short.tokens) / (long.seconds - short.seconds)
    assert rate == pytest.approx(measured, rel=0.15)


def test_smaller_micro_batches_need_less_memory_and_the_same_time(tmp_path: Path) -> None:
    whole, part = (
        estimate(recipe(tmp_path, f"train.micro_batch={rows}"), TRAIN, SMALL) for rows in (32, 8)
    )
    assert part.memory_bytes < whole.memory_bytes
    assert part.seconds == whole.seconds


def test_the_dtype_that_a_run_would_take_is_the_one_that_is_guessed_with(tmp_path: Path) -> None:
    auto = estimate(recipe(tmp_path), TRAIN, SMALL)
    assert auto.dtype == {"train": "bfloat16"}
    exact = estimate(recipe(tmp_path, "train.dtype=float32"), TRAIN, SMALL)
    assert exact.gflops["train"] == pytest.approx(0.6 * 192)
    assert "in float32, from measured peaks" in exact.line("USD")


def test_too_little_memory_is_said_with_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess = estimate(recipe(tmp_path), TRAIN, SMALL)
    assert "micro_batch" not in guess.line("USD")
    monkeypatch.setattr(estimating, "available_bytes", lambda: 5 * 10**8)
    assert "this machine has 0.5 GB: set train.micro_batch" in guess.line("USD")


def test_a_second_pass_over_each_batch_takes_twice_as_long(tmp_path: Path) -> None:
    once, twice = (
        estimate(recipe(tmp_path, f"train.adversary={size}"), TRAIN, SMALL) for size in (0, 1)
    )
    assert twice.seconds == pytest.approx(2 * once.seconds)
