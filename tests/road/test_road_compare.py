"""Two runs are compared on the records that both were tested on, or not at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tael.errors import RunError
from tael.road.compare import compare


@pytest.fixture(scope="module")
def weak_run(train_run: Callable[..., Path]) -> Path:
    return train_run(**{"train.steps": "1", "train.rate": "1e-6"})


def test_a_run_that_learned_is_better_than_one_that_did_not(tiny_run: Path, weak_run: Path) -> None:
    found = compare(tiny_run, weak_run)
    assert found.paired.proved
    assert found.paired.difference == pytest.approx(found.values[0] - found.values[1])
    assert found.paired.low > 0
    lines = found.lines()
    assert lines[0].endswith("proved")
    assert any("train.steps: 60 → 1" in line for line in lines)
    assert compare(weak_run, tiny_run).paired.difference == -found.paired.difference
    assert json.loads(json.dumps(found.to_json()))["difference"]["proved"] is True


def test_the_order_of_the_records_is_nobody_s_gain(tiny_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    path = other / "data" / "test.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    found = compare(tiny_run, other)
    assert (found.paired.difference, found.paired.p) == (0.0, 1.0)
    assert found.recipe == []
    assert found.lines()[0].endswith("no difference is proved")


def test_other_test_records_are_refused_with_what_to_type(tiny_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    path = other / "data" / "test.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[2:], lines[5].replace('"text": "', '"text": "zz ')]))
    with pytest.raises(
        RunError, match=r"2 only in the first, 1 only in the second.*tael data diff"
    ):
        compare(tiny_run, other)


def test_runs_of_other_tasks_are_refused(
    tiny_run: Path, train_run: Callable[..., Path], tmp_path: Path
) -> None:
    numbers = train_run("regression", **{"train.steps": "1"})
    other = tmp_path / "other"
    shutil.copytree(numbers, other)
    shutil.copy(tiny_run / "data" / "test.jsonl", other / "data" / "test.jsonl")
    with pytest.raises(RunError, match="only runs of one task"):
        compare(tiny_run, other)
