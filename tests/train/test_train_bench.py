"""The training bench: its loops take turns, its figures are what they say, tael's side runs."""

import argparse
import importlib
import statistics
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of bench/, as its scripts do."""
    monkeypatch.syspath_prepend(str(BENCH))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def counting(log: list[str], name: str) -> Any:
    def work(tell: Any) -> None:
        while True:
            log.append(name)
            tell(6, 8)

    return work


def test_loops_take_turns_and_end_when_they_are_closed(bench: Any) -> None:
    turns, log = bench("training.turns"), list[str]()
    a, b = turns.Side("a", counting(log, "a")), turns.Side("b", counting(log, "b"), steps=2)
    before = threading.active_count()
    turns.take_turns([a, b], warm=1, rounds=2)
    assert log == ["a", "b", "a", "b", "b", "a", "b", "b"]
    assert threading.active_count() == before
    assert [turn.tokens for turn in b.turns] == [12, 12]
    assert turns.figures(a)["padding"] == 0.25


def test_what_a_loop_raises_ends_the_bench(bench: Any) -> None:
    turns = bench("training.turns")

    def broken(tell: Any) -> None:
        tell(1, 1)
        raise ValueError("no more memory")

    side = turns.Side("a", broken)
    with pytest.raises(ValueError, match="no more memory"):
        turns.take_turns([side], warm=1, rounds=3)
    with pytest.raises(RuntimeError, match="ended before"):
        turns.take_turns([turns.Side("b", lambda tell: None)], warm=1, rounds=1)


def test_a_ratio_is_the_median_of_the_rounds_own(bench: Any) -> None:
    turns = bench("training.turns")
    ours, theirs = (turns.Side(name, counting([], name)) for name in "ab")
    # The machine is three times slower in the second round, for both.
    ours.turns = [turns.Spent(100, 100, wall, wall) for wall in (1.0, 3.0, 1.0)]
    theirs.turns = [turns.Spent(100, 100, wall, 2 * wall) for wall in (2.0, 6.0, 4.0)]
    assert turns.ratio(ours, theirs) == statistics.median([2.0, 2.0, 4.0])
    assert turns.ratio(ours, theirs, "cpu") == 4.0


def test_of_a_peer_that_ran_compiled_too_the_better_form_counts(bench: Any) -> None:
    turns, groups = bench("training.turns"), bench("training.groups")
    sides = [turns.Side(name, counting([], name)) for name in ("tael", "loop", "loop_compiled")]
    for side, wall in zip(sides, (1.0, 3.0, 2.0), strict=True):
        side.turns = [turns.Spent(100, 100, wall, wall)]
    found = groups.against("clm", sides, "loop")
    assert found["clm_vs_loop"] == found["clm_vs_loop_compiled"] == 2.0
    assert found["clm_vs_loop_plain"] == 3.0


def test_texts_are_as_long_as_asked_and_no_word_is_lost(bench: Any, tmp_path: Path) -> None:
    from tael.data.tokenizer import load_tokenizer
    from tael.recipe.package import resolve

    texts, groups = bench("training.texts"), bench("training.groups")
    tokenizer = load_tokenizer(resolve(groups.MINILM))
    words = texts.english(6000)
    file = tmp_path / "texts.txt"
    texts.write_pieces(file, words, tokenizer, texts.natural(86, 126))
    assert sorted(file.read_text("utf-8").split()) == sorted(words)
    lengths = [len(ids) for ids in texts.tokens(file, tokenizer)]
    assert max(lengths) <= 128
    assert 70 < statistics.mean(lengths) < 100


def test_every_matrix_is_multiplied_three_times_a_step(bench: Any) -> None:
    gemm = bench("training.gemm")
    network = nn.Sequential()
    network.add_module("body", nn.Linear(8, 16))
    network.add_module("head", nn.Linear(16, 4))
    step = gemm.products(network, 10, 2, 4)  # ten tokens, two of them targets
    # Forward, and for the gradients of what came in and of the weight; vectors are no product.
    assert sum(one.operations for one in step) == 3 * 2 * (10 * 8 * 16 + 2 * 16 * 4)
    tiny = [gemm.Product(2, 2, 2), gemm.Product(2, 2, 2, times=3)]
    ticks = iter(range(10_000))
    # A clock that ticks once a reading: each product takes 1, so 4 of 16 operations take 4.
    assert gemm.peak(tiny, lambda: float(next(ticks))) == 16


def test_the_command_line_says_how_much_is_measured(bench: Any) -> None:
    train = bench("train")
    quick, full = train.arguments(["--quick"]), train.arguments([])
    assert quick.rounds < full.rounds
    assert quick.compile
    assert not train.arguments(["--no-compile"]).compile
    assert full.sizes.layers == 6
    assert full.only == ["mlm", "clm", "lora"]


@pytest.mark.slow
@pytest.mark.parametrize("group", ["mlm", "lora"])
def test_taels_side_runs_without_the_peers(bench: Any, tmp_path: Path, group: str) -> None:
    options = bench("train").arguments(
        ["--tiny", "--alone", "--rounds", "2", "--warm", "1", "--threads", "1"]
    )
    found = getattr(bench("training.groups"), group)(tmp_path, options)
    assert found["tael"]["tokens_per_second"] > 0
    assert found["tael"]["padding"] < 0.15
    if group == "mlm":
        assert 0 < found["gemm_share"] < 1


@pytest.mark.slow
def test_the_peers_run_beside_tael(bench: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra bench")
    pytest.importorskip("accelerate", reason="needs the extra bench")
    options: argparse.Namespace = bench("train").arguments(
        ["--tiny", "--no-compile", "--rounds", "1", "--warm", "1", "--threads", "1"]
    )
    found = bench("training.groups").clm(tmp_path, options)
    for peer in ("trainer", "nanogpt"):
        assert found[f"clm_vs_{peer}"] > 0
    assert found["trainer"]["padding"] == 0
    # Batches of 2, of every 3 the middle one; a rest of the batches is left out.
    thinned = bench("training.trainer").Thinned(range(14), 2, 3)
    assert list(thinned)[: len(thinned)] == [2, 3, 8, 9]


def test_habits_do_not_change_what_is_learned(bench: Any) -> None:
    from tael.data.tokenizer import Specials
    from tael.model.config import ModelConfig
    from tael.model.network import build
    from tael.task.mlm import MaskedLM

    causes = bench("training.causes")
    learner = MaskedLM(Specials(0, 1, 2, 3, 4), 50, 0.3)
    config = ModelConfig(50, 16, 1, 2, 32, dropout=0.0, attention_dropout=0.0)
    network = build(config, learner.head(config), 0)
    texts = [torch.randint(5, 50, (length,)).numpy() for length in (9, 30, 12, 21)]
    for packed in (False, True):
        batch = next(causes.batches(learner, texts, packed=packed))
        assert batch.tokens == 72
        losses = [
            causes.mean_loss(network, learner, batch, causes.Habits(packed, *habits)).item()
            for habits in ((False, False), (True, False), (True, True))
        ]
        assert max(losses) - min(losses) < 1e-5


@pytest.mark.slow
def test_both_sides_are_scored_after_as_many_tokens(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="needs the extra bench")
    pytest.importorskip("accelerate", reason="needs the extra bench")
    quality = bench("training.quality")
    monkeypatch.setattr(quality, "STEPS", 6)
    options = bench("train").arguments(["--tiny", "--seeds", "1", "--threads", "1"])
    found = quality.quality(tmp_path, options)
    assert found["standard_error"] is None
    assert abs(found["tael_tokens"] / found["tokens"] - 1) < 0.2  # of so few steps
    assert 6 < found["tael"][0] < 9  # the logarithm of 2,000 units is 7.6
