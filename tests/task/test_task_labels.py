"""Labels are found, or refused with their number and places."""

import pytest

from tael.data.record import AT, Record
from tael.errors import DataError
from tael.task.labels import check_labels, check_unseen, find_labels, number, parts


def records(*labels: str) -> list[Record]:
    return [{"text": "x", "label": label, AT: f"a.csv:{at}"} for at, label in enumerate(labels, 2)]


def test_labels_are_sorted_and_numbers_by_value() -> None:
    assert find_labels(records("b", "a", "b"), "single") == ["a", "b"]
    assert find_labels(records("10", "9", "-1", "9"), "single") == ["-1", "9", "10"]
    assert find_labels(records("x", "10", "9"), "single") == ["9", "10", "x"]


def test_several_labels_a_text_are_taken_apart() -> None:
    assert find_labels(records("b|a", "", " c | b "), "multi") == ["a", "b", "c"]
    assert parts("a|b|a", "multi") == ["a", "b"]
    assert parts("a|b", "single") == ["a|b"]


def test_regression_has_no_classes_but_needs_numbers() -> None:
    assert find_labels(records("1.5", "2"), "regression") == []
    with pytest.raises(DataError, match=r"1 with a label that is no number \(a.csv:3\)"):
        find_labels(records("1.5", "much"), "regression")


def test_missing_labels_are_counted_with_their_places() -> None:
    with pytest.raises(DataError) as caught:
        find_labels(records("a", "", "b", " ", "", ""), "single")
    assert "of 6 records, 4 with no label (a.csv:3, a.csv:5, a.csv:6, …)" in str(caught.value)


def test_a_text_without_any_label_is_an_example_of_several_labels_only() -> None:
    check_labels("train", records("a", "", "a|b"), "multi")
    with pytest.raises(DataError, match=r"train: of 2 records, 1 with no label \(a.csv:3\)"):
        check_labels("train", records("a", ""), "single")


@pytest.mark.parametrize("label", ["nan", "NaN", "inf", "-inf", "Infinity"])
@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_what_failed_arithmetic_writes_is_never_a_class(label: str, kind: str) -> None:
    with pytest.raises(DataError, match=rf"the label '{label}' \(a.csv:4\)"):
        find_labels(records("1", "2", label), kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_one_class_cannot_be_learned(kind: str) -> None:
    with pytest.raises(DataError, match=r"at least two .* only '1' in 3 records"):
        find_labels(records("1", "1", "1"), kind)  # type: ignore[arg-type]


def test_labels_that_training_never_saw_are_refused_with_places() -> None:
    check_unseen(records("a", "b", "a"), ["a", "b"], "test")
    with pytest.raises(DataError) as caught:
        check_unseen(records("a", "7", "7", "8"), ["a", "b"], "test")
    assert str(caught.value).startswith(
        "test: 2 labels that train does not have: '7' (a.csv:3, a.csv:4), '8' (a.csv:5); train"
    )


def test_dev_and_test_are_asked_for_labels_too() -> None:
    with pytest.raises(DataError, match="dev: of 2 records, 1 with no label"):
        check_unseen(records("a", ""), ["a"], "dev")
    with pytest.raises(DataError, match="no number"):
        check_unseen(records("1", "a"), [], "dev", "regression")


def test_numbers_are_finite_or_none() -> None:
    assert [number(text) for text in ("1e3", "nan", "1e999", "x", "")] == [
        1000.0,
        None,
        None,
        None,
        None,
    ]
