"""Pricing a real run, and what is written, said and served in every outcome."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from tael.compress.manifest import read_variant
from tael.engine.predictor import open_engine
from tael.errors import FloorError, RunError, TaelError
from tael.machine.tariff import cost_per_1000
from tael.price import frontier as frontier_file
from tael.price.choice import Priced, Quality
from tael.price.confirm import Proof
from tael.price.decision import Decision, decide
from tael.price.floor import Floor
from tael.price.frontier import price
from tael.price.measure import Worker, measure, speed_of, workers
from tael.price.page import page
from tael.price.sentence import money, sentence
from tael.recipe.load import load_recipe
from tael.recipe.schema import Data, Recipe

FLOOR = Floor("accuracy", 0.98, True)
PROVED = Proof(0.891, 0.9, 0.009, 0.002, True, 777, 0)
RECIPE = Recipe(name="reviews", task="classify", data=Data(train=("reviews.csv",)))
MACHINE: dict[str, str | int] = {"cpu": "a CPU", "cores": 2, "torch": "2"}
ROW_KEYS = {
    "id", "runtime", "precision", "quality", "p50_ms", "p95_ms", "throughput", "peak_bytes",
    "bytes", "cost_per_1000", "on_frontier",
}  # fmt: skip


def row(name: str, cost: float | None, score: float) -> Priced:
    return Priced(
        id=name,
        runtime="torch",
        precision="fp32",
        quality=Quality(metric="accuracy", value=score, low=score - 0.02, high=score + 0.02),
        p50_ms=1.0,
        p95_ms=2.0,
        throughput=10.0,
        peak_bytes=2**27,
        bytes=2**20,
        cost_per_1000=cost,
    )


ROWS = [row("torch-fp32", 0.0016, 0.9), row("onnx-int8", 0.0004, 0.89), row("tfidf", 0.0001, 0.85)]
WEAK = [row("torch-fp32", 0.0016, 0.8), row("onnx-int8", 0.0004, 0.79), row("tfidf", 0.001, 0.79)]


def decided(rows: list[Priced], proof: Proof) -> tuple[Decision, list[str]]:
    asked: list[str] = []

    def on_test(name: str) -> Proof:
        asked.append(name)
        return proof

    return decide(rows, FLOOR, on_test, p95_ms=None), asked


def test_test_is_asked_once_and_about_the_choice_alone() -> None:
    decision, asked = decided(ROWS, PROVED)
    assert asked == ["onnx-int8"]
    assert (decision.chosen, decision.confirmed) == ("onnx-int8", True)


def test_what_is_not_proved_leaves_the_parent_serving() -> None:
    decision, _ = decided(ROWS, replace(PROVED, proved=False, lower=-0.01, more=1200))
    assert (decision.chosen, decision.confirmed) == ("torch-fp32", False)
    assert decision.candidate == "onnx-int8"


def test_a_parent_below_the_baseline_does_not_serve_even_then() -> None:
    rows = [*ROWS[:2], row("tfidf", 0.002, 0.91), row("linear-student", 0.001, 0.92)]
    decision, asked = decided(rows, replace(PROVED, proved=False))
    assert asked == ["linear-student"]
    assert (decision.chosen, decision.confirmed) == ("tfidf", False)


def test_where_nothing_keeps_the_floor_test_stays_unread() -> None:
    def never(_: str) -> Proof:
        raise AssertionError("test was read")

    decision = decide(ROWS, Floor("accuracy", 0.99, False), never, p95_ms=None)
    assert decision == Decision(None, None, None)


def test_a_manager_understands_a_proved_choice() -> None:
    assert sentence(ROWS, FLOOR, decided(ROWS, PROVED)[0], RECIPE) == (
        "The int8 ONNX model costs 0.00040 USD per 1,000 requests, 4.0 times less than the full "
        "model, and keeps 99.0 % of its accuracy: proved on 777 test rows"
    )


@pytest.mark.parametrize(
    ("rows", "proof", "said"),
    [
        (ROWS, replace(PROVED, proved=False, more=1200), "about 1,200 more rows would settle it"),
        (ROWS, replace(PROVED, proved=False, more=None), "more rows alone would not settle it"),
        (ROWS, replace(PROVED, value=0.95), "is better than it (accuracy 0.95 against 0.9)"),
        (WEAK, replace(PROVED, proved=False, more=9), "so the full model is served"),
        (ROWS[:1] + ROWS[2:], PROVED, "nothing cheaper keeps accuracy >= 0.98 * base"),
    ],
)
def test_every_outcome_is_said(rows: list[Priced], proof: Proof, said: str) -> None:
    told = sentence(rows, FLOOR, decided(rows, proof)[0], RECIPE)
    assert said in told
    assert "\n" not in told


def test_no_keeper_is_said_with_what_was_asked_and_what_there_is() -> None:
    told = sentence(ROWS, Floor("accuracy", 0.99, False), Decision(None, None, None), RECIPE)
    assert "0.9900" in told
    assert "0.9000 (torch-fp32)" in told
    assert "lower price.floor" in told


def test_money_shows_two_digits_and_no_exponent() -> None:
    assert money(0.0000427, "USD") == "0.000043 USD"
    assert money(0.1, "USD") == "0.10 USD"
    assert money(1234.5, "CNY") == "1,234.50 CNY"
    assert money(0, "USD") == "0 USD"


@pytest.mark.parametrize("rows", [ROWS, [row("torch-fp32", None, 0.9), row("tfidf", None, 0.8)]])
def test_the_page_is_one_file_and_leads_with_the_sentence(rows: list[Priced]) -> None:
    decision, _ = decided(rows, PROVED)
    html = unescape(page(rows, FLOOR, decision, RECIPE, MACHINE))
    assert "<script" not in html
    assert 'src="http' not in html
    assert html.index(sentence(rows, FLOOR, decision, RECIPE)[1:40]) < html.index("<main>")
    for one in rows:
        assert one.id in html
    for how in ("a CPU", "0.10 USD", "0.5", "test split"):
        assert how in html


def rounds(*parts: tuple[list[float], dict[str, list[float]]]) -> list[dict[str, object]]:
    return [{"alone": alone, "levels": levels} for alone, levels in parts]


def test_throughput_is_the_best_rate_that_keeps_the_bound() -> None:
    times = rounds(([2.0], {"1": [2.0, 2.0], "8": [8.0, 8.0], "32": [16.0, 16.0]}))
    assert speed_of(times, 1, p95_ms=None).throughput == pytest.approx(2000)
    bounded = speed_of(times, 1, p95_ms=10)
    assert (bounded.throughput, bounded.together) == (pytest.approx(1000), 8)
    assert speed_of(times, 1, p95_ms=1).throughput == 0


def test_one_noisy_round_moves_neither_rate_nor_median() -> None:
    calm: tuple[list[float], dict[str, list[float]]] = ([2.0] * 9, {"1": [2.0] * 9})
    noisy: tuple[list[float], dict[str, list[float]]] = ([90.0] * 2, {"1": [90.0] * 2})
    speed = speed_of(rounds(calm, noisy, calm), 1, p95_ms=None)
    assert speed.throughput == pytest.approx(500)
    assert speed.p50_ms == 2.0


@pytest.fixture(scope="module")
def priced(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Price a copy of the tiny run, with short rounds."""
    run = tmp_path_factory.mktemp("priced") / "run"
    shutil.copytree(tiny_run, run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier_file, "measure", short(measure))
        price(run, progress=False)
    return run


