"""What a run took is added up over sittings, and its work is counted once a step."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tael.machine.energy import WATTS_PER_CORE, Counter
from tael.recipe.schema import Machine
from tael.train.costs import Costs, costs_of
from tael.train.progress import Quiet
from tael.train.track import Track

STEP = {"loss": 0.7, "tokens": 100, "positions": 120, "flops": 5e6}


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def written(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "costs.json").read_text())
    return values


def test_seconds_and_money_add_up_over_sittings_by_phase(tmp_path: Path, clock: Clock) -> None:
    for sitting in (0, 1):
        costs = Costs(tmp_path, 3.6, currency="CNY", clock=clock)
        for name, seconds in (("data", 5.0), ("train", 20.0)):
            with costs.phase(name):
                clock.now += seconds
                assert costs.money() == pytest.approx(0.001 * clock.now)  # 3.6 an hour
        costs.note(**{f"sitting{sitting}": 7})
    found = written(tmp_path)
    assert found["seconds"] == {"data": 10.0, "train": 40.0}
    assert (found["sitting0"], found["sitting1"], found["currency"]) == (7, 7, "CNY")
    assert found["money"] == pytest.approx(50 / 3600 * 3.6)


def test_they_are_written_while_a_phase_runs(tmp_path: Path, clock: Clock) -> None:
    costs = Costs(tmp_path, 3.6, clock=clock)
    with costs.phase("train"):
        for _ in range(3):
            clock.now += 8.0
            costs.step("train", STEP)
        assert written(tmp_path)["seconds"] == {"train": 16.0}
    assert written(tmp_path)["work"]["train"]["steps"] == 3


def test_a_step_done_twice_is_work_once_and_is_paid_twice(tmp_path: Path, clock: Clock) -> None:
    for resume in (0, 2):  # killed after step 3, saved after step 2
        track = Track(tmp_path, Costs(tmp_path, 3.6, clock=clock), Quiet())
        with track.phase("train"):
            track.rewind("train", resume)
            for step in range(resume + 1, 4):
                clock.now += 1.0
                track.step("train", step, 3, STEP)
            track.evaluation("train", 3, "dev", metrics={"accuracy": 0.5}, loss=1.0, rows=9)
        track.close()
    found = written(tmp_path)
    assert found["work"] == {"train": {"steps": 3, "tokens": 300, "positions": 360, "flops": 15e6}}
    assert found["seconds"]["train"] == 4.0


def test_pretraining_begun_anew_takes_the_work_of_what_followed_off(
    tmp_path: Path, clock: Clock
) -> None:
    track = Track(tmp_path, Costs(tmp_path, 3.6, clock=clock), Quiet())
    for stage in ("pretrain", "train"):
        track.rewind(stage, 0)
        track.step(stage, 1, 1, STEP)
    track.cost(texts_left_out=1)
    assert set(written(tmp_path)["work"]) == {"pretrain", "train"}
    track.rewind("pretrain", 1)
    track.cost(texts_left_out=2)
    assert set(written(tmp_path)["work"]) == {"pretrain"}
    track.close()


def test_a_bill_of_an_older_version_is_gone_on_with(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "costs.json").write_text('{"seconds": {"data": 5.0}, "train_tokens": 9}')
    costs = Costs(tmp_path, 3.6, watts=100.0, clock=clock)
    with costs.phase("train"):
        clock.now += 5.0
    found = written(tmp_path)
    assert (found["seconds"]["data"], found["train_tokens"]) == (5.0, 9)
    assert found["energy"] == {"joules": 500.0, "source": "machine.watts"}


def zone(folder: Path, name: str, called: str, micros: int) -> Path:
    (folder / name).mkdir(parents=True)
    for file, text in (("name", called), ("energy_uj", micros), ("max_energy_range_uj", 10**9)):
        (folder / name / file).write_text(f"{text}\n")
    return folder / name / "energy_uj"


def test_energy_is_what_the_counters_say_while_a_phase_runs(tmp_path: Path, clock: Clock) -> None:
    package = zone(tmp_path / "power", "intel-rapl:0", "package-0", 999_000_000)
    core = zone(tmp_path / "power", "intel-rapl:0:0", "core", 0)  # part of the package
    memory = zone(tmp_path / "power", "intel-rapl:0:1", "dram", 0)
    costs = Costs(tmp_path, 1.0, clock=clock, counter=Counter(tmp_path / "power"))
    package.write_text("999500000")  # before the phase: nobody's
    with costs.phase("train"):
        package.write_text("29500000")  # full at 1,000 J, and 30 J on: it began again at 0
        core.write_text("17000000")
        memory.write_text("2000000")
    package.write_text("900000000")
    assert written(tmp_path)["energy"] == {"joules": 32.0, "source": "measured"}


def test_energy_that_nobody_measures_is_said_to_be_assumed(tmp_path: Path, clock: Clock) -> None:
    nowhere = Counter(tmp_path / "power")
    assert not nowhere.readable
    costs = Costs(tmp_path, 1.0, threads=1, clock=clock, counter=nowhere)
    with costs.phase("train"):
        clock.now += 60.0
    found = written(tmp_path)["energy"]
    assert found == {"joules": 60 * WATTS_PER_CORE, "source": "assumed"}
    told = Costs(tmp_path, 1.0, watts=80.0, clock=clock, counter=nowhere)
    with told.phase("train"):
        clock.now += 1.0
    found = written(tmp_path)["energy"]
    assert found["joules"] == 60 * WATTS_PER_CORE + 80
    assert found["source"] == "assumed and machine.watts"


def test_machines_that_work_together_are_all_paid(tmp_path: Path) -> None:
    machine = Machine(price_per_hour=Decimal("2.5"), watts=100.0)
    costs = costs_of(tmp_path, machine, threads=2, machines=4)
    costs.note(train_steps=1)
    assert written(tmp_path)["price_per_hour"] == 10.0
    with costs.phase("train"):
        pass
    seconds = written(tmp_path)["seconds"]["train"]
    assert written(tmp_path)["energy"]["joules"] == pytest.approx(400 * seconds)
