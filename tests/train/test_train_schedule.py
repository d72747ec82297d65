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
    "inverse-sqrt": [1.0, 2**-0.5, 3**-0.5, 0.5],
    "stable": [1.0, 1.0, 1.0, 1.0],  # it falls over the last step alone, to what comes after it
    "constant": [1.0, 1.0, 1.0, 1.0],
}


@pytest.mark.parametrize("schedule", EXPECTED)
def test_each_schedule_has_its_own_shape(schedule: str) -> None:
    assert rates(4, schedule=schedule) == pytest.approx(EXPECTED[schedule])


@pytest.mark.parametrize("schedule", ["linear", "cosine", "polynomial", "exponential", "stable"])
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


def test_the_cosine_goes_back_to_the_peak_as_often_as_it_is_told() -> None:
    (one, three) = (rates(12, schedule="cosine", restarts=count) for count in (0, 2))
    assert three == pytest.approx(rates(4, schedule="cosine") * 3)
    assert [step for step, rate in enumerate(three) if rate == 1.0] == [0, 4, 8]
    assert [step for step, rate in enumerate(one) if rate == 1.0] == [0]
    # where the cycles do not divide the steps, the end is the end all the same
    stage = Train(warmup=0, rate=1.0, schedule="cosine", restarts=2, final_rate=0.1)
    assert rate_at(11, 11, stage) == pytest.approx(0.1)


def test_the_factor_multiplies_the_rate_every_so_many_steps() -> None:
    options = {"schedule": "exponential", "factor": 0.96, "factor_steps": 1000, "warmup": 0.1}
    smooth, stairs = (rates(10_000, **options, staircase=stairs) for stairs in (False, True))
    assert smooth[1000] == stairs[1000] == 1.0
    assert stairs[1999] == 1.0
    assert smooth[1500] == pytest.approx(0.96**0.5)
    assert stairs[2000] == smooth[2000] == pytest.approx(0.96)
    assert stairs[9999] == pytest.approx(0.96**8)
    assert len(set(stairs[1000:])) == 9


def test_the_inverse_square_root_goes_on_from_the_warm_up() -> None:
    later = rates(1000, schedule="inverse-sqrt", warmup=0.099)
    assert later[99] == 1.0
    assert later[399] == pytest.approx(0.5)  # four times as many steps, half the rate


def test_stable_keeps_the_peak_and_falls_at_the_end() -> None:
    seen = rates(100, schedule="stable", warmup=0.1, cooldown=0.25, final_rate=0.2)
    assert seen[10:76] == [1.0] * 66
    assert seen[75:] == pytest.approx([1 - 0.8 * n / 25 for n in range(25)])
    whole = rates(10, schedule="stable", warmup=0.5, cooldown=1.0)  # no room for a plateau
    assert whole[5:] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_every_step_of_a_schedule_learns() -> None:
    for schedule in EXPECTED:
        assert min(rates(7, schedule=schedule, warmup=0.3)) > 0
