import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tael.train.costs import Costs
from tael.train.progress import Lines, Quiet, make_progress
from tael.train.track import Track

VALUES = {"loss": 0.7, "rate": 0.1, "norm": 1.0, "tokens": 100, "seconds": 0.5}


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def track_of(folder: Path, clock: Clock) -> Track:
    return Track(folder, Costs(folder, 3.6, clock=clock), Quiet())


def steps_of(folder: Path) -> list[tuple[str, int]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [(line["stage"], line["step"]) for line in map(json.loads, lines)]


def test_rewinding_forgets_later_steps_and_later_stages_only(tmp_path: Path, clock: Clock) -> None:
    track = track_of(tmp_path, clock)
    track.rewind("pretrain", 0)
    track.step("pretrain", 1, 1, VALUES)
    track.rewind("train", 0)
    for step in (1, 2, 3):
        track.step("train", step, 3, VALUES)
    track.evaluation("train", 3, "dev", metrics={"accuracy": 0.5}, loss=1.0, rows=9)
    track.evaluation("final", 3, "dev", metrics={"accuracy": 0.5}, loss=1.0, rows=9)
    track.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "train", "st')  # killed while writing
    again = track_of(tmp_path, clock)
    again.rewind("train", 2)
    assert steps_of(tmp_path) == [("pretrain", 1), ("train", 1), ("train", 2)]
    again.step("train", 3, 3, VALUES)
    assert steps_of(tmp_path)[-1] == ("train", 3)
    again.rewind("pretrain", 0)
    assert steps_of(tmp_path) == []
    again.close()


def scalars(folder: Path) -> Iterator[tuple[int, str, float]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for path in sorted(folder.glob("events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                yield event.step, value.tag, value.tensor.float_val[0]


def test_tensorboard_can_read_what_is_written(tmp_path: Path, clock: Clock) -> None:
    track = track_of(tmp_path, clock)
    track.rewind("train", 0)
    track.step("train", 1, 2, VALUES)
    track.evaluation("train", 1, "dev", metrics={"accuracy": 0.5}, loss=1.0, rows=9)
    track.close()
    found = {(step, tag): value for step, tag, value in scalars(tmp_path / "tensorboard" / "train")}
    assert found[1, "loss"] == pytest.approx(0.7)
    assert found[1, "dev/accuracy"] == 0.5


def test_plain_lines_are_sparse_and_say_what_counts(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    lines = Lines("CNY", clock)
    lines.begin("train", 0, 100)
    for step in range(1, 101):
        clock.now += 1.0
        if step == 50:
            lines.evaluation("dev", {"accuracy": 0.9}, 0.3)
        lines.step(step, 100, VALUES, 0.01 * step)
    printed = capsys.readouterr()
    assert printed.out == ""
    rows = printed.err.splitlines()
    assert len(rows) == 5  # the start, three half minutes, the end
    assert rows[1] == "train: 30/100 · loss 0.700 · 200 tokens/s · 35 s left · 0.3000 CNY"
    assert rows[-1].endswith("0 s left · 1.0000 CNY · dev accuracy 0.900")


def test_the_data_has_its_line_with_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    lines = Lines("CNY", clock)
    for done in range(0, 101, 10):
        lines.work("clean", 1000 * done, done * 1_000_000, 100_000_000)
        clock.now += 10.0
    rows = capsys.readouterr().err.splitlines()
    assert rows == [
        f"clean: {done}% · 1,000 texts/s · 1.0 MB/s · {left} left"
        for done, left in ((30, "1 min 10 s"), (60, "40 s"), (90, "10 s"))
    ]


def test_nothing_is_shown_where_nothing_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    progress: Any = make_progress(False, "USD")
    progress.begin("train", 0, 1)
    progress.step(1, 1, VALUES, 0.0)
    progress.say("hello")
    progress.close()
    assert capsys.readouterr() == ("", "")
    assert isinstance(make_progress(True, "USD"), Lines)  # no terminal here
