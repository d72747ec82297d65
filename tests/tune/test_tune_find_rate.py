"""The rate range test finds where a loss falls fastest, and touches nothing."""

import json
import math
import sys
from pathlib import Path

import pytest

from tael.cli.main import main
from tael.errors import RunError, UsageError
from tael.recipe.load import load_recipe
from tael.recipe.schema import Recipe
from tael.tune.find_rate import find_rate, page, suggest

RATES = [1e-6 * 10 ** (n / 10) for n in range(61)]


def bowl(rate: float) -> float:
    """Return a loss that falls from 2 around 1e-3, is lowest at 3e-2 and leaves all bounds."""
    fall = 1.5 / (1 + (1e-3 / rate) ** 2)
    return 2.0 - fall + (rate / 0.1) ** 3


def test_the_rate_is_where_the_loss_falls_fastest_not_where_it_is_lowest() -> None:
    found = suggest("train", RATES, [bowl(rate) for rate in RATES])
    # the running mean is behind by a few steps of a tenth of a decade
    assert 1e-3 < found.suggested < 4e-3 < found.lowest < 0.1
    assert found.rates[-1] < 1.0  # what comes after the loss has left all bounds is not kept
    assert len(found.rates) == len(found.losses) == len(found.smooth)


@pytest.mark.parametrize("losses", [[1.0 + n for n in range(61)], [math.nan] * 61, [], [1.0]])
def test_a_loss_that_never_falls_is_told(losses: list[float]) -> None:
    with pytest.raises(RunError, match="the loss falls at no rate"):
        suggest("train", RATES[: len(losses)], losses)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)
    words = ["good", "bad", "room", "food", "was", "the", "near", "again"]
    rows = [
        f"{words[n % 2]} {words[2 + n % 6]} {words[(n * 7) % 8]} n{n},{'ab'[n % 2]}"
        for n in range(90)
    ]
    Path("r.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    Path("r.yaml").write_text(
        "name: r\ntask: classify\ndata: {train: r.csv, max_tokens: 16, clean: {dedup: exact}}\n"
        "tokenizer: {vocab: 120}\nmodel: {hidden: 16, layers: 1, heads: 2, ffn: 32}\n"
        "train: {epochs: 1, batch: 8, dtype: float32}\nmachine: {threads: 1}\n"
    )
    return load_recipe("r.yaml")


def test_a_trial_sweeps_the_rates_and_leaves_nothing_behind(recipe: Recipe) -> None:
    before = sorted(Path.cwd().iterdir())
    found = find_rate(recipe, steps=25, progress=False)
    assert sorted(Path.cwd().iterdir()) == before
    assert found.stage == "train"
    assert found.rates[0] == pytest.approx(1e-6)
    growth = [b / a for a, b in zip(found.rates, found.rates[1:], strict=False)]
    assert growth == pytest.approx([growth[0]] * len(growth))
    assert found.rates[0] < found.suggested < found.lowest <= 1.0
    text = page(recipe, found)
    assert "<svg" in text
    assert f"{found.suggested:.1e}" in text
    assert "学习率" in page(recipe.model_copy(update={"lang": "zh"}), found)


@pytest.mark.slow
def test_a_recipe_that_pretrains_is_tried_in_that_stage(recipe: Recipe) -> None:
    more = ["pretrain.steps=9", "pretrain.batch=2", "pretrain.dtype=float32"]
    found = find_rate(load_recipe("r.yaml", more), steps=20, progress=False)
    assert found.stage == "pretrain"
    assert len(found.rates) <= 20


@pytest.mark.slow
@pytest.mark.usefixtures("recipe")
def test_the_verb_says_the_rate_and_writes_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tael", "tune", "r.yaml", "--find-rate", "--json"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert json.loads(capsys.readouterr().out)["suggested"] > 1e-6
    assert Path("r-rates.html").exists()


def test_the_verb_asks_what_to_look_for() -> None:
    from tael.cli.judge import tune

    with pytest.raises(UsageError, match="--find-rate"):
        tune(Path("r.yaml"))
