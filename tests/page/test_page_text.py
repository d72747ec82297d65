"""Tables for a terminal."""

from rich.cells import cell_len

from tael.page.text import table_lines


def test_columns_stand_under_each_other_also_in_chinese() -> None:
    lines = table_lines(["键", "次数"], [["第一个", "7"], ["b", "1,234"]])
    assert [line.split() for line in lines] == [["键", "次数"], ["第一个", "7"], ["b", "1,234"]]
    assert len({cell_len(line) for line in lines}) == 1  # right-aligned: all end together


def test_a_table_without_rows_is_its_headings() -> None:
    assert table_lines(["a", "b"], []) == ["a  b"]
