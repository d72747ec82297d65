"""Bad steps are told from good ones, and all that one needs to look into them is written aside."""

import json
import math
from pathlib import Path

import pytest
from train_standin import Rows

from tael.train.fault import Fault, find_fault, keep_window, remember, stopped_by, too_many

CALM = tuple(1 + 0.01 * (i % 7) for i in range(64))  # median 1.03, robust deviation 0.03


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_a_fault_of_its_micro_batch(bad: float) -> None:
    assert find_fault([0.1, bad, 0.2], 1.0, (), 0.0) == Fault(f"the loss is {bad}", (1,))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_no_number_is_a_fault_of_all(bad: float) -> None:
    fault = find_fault([0.1, 0.2], bad, (), 0.0)
    assert fault == Fault(f"the gradient norm is {bad}", (0, 1))


def test_a_spike_is_judged_by_the_losses_before_and_only_when_asked() -> None:
    assert find_fault([0.6, 0.6], 1.0, CALM, 10.0) is None
    fault = find_fault([0.8, 0.8], 1.0, CALM, 10.0)
    assert fault is not None
    assert "the loss 1.6 is a spike: above 1.3" in fault.what
    assert find_fault([0.8, 0.8], 1.0, CALM, 0.0) is None
    assert find_fault([0.8, 0.8], 1.0, CALM[:15], 10.0) is None  # too few to judge by
    assert find_fault([0.1], 1.0, CALM, 10.0) is None  # a fall is no spike


def test_earlier_spikes_do_not_hide_later_ones() -> None:
    spiky = (*CALM[:44], *[50.0] * 20)
    assert find_fault([3.0], 1.0, spiky, 10.0) is not None
    mean = sum(spiky) / len(spiky)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in spiky) / len(spiky))
    assert mean + 10 * deviation > 3.0  # by mean and deviation it would be none


def test_losses_that_are_all_alike_still_leave_room_for_noise() -> None:
    assert find_fault([1.05], 1.0, (1.0,) * 64, 6.0) is None
    assert find_fault([1.07], 1.0, (1.0,) * 64, 6.0) is not None


def test_what_is_remembered_is_bounded() -> None:
    recent: tuple[float, ...] = ()
    for step in range(100):
        recent = remember(recent, float(step))
    assert recent == tuple(map(float, range(36, 100)))


def test_the_window_holds_ids_records_and_numbers_in_plain_json(tmp_path: Path) -> None:
    rows, losses = Rows(4), [0.5, math.nan]
    fault = find_fault(losses, math.nan, (), 0.0)
    assert fault is not None
    path = keep_window(
        tmp_path / "bad_steps" / "train",
        fault,
        rows[3],
        lambda part: rows.places(3, part),
        step=4,
        seed=7,
        losses=losses,
        norm=math.nan,
    )
    assert path.name == "step-000004.json"
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert (found["step"], found["seed"], found["losses"]) == (4, 7, [0.5, "nan"])
    assert [part["at_fault"] for part in found["micro_batches"]] == [False, True]
    assert found["micro_batches"][1]["ids"] == rows[3][1].ids_BT.tolist()
    assert found["micro_batches"][1]["records"] == rows.places(3, 1)


def test_the_error_names_the_step_some_records_the_file_and_what_to_try() -> None:
    fault = Fault("the gradient norm is nan", (0, 1))
    error = stopped_by(
        "train", 9, fault, lambda part: [f"a:{i + 4 * part}" for i in range(4)], Path("x.json")
    )
    text = str(error)
    assert "train step 9: the gradient norm is nan; records of the step: a:0, a:1" in text
    assert "a:4 and 3 more, kept in x.json" in text
    assert "train.on_bad_step=skip" in text
    assert "\n" not in text


def test_no_policy_goes_on_for_ever() -> None:
    fault = Fault("the loss is nan", (0,))
    assert too_many("train", 9, fault, 9, Path("x.json")) is None
    error = too_many("train", 10, fault, 10, Path("x.json"))
    assert "10th bad step in a row" in str(error)
