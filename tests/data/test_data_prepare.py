"""Splits: membership by content alone, sizes, leaks, and the report of it all."""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tael.data.dedup import normalised
from tael.data.prepare import Splits, prepare, texts
from tael.data.report import write_report
from tael.data.split import split
from tael.errors import DataError
from tael.recipe.schema import Clean, Columns, Data

SHARES = (0.8, 0.1, 0.1)


def records(number: int, start: int = 0) -> list[dict[str, str]]:
    return [
        {"text": f"review number {n}", "label": str(n % 4 == 0)}
        for n in range(start, start + number)
    ]


def csv_file(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    return path


def rows(number: int, tag: str) -> list[tuple[str, str]]:
    generator = random.Random(tag)
    words = [f"{tag}{n}" for n in range(400)]
    return [(" ".join(generator.choices(words, k=12)), str(n % 2)) for n in range(number)]


def test_adding_or_shuffling_rows_never_moves_one() -> None:
    before = split(records(500), SHARES, 13)
    more = records(900)
    random.Random(0).shuffle(more)
    after = split(more, SHARES, 13)
    for name, part in before.items():
        assert all(record in after[name] for record in part)


def test_another_seed_is_another_split() -> None:
    assert split(records(200), SHARES, 1) != split(records(200), SHARES, 2)


def test_copies_in_other_case_width_or_punctuation_stand_on_one_side() -> None:
    pairs = [{"text": text} for n in range(200) for text in (f"Row {n}!", f"row {n}", f"ＲＯＷ{n}")]
    found = split(pairs, (0.5, 0.25, 0.25), 13)
    keys = [{normalised(record) for record in part} for part in found.values()]
    assert sum(map(len, keys)) == len(set().union(*keys)) == 200


def test_shares_hold_within_each_label_as_far_as_chance_allows() -> None:
    found = split(records(8000), SHARES, 13)
    for label, total in (("True", 2000), ("False", 6000)):
        for name, share in zip(found, SHARES, strict=True):
            got = sum(record["label"] == label for record in found[name])
            spread = (total * share * (1 - share)) ** 0.5
            assert abs(got - total * share) < 4 * spread


def test_one_file_is_cleaned_and_split_and_every_row_is_accounted_for(tmp_path: Path) -> None:
    good = rows(300, "a")
    extra = [good[0], (good[1][0] + " more", good[1][1]), (good[2][0], "9"), ("  ", "1")]
    path = csv_file(tmp_path / "all.csv", good + extra)
    found = prepare(Data(train=[path]), 13)
    counts = found.counts
    assert counts["train: rows read"] == 304
    assert counts["exact duplicates removed"] == 1
    assert counts["near duplicates removed"] == 1
    assert counts["rows dropped for contradicting labels"] == 2
    kept = len(found.train) + len(found.dev) + len(found.test)
    assert kept == 304 - 1 - 1 - 1 - 2  # and the empty one
    assert set(found.hashes) == {str(path)}
    again = prepare(Data(train=[path]), 13)
    assert again.train == found.train


def test_given_dev_and_test_stay_whole_and_train_loses_what_they_hold(tmp_path: Path) -> None:
    train, dev, test = rows(50, "a"), rows(10, "b"), rows(10, "c")
    data = Data(
        train=[csv_file(tmp_path / "train.csv", [*train, dev[0], (test[0][0] + " x", "1")])],
        dev=[csv_file(tmp_path / "dev.csv", [*dev, dev[1], test[1]])],
        test=[csv_file(tmp_path / "test.csv", test)],
    )
    found = prepare(data, 13)
    assert len(found.train) == 50
    assert (len(found.dev), len(found.test)) == (12, 10)
    assert [match.exact for match in found.leaks] == [True, False]
    assert found.counts["train rows removed: they repeat dev or test"] == 2
    assert found.counts["dev: exact duplicates, kept"] == 1
    assert found.counts["dev rows that repeat test, kept"] == 1


def test_only_what_has_no_file_is_split_off(tmp_path: Path) -> None:
    train, test = rows(300, "a"), rows(10, "c")
    paths = [csv_file(tmp_path / "train.csv", train)], [csv_file(tmp_path / "test.csv", test)]
    found = prepare(Data(train=paths[0], test=paths[1]), 13)
    assert [record["text"] for record in found.test] == [text for text, _ in test]
    assert len(found.train) + len(found.dev) == 300
    assert 10 < len(found.dev) < 60


def test_a_share_of_zero_makes_an_empty_split_and_too_few_rows_are_refused(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "train.csv", rows(40, "a"))
    assert prepare(Data(train=[path], split=(0.7, 0.3, 0.0)), 13).test == []
    few = csv_file(tmp_path / "few.csv", rows(2, "a"))
    with pytest.raises(
        DataError, match=r"few\.csv: too few rows for .*: train \d, dev \d, test \d"
    ):
        prepare(Data(train=[few]), 13)


def test_a_limit_reads_no_further_and_needs_no_heavy_import(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "train.csv", rows(200, "a"))
    with path.open("a") as file:
        file.write('"never closed\n')
    code = (
        "import sys; from tael.data.prepare import prepare; from tael.recipe.schema import Data\n"
        f"found = prepare(Data(train=[{str(path)!r}]), 13, limit=100, near=False)\n"
        "assert found.counts['train: rows read'] == 100 and not found.hashes\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'datasketch', 'matplotlib', 'tokenizers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_texts_come_clean_and_once_from_any_format(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one \n\ntwo\nONE!\n")
    (tmp_path / "b.jsonl").write_text(
        '{"title": "t", "text": "three"}\n{"title": "t", "text": "two"}\n'
    )
    csv_file(tmp_path / "c.csv", [("four", "1")])
    (tmp_path / "d.csv").write_text("review\nfive\n")
    paths = tuple(tmp_path / name for name in ("a.txt", "b.jsonl", "c.csv", "d.csv"))
    counts: Counter[str] = Counter()
    data = Data(train=["unused"], columns=Columns(text="review"))
    assert list(texts(paths, data, counts)) == ["one", "two", "three", "four", "five"]
    assert counts["exact duplicates removed"] == 2
    kept = Data(train=["unused"], clean=Clean(dedup="off"))
    assert len(list(texts(paths[:1], kept, counts))) == 3


def report_of(tmp_path: Path, found: Splits) -> tuple[str, dict[str, object]]:
    write_report(tmp_path / "data", found, {"texts cut to the longest length": 7})
    page = (tmp_path / "data" / "report.html").read_text(encoding="utf-8")
    return page, json.loads((tmp_path / "data" / "report.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_report_shows_every_count_and_the_leak_that_was_caught(tmp_path: Path) -> None:
    good = rows(300, "a")
    evil = ("<script>alert(1)</script> " + good[3][0], "1")
    path = csv_file(tmp_path / "all.csv", [*good, *good, evil, evil, (good[2][0], "9")])
    found = prepare(Data(train=[path]), 13)
    page, facts = report_of(tmp_path, found)
    for step, number in found.counts.items():
        assert step in page
        assert f"{number:,}" in page
    assert "texts cut to the longest length" in page
    assert "of the test texts would have stood in train too" in page
    assert "<script>" not in page
    assert facts["rows"] == {name: len(getattr(found, name)) for name in ("train", "dev", "test")}
    duplicates = facts["duplicates"]
    assert isinstance(duplicates, list)
    assert len(duplicates) == len(found.duplicates)


@pytest.mark.slow
def test_the_report_can_do_without_labels_and_without_a_test_split(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{text}\n" for text, _ in rows(40, "a")))
    found = prepare(Data(train=[path], split=(0.8, 0.2, 0.0)), 13, labelled=False)
    page, _ = report_of(tmp_path, found)
    assert "The records have no labels." in page
    assert "No duplicates, no leaks, no contradictions." in page