def short(whole: Callable[..., object]) -> Callable[..., object]:
    return lambda *args, **options: whole(*args, **options, rounds=2, seconds=0.2)


@pytest.mark.slow
def test_frontier_json_has_the_fixed_form(priced: Path) -> None:
    found = json.loads((priced / "price" / "frontier.json").read_text())
    assert set(found) == {"variants", "floor", "chosen", "confirmed", "baseline"}
    assert found["floor"] == "accuracy >= 0.98 * base"
    assert found["baseline"] == "tfidf"
    assert len(found["variants"]) == 6
    for one in found["variants"]:
        assert set(one) == ROW_KEYS
        assert set(one["quality"]) == {"metric", "value", "low", "high"}
        assert one["quality"]["low"] <= one["quality"]["value"] <= one["quality"]["high"]
        assert 0 < one["p50_ms"] <= one["p95_ms"]
        cost = cost_per_1000(0.10, one["throughput"], 0.5)
        assert one["cost_per_1000"] == pytest.approx(cost)
    assert found["chosen"] in {one["id"] for one in found["variants"]}


@pytest.mark.slow
def test_the_chosen_one_is_served_and_its_evidence_lies_beside_it(priced: Path) -> None:
    found = json.loads((priced / "price" / "frontier.json").read_text())
    assert open_engine(priced).variant.id == found["chosen"]
    for one in found["variants"]:
        variant = read_variant(priced / "variants" / one["id"], verify=True)
        assert variant.evidence is not None
        assert variant.evidence.cost_per_1000 == one["cost_per_1000"]
    assert (priced / "price" / "frontier.html").read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_a_linear_variant_needs_far_less_memory_than_torch(priced: Path) -> None:
    found = json.loads((priced / "price" / "frontier.json").read_text())
    peak = {one["id"]: one["peak_bytes"] for one in found["variants"]}
    assert peak["tfidf"] < peak["torch-fp32"] / 3
    assert peak["onnx-int8"] < peak["torch-fp32"] / 1.5


@pytest.mark.slow
def test_a_floor_out_of_reach_is_written_and_fails(
    priced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = priced / "recipe.yaml"
    text = recipe.read_text()
    harder = load_recipe(recipe, ["price.floor=accuracy >= 1.5"])
    monkeypatch.setattr(frontier_file, "measure", short(measure))
    with pytest.raises(FloorError, match="no variant keeps"):
        price(priced, harder, progress=False)
    found = json.loads((priced / "price" / "frontier.json").read_text())
    assert found["chosen"] is None
    assert found["confirmed"] is False
    assert recipe.read_text() == text


@pytest.mark.slow
def test_a_worker_that_cannot_open_its_variant_says_why(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(RunError, match="make it again"), workers([tmp_path]):
        pass


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_with_its_last_words(tiny_run: Path) -> None:
    worker = Worker(tiny_run / "variants" / "tfidf")
    try:
        worker.ready()
        worker._process.kill()
        with pytest.raises(TaelError, match="tfidf: its process ended with code -9"):
            worker.peak_bytes()
    finally:
        worker.close()
