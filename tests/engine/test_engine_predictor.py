"""Which folder is opened, found out without opening it; a damaged price list says what to do."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tael.engine.predictor import folder_of
from tael.errors import FloorError, RunError, TaelError, UsageError

GOOD = {"chosen": "tfidf", "floor": "accuracy >= 0.9", "confirmed": True}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make a run with two variants, as far as finding them goes."""
    for folder in ("model", "variants/tfidf", "variants/onnx-int8", "price"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    for name in ("tfidf", "onnx-int8"):
        (tmp_path / "variants" / name / "manifest.json").write_text("{}")
    return tmp_path


def write_prices(run: Path, text: str) -> None:
    (run / "price" / "frontier.json").write_text(text, encoding="utf-8")


def test_the_chosen_one_is_opened_and_a_named_one_before_it(run: Path) -> None:
    assert folder_of(run) == (
        run / "model",
        f"torch-fp32: the run has no prices yet (`tael price {run}`)",
    )
    write_prices(run, json.dumps(GOOD))
    folder, why = folder_of(run)
    assert folder == run / "variants" / "tfidf"
    assert "proved on test" in why
    assert folder_of(run, "onnx-int8") == (run / "variants" / "onnx-int8", "asked for")
    write_prices(run, json.dumps(GOOD | {"confirmed": False}))
    assert "not proved" in folder_of(run)[1]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '{"chosen": "tfidf"}', "[" * 100_000, "\ud800".encode(
        "utf-8", "surrogatepass").decode("latin-1")],
)  # fmt: skip
def test_damaged_prices_are_one_line_that_says_how_to_mend_them(run: Path, text: str) -> None:
    write_prices(run, text)
    with pytest.raises(RunError, match=r"frontier\.json: damaged .*`tael price") as caught:
        folder_of(run)
    assert "\n" not in str(caught.value)
    assert folder_of(run, "tfidf")[0].name == "tfidf"  # by name it still answers


def test_prices_that_name_no_variant_or_one_that_is_gone_are_refused(run: Path) -> None:
    write_prices(run, json.dumps(GOOD | {"chosen": None}))
    with pytest.raises(FloorError, match=r"accuracy >= 0\.9"):
        folder_of(run)
    write_prices(run, json.dumps(GOOD | {"chosen": "gone"}))
    with pytest.raises(UsageError, match="no variant 'gone'; it has onnx-int8, tfidf"):
        folder_of(run)


@given(st.text(max_size=300), st.sampled_from([None, "tfidf"]))
def test_whatever_the_price_list_says_only_a_variant_of_the_run_is_opened(
    tmp_path_factory: pytest.TempPathFactory, chosen: str, asked: str | None
) -> None:
    run = tmp_path_factory.mktemp("run")
    (run / "model").mkdir()
    (run / "price").mkdir()
    write_prices(run, json.dumps(GOOD | {"chosen": chosen}))
    with pytest.raises(TaelError):
        folder_of(run, asked)
