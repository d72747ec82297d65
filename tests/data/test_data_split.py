"""Splits by group and by time, and the leak between splits."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tael.data.prepare import prepare
from tael.data.split import split_by_group, split_by_time
from tael.errors import DataError
from tael.recipe.schema import Clean, Columns, Data

SHARES = (0.8, 0.1, 0.1)


def visits(number: int, start: int = 0) -> list[dict[str, str]]:
    return [
        {"text": f"visit {n}", "label": "1", "customer": f"c{n % 300}", "@": f"a.csv:{n}"}
        for n in range(start, start + number)
    ]


def grouped(records: list[dict[str, str]]) -> tuple[dict[str, set[str]], Counter[str]]:
    counts: Counter[str] = Counter()
    parts = split_by_group(records, SHARES, 13, "customer", counts)
    return {name: {r["customer"] for r in part} for name, part in parts.items()}, counts


def test_rows_of_a_group_stand_together_and_adding_rows_moves_none() -> None:
    before, counts = grouped(visits(900))
    assert not before["train"] & before["dev"] | before["train"] & before["test"]
    assert not before["dev"] & before["test"]
    more = visits(2000)
    more += [record | {"customer": f"new{n}"} for n, record in enumerate(visits(300))]
    random.Random(0).shuffle(more)
    after, _ = grouped(more)
    assert all(before[name] <= after[name] for name in before)
    assert counts["train groups"] == len(before["train"])
    assert 200 < len(before["train"]) < 270


def test_rows_without_a_group_are_spread_by_their_text_and_counted() -> None:
    counts: Counter[str] = Counter()
    records = [record | {"customer": ""} for record in visits(400)]
    records[0]["customer"] = "c"
    parts = split_by_group(records, SHARES, 13, "customer", counts)
    assert counts["rows without a group, split by their text"] == 399
    assert 15 < len(parts["test"]) < 75


def moments(*times: object) -> list[dict[str, object]]:
    return [{"text": f"t{n}", "when": time, "@": f"a.csv:{n + 2}"} for n, time in enumerate(times)]


def by_time(*times: object, shares: tuple[float, float, float] = SHARES) -> list[list[object]]:
    parts = split_by_time(moments(*times), shares, "when")
    return [[record["when"] for record in parts[name]] for name in ("train", "dev", "test")]


def test_the_oldest_rows_are_train_and_the_newest_test_in_any_order_and_form() -> None:
    days = [f"2024-01-{day:02}" for day in range(1, 21)]
    random.Random(1).shuffle(days)
    train, dev, test = by_time(*days)
    assert (len(train), len(dev), len(test)) == (16, 2, 2)
    assert max(train) < min(dev) <= max(dev) < min(test)  # type: ignore[type-var]
    assert train == [day for day in days if day in train]  # the order of the file stays
    mixed = [
        "2024年1月5日",
        "2024/1/4 10:00",
        "2024-01-03T23:00:00-05:00",
        "2024-01-02",
        "2023.12.31",
    ]
    assert by_time(*mixed, shares=(0.8, 0.0, 0.2)) == [mixed[1:], [], mixed[:1]]
    assert by_time(9, 10, "8.5", 100, shares=(0.5, 0.25, 0.25)) == [[9, "8.5"], [10], [100]]


def test_equal_times_are_never_torn_apart() -> None:
    years = [2020] * 5 + [2021] * 9 + [2022] * 3 + [2023] * 3
    assert [set(part) for part in by_time(*years)] == [{2020, 2021}, {2022}, {2023}]
    assert by_time(*[2020] * 5) == [[2020] * 5, [], []]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            ["2024-01-01", "soon", ""],
            r"a\.csv:3, a\.csv:4: 2 rows .* not an ISO date; found 'soon'",
        ),
        ([1, "2024-01-01"], r"a\.csv:3: 1 rows .* not a number, as the first row has"),
        ([1, "nan"], "not a number"),
        ([None, 1], "not an ISO date"),
    ],
)
def test_what_is_no_time_is_refused_with_its_place(times: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        by_time(*times)


def csv_file(path: Path, rows: list[tuple[str, ...]], columns: str = "text,label") -> Path:
    path.write_text("\n".join([columns, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def rows(number: int, tag: str) -> list[tuple[str, ...]]:
    generator = random.Random(tag)
    words = [f"{tag}{n}" for n in range(400)]
    return [(" ".join(generator.choices(words, k=12)), str(n % 2)) for n in range(number)]


def test_a_recipe_splits_by_group_or_time_and_refuses_a_column_that_is_not_there(
    tmp_path: Path,
) -> None:
    made = [(*row, f"c{n % 40}", str(n)) for n, row in enumerate(rows(400, "a"))]
    path = csv_file(tmp_path / "all.csv", made, "text,label,customer,day")
    found = prepare(Data(train=[path], group="customer"), 13)
    customers = [{r["customer"] for r in part} for part in (found.train, found.dev, found.test)]
    assert sum(map(len, customers)) == len(set().union(*customers)) == 40
    assert found.counts["test groups"] == len(customers[2])
    found = prepare(Data(train=[path], time="day"), 13)
    assert [int(r["day"]) for r in found.test] == list(range(360, 400))
    with pytest.raises(DataError, match=r"no column 'user' for data\.group; .*customer, day"):
        prepare(Data(train=[path], group="user"), 13)


def test_a_column_that_is_a_role_too_can_still_be_the_group(tmp_path: Path) -> None:
    made = [(*row, f"t{n % 30}") for n, row in enumerate(rows(300, "a"))]
    path = csv_file(tmp_path / "all.csv", made, "body,label,text")
    found = prepare(Data(train=[path], columns=Columns(text="body"), group="text"), 13)
    assert found.counts["train groups"] + found.counts["test groups"] <= 30


def leaking(tmp_path: Path, copies: int, **clean: str) -> Data:
    """Ten held-out rows of which `copies` stand in train, half of them with a word more."""
    train, test = rows(80, "a"), rows(10, "b")
    taken = [(text + " more" * (n % 2), label) for n, (text, label) in enumerate(test[:copies])]
    return Data(
        train=[csv_file(tmp_path / "train.csv", [*train, *taken])],
        test=[csv_file(tmp_path / "test.csv", test)],
        clean=Clean.model_validate(clean),
    )


@pytest.mark.parametrize("dedup", ["near", "exact", "off"])
def test_a_leak_between_files_is_measured_with_near_copies_and_fatal_above_the_bound(
    tmp_path: Path, dedup: str
) -> None:
    data = leaking(tmp_path, 4, dedup=dedup)
    with pytest.raises(DataError, match=r"test\.csv:2: 4 of the 10 .*40%.*train\.csv:82.*0\.2"):
        prepare(data, 13)
    found = prepare(data.model_copy(update={"max_leak": 0.4}), 13)
    assert found.counts["test rows that repeat train"] == 4
    gone = {"near": 4, "exact": 2, "off": 0}[dedup]
    assert found.counts["train rows removed: they repeat dev or test"] == gone
    assert prepare(leaking(tmp_path, 2, dedup=dedup), 13).counts["test rows that repeat train"] == 2


def test_a_quick_look_counts_exact_copies_only(tmp_path: Path) -> None:
    found = prepare(leaking(tmp_path, 2), 13, near=False)
    assert found.counts["test rows that repeat train"] == 1


def test_copies_that_were_left_in_on_purpose_cannot_leak_unseen_through_our_own_split(
    tmp_path: Path,
) -> None:
    twins = [(text + extra, label) for text, label in rows(200, "a") for extra in ("", " more")]
    path = csv_file(tmp_path / "all.csv", twins)
    with pytest.raises(DataError, match=r"repeat train.*data\.clean\.dedup=near"):
        prepare(Data(train=[path], clean=Clean(dedup="exact")), 13)
    assert len(prepare(Data(train=[path]), 13).duplicates) == 200
