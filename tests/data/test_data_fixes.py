"""Fixes: labels corrected by a table, and every way in which the table does not fit."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tael.data.fixes import Fix, apply_fixes, escaped, read_fixes, unescaped
from tael.data.prepare import prepare
from tael.errors import DataError
from tael.recipe.schema import Data

RECORDS = [{"text": f"text {n}", "label": str(n % 2), "@": f"train.csv:{n + 2}"} for n in range(6)]


def table(path: Path, *rows: tuple[str, ...], columns: str = "place,label") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns.split(","), *rows])
    return path


def test_labels_are_corrected_rows_dropped_and_both_counted() -> None:
    fixes = [Fix("train.csv:2", "1"), Fix("train.csv:3", "drop"), Fix("train.csv:4", "0")]
    fixed, counts = apply_fixes(RECORDS, fixes)
    assert fixed == [RECORDS[0] | {"label": "1"}, *RECORDS[2:]]
    assert counts == {"fixes: relabelled": 1, "fixes: dropped": 1, "fixes: left as they were": 1}
    assert RECORDS[0]["label"] == "0"


@pytest.mark.parametrize(
    ("fixes", "message"),
    [
        ([Fix("train.csv:99", "1", at="f.csv:2")], r"f\.csv:2: 1 fixes .* train\.csv:99"),
        ([Fix("train.csv:2", "l", at="f.csv:2")], r"f\.csv:2: label 'l' is not .*\(0, 1\)"),
        ([Fix("train.csv:2", "")], "label ''"),
        ([Fix("train.csv:2", "1"), Fix("train.csv:2", "drop")], "was given '1' before"),
        ([Fix("train.csv:2", "1", "another text")], "holds another text now: 'text 0'"),
    ],
)
def test_a_fix_that_does_not_fit_is_refused(fixes: list[Fix], message: str) -> None:
    with pytest.raises(DataError, match=message):
        apply_fixes(RECORDS, fixes)


def test_a_label_named_drop_cannot_mean_both() -> None:
    records = [{"text": "a", "label": "drop", "@": "a:1"}, {"text": "b", "label": "x", "@": "a:2"}]
    with pytest.raises(DataError, match="'drop' is a label"):
        apply_fixes(records, [Fix("a:2", "drop")])


def test_several_labels_and_numbers_are_checked_as_what_they_are() -> None:
    several = [{"text": "a", "label": "x|y", "@": "a:1"}, {"text": "b", "label": "z", "@": "a:2"}]
    assert apply_fixes(several, [Fix("a:1", "y|z")], kind="multi")[0][0]["label"] == "y|z"
    assert apply_fixes(several, [Fix("a:1", "")], kind="multi")[0][0]["label"] == ""
    with pytest.raises(DataError, match=r"'y\|w'"):
        apply_fixes(several, [Fix("a:1", "y|w")], kind="multi")
    assert apply_fixes(RECORDS, [Fix("train.csv:2", "7.5")], kind="regression")[0][0]["label"]
    for wrong in ("nan", "inf", "x"):
        with pytest.raises(DataError, match="not a number"):
            apply_fixes(RECORDS, [Fix("train.csv:2", wrong)], kind="regression")


def test_two_files_of_one_name_are_told_apart_by_the_text() -> None:
    records = [{"text": f"t{n}", "label": "01"[n], "@": "a.csv:2"} for n in range(2)]
    fixed, _ = apply_fixes(records, [Fix("a.csv:2", "1", "T0!")])
    assert [record["label"] for record in fixed] == ["1", "1"]
    with pytest.raises(DataError, match="2 records stand at"):
        apply_fixes(records, [Fix("a.csv:2", "1")])


@given(st.text(max_size=6))
def test_an_escaped_cell_is_no_formula_and_comes_back_as_it_was(cell: str) -> None:
    assert not escaped(cell).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unescaped(escaped(cell)) == cell


def test_a_label_typed_by_hand_needs_no_escape(tmp_path: Path) -> None:
    path = table(tmp_path / "f.csv", ("a:1", "-1"), ("a:2", "'-1"), ("a:3", "it's"))
    assert [fix.label for fix in read_fixes(path)] == ["-1", "-1", "it's"]
    with pytest.raises(DataError, match=r"f2\.csv:2: .*place and label; found place, tag"):
        read_fixes(table(tmp_path / "f2.csv", ("a:1", "x"), columns="place,tag"))


def test_a_recipe_corrects_labels_before_it_looks_for_contradictions(tmp_path: Path) -> None:
    rows = [(f"a text about {n} and {n * n}", str(n % 2)) for n in range(60)]
    twice = [(rows[0][0], "1")]
    train = table(tmp_path / "train.csv", *rows, *twice, columns="text,label")
    test = table(tmp_path / "test.csv", ("judge this", "0"), columns="text,label")
    fixes = table(
        tmp_path / "fixes.csv", ("train.csv:62", "0"), ("train.csv:3", "drop"), ("test.csv:2", "1")
    )
    plain = Data(train=[train], test=[test])
    assert prepare(plain, 13).counts["texts with different labels"] == 1
    found = prepare(plain.model_copy(update={"fixes": fixes}), 13)
    assert found.counts["texts with different labels"] == 0
    assert found.counts["fixes: relabelled"] == 2
    assert found.counts["fixes: dropped"] == 1
    assert [record["label"] for record in found.test] == ["1"]
    assert rows[1][0] not in {record["text"] for record in found.train + found.dev}
    assert str(fixes) in found.hashes
    few = prepare(plain.model_copy(update={"fixes": fixes}), 13, limit=50)  # row 62 is not read
    assert few.counts["fixes: relabelled"] == 1
