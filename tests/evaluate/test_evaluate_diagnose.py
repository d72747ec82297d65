"""The diagnosis names what a person would see in the curves, and nothing that is not there."""

import pytest

from tael.evaluate.diagnose import Curve, diagnose
from tael.evaluate.score import Score

FALLING: Curve = [(step, 1.0 / step) for step in range(1, 11)]
TURNING: Curve = [(step, 0.3 + 0.02 * abs(step - 4)) for step in range(1, 11)]


def about(value: float, half: float = 0.012) -> Score:
    return Score(value, value - half, value + half)


def test_92_5_on_train_against_85_3_on_dev_is_flagged() -> None:
    found = diagnose("accuracy", about(0.925), about(0.853), dev_loss=TURNING, steps_per_epoch=2)
    assert found.verdict == "over-fits"
    assert found.short == "it over-fits from epoch 2"
    assert "92.5 %" in found.explanation
    assert "85.3 %" in found.explanation
    assert "7.2 points" in found.explanation
    assert any("train.epochs" in knob for knob in found.knobs)


def test_it_is_flagged_too_on_a_dev_so_small_that_it_may_be_chance_and_that_is_said() -> None:
    found = diagnose("accuracy", about(0.925), about(0.853, half=0.1))
    assert found.verdict == "over-fits"
    assert "may be chance" in found.explanation
    assert found.since is None


def test_a_gap_within_chance_is_not_flagged() -> None:
    found = diagnose("accuracy", about(0.905), about(0.88, half=0.03), dev_loss=FALLING)
    assert found.verdict == "fits"
    assert found.knobs == ()
    sure = diagnose("accuracy", about(0.905), about(0.88, half=0.01), dev_loss=FALLING)
    assert sure.verdict == "over-fits"


def test_a_single_bump_in_dev_loss_is_no_turn() -> None:
    bumpy = [(1, 0.9), (2, 0.5), (3, 0.7), (4, 0.45), (5, 0.45)]
    assert diagnose("accuracy", about(0.9), about(0.89), dev_loss=bumpy).since is None
    assert diagnose("accuracy", about(0.9), about(0.89), dev_loss=TURNING).since == 4


def test_a_score_near_the_majority_has_learnt_nothing() -> None:
    found = diagnose("accuracy", about(0.72), about(0.71), floor=0.70)
    assert found.verdict == "learns too little"
    assert "70.0 %" in found.explanation
    assert diagnose("accuracy", about(0.90), about(0.89), floor=0.70).verdict == "fits"


def test_a_dev_score_that_still_climbs_asks_for_more_steps() -> None:
    climbing = [(step, 0.5 + 0.03 * step) for step in range(1, 11)]
    found = diagnose("accuracy", about(0.81), about(0.80), dev_metric=climbing)
    assert found.verdict == "still learning"
    assert found.knobs[0].startswith("train.epochs")
    level = [(step, min(0.8, 0.5 + 0.1 * step)) for step in range(1, 11)]
    assert diagnose("accuracy", about(0.81), about(0.80), dev_metric=level).verdict == "fits"


def test_the_advice_names_the_present_values() -> None:
    found = diagnose("accuracy", about(0.95), about(0.8), recipe={"model.from": "somewhere"})
    assert not any("model.preset" in knob for knob in found.knobs)
    found = diagnose("accuracy", about(0.95), about(0.8), recipe={"model.dropout": 0.25})
    assert any("model.preset" in knob for knob in found.knobs)
    assert any("model.dropout (now 0.25)" in knob for knob in found.knobs)


@pytest.mark.parametrize(
    ("train", "dev", "verdict"), [(0.1, 0.5, "over-fits"), (0.50, 0.51, "fits")]
)
def test_where_lower_is_better_the_gap_turns_round(train: float, dev: float, verdict: str) -> None:
    assert diagnose("mae", about(train), about(dev)).verdict == verdict
