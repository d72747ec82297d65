import math

import pytest

from tael.recipe.schema import Train
from tael.train.schedule import rate_at


def rates(steps: int, **options: object) -> list[float]:
    stage = Train.model_validate({"rate": 1.0, "warmup": 0.0} | options)
    return [rate_at(step, steps, stage) for step in range(steps)]


EXPECTED = {
    "linear": [1.0, 0.75, 0.5, 0.25],
    "cosine": [(1 + math.cos(math.pi * p)) / 2 for p in (0, 0.25, 0.5, 0.75)],
    "polynomial": [1.0, 0.75**2, 0.5**2, 0.25**2],
    "exponential": [1.0, 0.01**0.25, 0.1, 0.01**0.75],
    "constant": [1.0, 1.0, 1.0, 1.0],
}


@pytest.mark.parametrize("schedule", EXPECTED)
def test_each_schedule_has_its_own_shape(schedule: str) -> None:
    assert rates(4, schedule=schedule) == pytest.approx(EXPECTED[schedule])


@pytest.mark.parametrize("schedule", ["linear", "cosine", "polynomial", "exponential"])
def test_the_rate_falls_to_the_final_rate_and_stays(schedule: str) -> None:
    stage = Train.model_validate(
        {"rate": 0.5, "warmup": 0, "schedule": schedule, "final_rate": 0.2}
    )
    assert rate_at(10, 10, stage) == pytest.approx(0.1)
    assert rate_at(99, 10, stage) == pytest.approx(0.1)
    falling = [rate_at(step, 10, stage) for step in range(11)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == 0.5


@pytest.mark.parametrize("schedule", EXPECTED)
def test_the_warm_up_climbs_in_equal_parts_to_the_peak(schedule: str) -> None:
    climbing = rates(10, schedule=schedule, warmup=0.4)[:5]
    assert climbing == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_the_power_bends_the_polynomial() -> None:
    assert rates(2, schedule="polynomial", power=3)[1] == pytest.approx(0.125)


def test_every_step_of_a_schedule_learns() -> None:
    for schedule in EXPECTED:
        assert min(rates(7, schedule=schedule, warmup=0.3)) > 0
