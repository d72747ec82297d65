"""What each repair did is shown on a few texts, and nothing personal with it."""

import json
from pathlib import Path

import pytest

from tael.data.prepare import Splits, prepare
from tael.data.report import write_report
from tael.data.samples import Samples
from tael.recipe.schema import Clean, Data

TEXTS = [
    "<b>fine</b> room",
    "call 13800138000 <br> now",
    "1380013<b>8000</b>",
    " ＡＢ  hotel",
    "nothing to do here",
]


def prepared(folder: Path, **rules: object) -> Splits:
    lines = [f"{text} {n},{n % 2}" for n in range(20) for text in TEXTS]
    path = folder / "train.csv"
    path.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    clean = Clean.model_validate({"dedup": "off", "html": True, "width": "fold"} | rules)
    return prepare(Data(train=[path], clean=clean, max_leak=1), 13)


def test_each_step_that_changed_a_text_shows_a_few(tmp_path: Path) -> None:
    repairs = prepared(tmp_path).repairs
    assert set(repairs) == {
        "texts with HTML removed", "texts with width folded", "texts with white space squeezed"
    }  # fmt: skip
    assert repairs["texts with HTML removed"][0] == ("<b>fine</b> room 0", "fine room 0")
    assert all(len(pairs) == 3 for pairs in repairs.values())


@pytest.mark.slow
def test_the_report_shows_them_without_what_was_masked(tmp_path: Path) -> None:
    found = prepared(tmp_path, personal="mask")
    write_report(tmp_path / "data", found)
    page = (tmp_path / "data" / "report.html").read_text("utf-8")
    facts = (tmp_path / "data" / "report.json").read_text("utf-8")
    assert "What was repaired" in page
    assert "&lt;b&gt;fine" in page
    assert "[PHONE]" in page
    assert "1380013" not in page + facts
    assert found.counts["train: personal data masked: PHONE"] == 40
    assert json.loads(facts)["repairs"]["texts with personal data masked"]


def test_a_long_text_is_shown_around_its_change() -> None:
    samples = Samples(masked=False)
    samples.add("step", "x" * 500 + "&amp;" + "y" * 500, "x" * 500 + "&" + "y" * 500)
    ((before, after),) = samples.steps["step"]
    assert before.startswith("…xxxx")
    assert before.endswith("yyy…")
    assert "x&amp;y" in before
    assert "x&y" in after
    assert len(before) < 130
