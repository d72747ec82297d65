"""The token section of the data report: counts that add up, filled in once and again."""

import json
from pathlib import Path

import pytest

from tael.data.prepare import Splits
from tael.data.report import write_report
from tael.data.tokens import Tokens, add_tokens

RECORDS = [{"text": f"text {n}", "label": "ab"[n % 2], "@": f"a.csv:{n}"} for n in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_report(tmp_path, Splits(RECORDS[:4], RECORDS[4:5], RECORDS[5:]))
    return tmp_path


def test_counts_are_of_whole_texts_and_add_up() -> None:
    found = Tokens.count([8, 8, 5, 3], [2, 0, 0, 0])
    assert (found.texts, found.kept, found.cut_texts, found.lost) == (4, 24, 1, 2)
    assert (found.shortest, found.median, found.longest) == (3, 6, 10)
    assert found.cut_share == 0.25
    assert found.lost_share == pytest.approx(2 / 26)


def test_the_section_is_filled_and_filled_again(folder: Path) -> None:
    assert "Known once the texts are tokenised" in (folder / "report.html").read_text("utf-8")
    before = json.loads((folder / "report.json").read_text("utf-8"))
    add_tokens(folder, {"train": ([8, 8, 5, 3], [2, 0, 0, 0]), "dev": ([4], [0])}, 8)
    page = (folder / "report.html").read_text("utf-8")
    assert "1 of 5 texts (20.0 %) are longer than data.max_tokens (8)" in page
    assert "2 of 30 tokens (6.7 %) are not seen" in page
    assert "Known once" not in page
    facts = json.loads((folder / "report.json").read_text("utf-8"))
    assert facts.pop("tokens")["train"]["lost"] == 2
    assert facts == before
    add_tokens(folder, {"train": ([8, 8, 5, 3], [0, 0, 0, 0])}, 9)
    again = (folder / "report.html").read_text("utf-8")
    assert "no token is lost" in again
    assert "1 of 5 texts" not in again
    assert again.count("<svg") == page.count("<svg")


def test_a_report_without_that_section_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<html>old</html>")
    (tmp_path / "report.json").write_text("{}")
    assert add_tokens(tmp_path, {"train": ([3], [0]), "dev": ([], [])}, 8).keys() == {"train"}
    assert (tmp_path / "report.html").read_text() == "<html>old</html>"
