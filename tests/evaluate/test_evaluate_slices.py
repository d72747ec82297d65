"""A slice that is worse is found, one that is not is left alone, and a tiny one is not judged."""

from typing import Any

import numpy as np
import pytest

from tael.evaluate.slices import LEAST, Slice, find_slices, holm, word_counts


def answered(right: list[bool], **columns: list[Any]) -> tuple[Any, Any, Any]:
    answers = [{"label": "yes" if one else "no"} for one in right]
    records = [
        {"text": "a text", "@": f"a.csv:{row}"}
        | {name: part[row] for name, part in columns.items()}
        for row in range(len(right))
    ]
    return answers, ["yes"] * len(right), records


def by_name(slices: list[Slice], kind: str) -> dict[str, Slice]:
    return {one.name: one for one in slices if one.kind == kind}


def test_the_source_that_is_worse_is_flagged_and_the_others_are_not() -> None:
    rng = np.random.default_rng(0)
    shop = ["a", "b", "c"] * 200
    right = [bool(rng.random() < (0.6 if one == "c" else 0.9)) for one in shop]
    found = by_name(find_slices("single", *answered(right, shop=shop)), "column")
    assert found["shop: c"].verdict == "worse"
    assert "worse" not in (found["shop: a"].verdict, found["shop: b"].verdict)
    worse = found["shop: c"]
    assert worse.difference is not None
    assert worse.difference_low is not None
    assert worse.difference_high is not None
    assert worse.difference_low < worse.difference < worse.difference_high < -0.15


def test_slices_of_pure_chance_are_hardly_ever_flagged() -> None:
    rng = np.random.default_rng(1)
    flagged = 0
    for _ in range(60):
        right = (rng.random(300) < 0.8).tolist()
        shop = rng.choice(list("abcdef"), 300).tolist()
        slices = find_slices("single", *answered(right, shop=shop))
        flagged += any(one.verdict in ("worse", "better") for one in slices)
    assert flagged <= 6  # 5 % of the pages, not of the slices


def test_a_slice_below_thirty_records_is_shown_but_not_judged() -> None:
    shop = ["big"] * 200 + ["tiny"] * (LEAST - 1)
    right = [True] * 200 + [False] * (LEAST - 1)
    tiny = by_name(find_slices("single", *answered(right, shop=shop)), "column")["shop: tiny"]
    assert (tiny.verdict, tiny.rows, tiny.p) == ("too small", LEAST - 1, None)
    assert tiny.high > 0  # its interval says how little is known


def test_lengths_are_cut_into_quarters_and_equal_ones_stay_together() -> None:
    answers, references, records = answered([True] * 100)
    for row, record in enumerate(records):
        record["text"] = "x" * (row % 50 + 1)
    found = by_name(find_slices("single", answers, references, records), "length")
    assert len(found) == 4
    assert sum(one.rows for one in found.values()) == 100
    same = find_slices("single", *answered([True] * 100))
    assert not by_name(same, "length")  # one length is no slicing


def test_rare_words_are_those_that_train_hardly_holds() -> None:
    known = word_counts(["good room"] * 5)
    answers, references, records = answered([True, False] * 60)
    for row, record in enumerate(records):
        record["text"] = "good room" if row % 2 == 0 else "zyx wvu"
    found = by_name(find_slices("single", answers, references, records, known), "rare words")
    assert {name: one.verdict for name, one in found.items()} == {"0 %": "better", "100 %": "worse"}


def test_chinese_words_are_counted_in_pairs_of_characters() -> None:
    assert word_counts(["房间很好 Good, good", "好"]) == {
        "房间": 1, "间很": 1, "很好": 1, "good": 2, "好": 1,
    }  # fmt: skip


def test_files_labels_and_columns_of_many_values_are_told_apart() -> None:
    answers, references, records = answered([True] * 80, number=list(range(80)))
    for row, record in enumerate(records):
        record["@"] = f"/data/{'ab'[row % 2]}.csv:{row}"
        references[row] = ["yes", "no"][row % 2]
    kinds = [(one.kind, one.name) for one in find_slices("single", answers, references, records)]
    assert ("source", "a.csv") in kinds
    assert ("label", "no") in kinds
    assert not any(kind == "column" for kind, _ in kinds)  # 80 numbers are no slicing


def test_a_number_is_judged_by_its_error_and_several_labels_by_all_of_them() -> None:
    rng = np.random.default_rng(0)
    shop = ["near", "far"] * 100
    records = [{"text": "t", "shop": one} for one in shop]
    numbers = [{"value": float(rng.normal() * (1 if one == "near" else 5))} for one in shop]
    found = by_name(find_slices("regression", numbers, [0.0] * 200, records), "column")
    assert found["shop: far"].verdict == "worse"
    assert found["shop: far"].measure == "mean absolute error"
    sets = [{"labels": ["x"] if one == "near" else ["x", "y"]} for one in shop]
    both = find_slices("multi", sets, ["x"] * 200, records)
    assert by_name(both, "column")["shop: far"].value == 0.0


def test_holm_corrects_the_smallest_most_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
