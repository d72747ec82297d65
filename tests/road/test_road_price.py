"""A finished run is priced anew on other terms; whatever needs another model is refused."""

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from tael.errors import FloorError, RecipeError, StoppedError, UsageError
from tael.price import frontier as frontier_file
from tael.price.measure import measure
from tael.recipe.source import parse
from tael.road import price as verb
from tael.road.price import price


@pytest.fixture
def copy(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny run, and short rounds of measuring."""

    def short(*args: object, **options: object) -> object:
        return measure(*args, **options, rounds=1, seconds=0.1)  # type: ignore[arg-type]

    monkeypatch.setattr(frontier_file, "measure", short)
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.mark.slow
def test_a_new_floor_and_tariff_need_no_training(copy: Path) -> None:
    before = {path: path.read_bytes() for path in copy.glob("*.yaml")}
    terms = ["price.floor=accuracy >= 0.1", "machine.price_per_hour=3.6", "machine.currency=CNY"]
    found = price(copy, terms, progress=False)
    assert found.floor == "accuracy >= 0.1"
    tfidf = next(row for row in found.variants if row.id == "tfidf")
    assert tfidf.cost_per_1000 == pytest.approx(1 / tfidf.throughput / 0.5)
    assert "CNY" in found.sentence
    kept = parse((copy / "price" / "recipe.yaml").read_text("utf-8")).values
    assert kept["price"]["floor"] == "accuracy >= 0.1"
    assert kept["machine"] == {"price_per_hour": 3.6, "currency": "CNY"}
    assert {path: path.read_bytes() for path in copy.glob("*.yaml")} == before


@pytest.mark.slow
def test_a_floor_that_nothing_keeps_chooses_nothing(copy: Path) -> None:
    with pytest.raises(FloorError, match=r"no variant keeps accuracy >= 1\.5"):
        price(copy, ["price.floor=accuracy >= 1.5"], progress=False)
    found = json.loads((copy / "price" / "frontier.json").read_text("utf-8"))
    assert (found["chosen"], found["confirmed"]) == (None, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("term", "error", "said"),
    [
        ("train.rate=1e-3", UsageError, "tael run RECIPE train.rate=1e-3 --out DIR"),
        ("machine.threads=1", UsageError, "machine.price_per_hour and machine.currency only"),
        ("machine={threads: 1}", UsageError, "for another model"),
        ("price.p95_ms=fast", RecipeError, "must be a number"),
        ("price.flor=0.9", RecipeError, "did you mean floor"),
    ],
)
def test_other_terms_are_refused_before_anything_is_measured(
    tiny_run: Path, term: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        price(tiny_run, [term], progress=False)
    assert not (tiny_run / "price").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_pricing_with_its_own_exit_code(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    def slow(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        threading.Event().wait(5)

    monkeypatch.setattr(verb, "measure", slow)
    with pytest.raises(StoppedError, match="the same command goes on") as caught:
        price(tiny_run, progress=False)
    assert caught.value.exit_code == code
