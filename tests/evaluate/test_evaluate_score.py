"""Intervals cover, comparisons in pairs see what is there and do not see what is not."""

import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tael.errors import UsageError
from tael.evaluate.compare import mcnemar, paired, rows_needed
from tael.evaluate.interval import bootstrap, draws, ends, student, wilson
from tael.evaluate.score import score, score_outcomes, to_json
from tael.task.metrics import Numbers, OneLabel, outcomes

TASK: Any = SimpleNamespace(outcomes=lambda a, r: outcomes("single", a, r, ["no", "yes"]))


def answered(right_N: NDArray[Any]) -> OneLabel:
    """Lay out answers that are right where told, for a truth that alternates."""
    truth_N = np.arange(len(right_N)) % 2
    return OneLabel(truth_N, np.where(right_N, truth_N, 1 - truth_N), None)


def population(classes: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth and the scores of 200,000 records: shares fall from class to class."""
    rng = np.random.default_rng(classes)
    shares = np.arange(classes, 0, -1.0)
    truth_N = rng.choice(classes, 200_000, p=shares / shares.sum())
    logits_NC = rng.normal(size=(len(truth_N), classes))
    logits_NC[np.arange(len(truth_N)), truth_N] += skill
    scores_NC = np.exp(1.3 * logits_NC)
    return truth_N, scores_NC / scores_NC.sum(axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "skill", "size"), [(2, 2.0, 150), (2, 2.0, 500), (4, 2.6, 400)]
)
def test_on_resampled_splits_93_to_97_intervals_in_100_hold_the_truth(
    classes: int, skill: float, size: int
) -> None:
    truth_N, scores_NC = population(classes, skill)
    whole = OneLabel(truth_N, scores_NC.argmax(axis=1), scores_NC)
    truth = {name: float(value[0]) for name, value in whole.metrics(np.ones((1, 200_000))).items()}
    rng, times = np.random.default_rng(3), 1000  # so that chance moves the share by 0.7 points
    covered: Counter[str] = Counter()
    for seed in range(times):
        row_N = rng.integers(0, len(truth_N), size)
        part = OneLabel(truth_N[row_N], scores_NC[row_N].argmax(axis=1), scores_NC[row_N])
        for name, found in score_outcomes(part, resamples=200, seed=seed).items():
            covered[name] += found.low <= truth[name] <= found.high
    shares = {name: count / times for name, count in covered.items()}
    assert shares.pop("ece") > 0.8  # biased by its bins: better than the draws' own 20 %, not 95
    assert {name: share for name, share in shares.items() if not 0.93 <= share <= 0.97} == {}


@pytest.mark.parametrize("accuracy", [0.7, 0.9, 0.985])
def test_the_interval_of_accuracy_covers_the_truth_about_95_times_in_100(accuracy: float) -> None:
    rng = np.random.default_rng(7)
    right = rng.binomial(300, accuracy, 4000)
    ends_N2 = np.array([wilson(count, 300) for count in right.tolist()])
    covered = float(((ends_N2[:, 0] <= accuracy) & (accuracy <= ends_N2[:, 1])).mean())
    assert 0.93 <= covered <= 0.97


@pytest.mark.slow
def test_the_interval_of_a_paired_difference_covers_the_truth_as_often() -> None:
    truth_N, scores_NC = population(2, 2.2)
    rng, times, size = np.random.default_rng(5), 600, 150
    other_NC = np.exp(np.log(scores_NC) + 0.8 * rng.normal(size=scores_NC.shape))
    both = [OneLabel(truth_N, one.argmax(axis=1), one) for one in (scores_NC, other_NC)]
    once = np.ones((1, len(truth_N)))
    for metric in ("accuracy", "f1"):
        truth = float(both[0].metrics(once)[metric][0] - both[1].metrics(once)[metric][0])
        covered = 0
        for seed in range(times):
            row_N = rng.integers(0, len(truth_N), size)
            a, b = (
                OneLabel(truth_N[row_N], one[row_N].argmax(axis=1), one[row_N])
                for one in (scores_NC, other_NC)
            )
            found = paired(a, b, metric, resamples=200, seed=seed)
            covered += found.low <= truth <= found.high
        assert 0.93 <= covered / times <= 0.97


@pytest.mark.parametrize("metric", ["f1", "auroc", "mcc", "pearson", "rmse", "r2", "ece"])
def test_an_interval_stays_inside_the_bounds_of_its_metric(metric: str) -> None:
    drawn_R = np.minimum(np.random.default_rng(0).normal(0.97, 0.05, 300), 0.999)
    low, high = student(metric, 0.97, drawn_R, 40)
    assert low < 0.97 < high
    assert high < 1 or metric in ("rmse", "ece")
    flat = student(metric, 1.0, np.ones(300), 40)
    assert flat[1] == 1.0
    assert flat[0] < 1 or metric in ("rmse", "r2", "ece")


def test_an_interval_is_narrower_with_more_records() -> None:
    rng = np.random.default_rng(1)
    few, many = (score_outcomes(answered(rng.random(n) < 0.8))["accuracy"] for n in (100, 1600))
    assert (many.high - many.low) * 3 < few.high - few.low < (many.high - many.low) * 6


def test_a_perfect_score_does_not_claim_to_be_certain() -> None:
    found = score_outcomes(answered(np.ones(40, dtype=bool)))["accuracy"]
    assert found.value == found.high == 1.0
    assert 0.90 < found.low < 0.95
    assert wilson(0, 40)[0] == 0.0


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    outcomes = answered(np.random.default_rng(0).random(200) < 0.8)
    first, again = score_outcomes(outcomes, seed=3), score_outcomes(outcomes, seed=3)
    assert first == again
    assert score_outcomes(outcomes, seed=4) != first


def test_draws_take_as_many_records_as_there_are() -> None:
    blocks = list(draws(3000, 200, seed=0))
    weights = np.concatenate(blocks)
    assert len(blocks) > 1  # the blocks are bounded
    assert weights.shape == (200, 3000)
    assert (weights.sum(axis=1) == 3000).all()
    assert weights.mean() == 1


def test_every_value_lies_inside_its_interval() -> None:
    rng = np.random.default_rng(2)
    scores_NC = rng.dirichlet(np.ones(3), 150)
    outcomes = OneLabel(rng.integers(0, 3, 150), scores_NC.argmax(axis=1), scores_NC)
    scores = score_outcomes(outcomes)
    assert {"accuracy", "f1", "f1_weighted", "auroc", "mcc", "ece"} <= scores.keys()
    assert all(entry.low <= entry.value <= entry.high for entry in scores.values())
    scores = score_outcomes(Numbers(rng.normal(size=50), rng.normal(size=50)))
    assert all(entry.low <= entry.value <= entry.high for entry in scores.values())


def test_what_one_class_leaves_undefined_is_left_out() -> None:
    answers = [{"label": "yes", "scores": {"no": 0.2, "yes": 0.8}}] * 5
    found = to_json(score(TASK, answers, ["yes"] * 5))
    assert "auroc" not in found
    assert found["accuracy"]["value"] == 1.0
    assert all(np.isfinite(list(entry.values())).all() for entry in found.values())


@pytest.mark.parametrize("references", [[], ["yes"]])
def test_answers_without_their_references_are_refused(references: list[str]) -> None:
    with pytest.raises(UsageError, match="cannot score"):
        score(TASK, [{"label": "yes"}] * 2 if references else [], references)


def test_a_thousand_draws_of_a_large_test_split_take_seconds() -> None:
    rng = np.random.default_rng(0)
    scores_NC = rng.dirichlet(np.ones(2), 5320)
    outcomes = OneLabel(rng.integers(0, 2, 5320), scores_NC.argmax(axis=1), scores_NC)
    start = time.process_time()
    drawn = bootstrap(outcomes, 1000)
    assert time.process_time() - start < 3.0
    assert drawn["auroc"].shape == (1000,)
    low, high = ends(drawn["auroc"])
    assert low < 0.5 < high


def test_a_system_is_not_better_than_itself() -> None:
    outcomes = answered(np.random.default_rng(0).random(300) < 0.8)
    found = paired(outcomes, outcomes, "accuracy")
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert not found.proved
    assert rows_needed(found) is None


@pytest.mark.parametrize("metric", ["accuracy", "f1", "mcc"])
def test_a_small_difference_on_the_same_records_is_seen_in_pairs(metric: str) -> None:
    rng = np.random.default_rng(3)
    right_N = rng.random(1000) < 0.85
    better_N = right_N | (rng.random(1000) < 0.15)  # never worse, two points better
    found = paired(answered(better_N), answered(right_N), metric)
    assert found.proved
    assert 0 < found.low < found.lower_one_sided < found.difference < found.high
    assert found.p < 0.01
    apart = score_outcomes(answered(better_N))[metric].low
    assert apart < score_outcomes(answered(right_N))[metric].high  # side by side they overlap
    assert paired(answered(right_N), answered(better_N), metric).high < 0


def test_equal_systems_are_told_apart_about_one_time_in_twenty() -> None:
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(200):
        a_N, b_N = rng.random((2, 200)) < 0.8
        wrong += paired(answered(a_N), answered(b_N), "accuracy", resamples=200).proved
    assert wrong <= 20


def test_mcnemar_counts_only_the_records_that_one_alone_got_right() -> None:
    a, b = np.array([1.0] * 8 + [0] + [1] * 50), np.array([0.0] * 8 + [1] + [1] * 50)
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 9) / 2**9)  # two-sided sign test, 8 against 1
    assert mcnemar(a[8:], a[8:]) == 1.0


def test_the_rows_needed_would_about_settle_it() -> None:
    rng = np.random.default_rng(5)
    a_N, b_N = rng.random(400) < 0.83, rng.random(400) < 0.80
    found = paired(answered(a_N), answered(b_N), "accuracy")
    assert not found.proved
    needed = rows_needed(found)
    assert needed is not None
    times = -(-needed * 13 // (10 * 400))  # a third more, since it is an estimate
    many = paired(answered(np.tile(a_N, times)), answered(np.tile(b_N, times)), "accuracy")
    assert many.proved


def test_a_lower_error_is_a_gain() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    near, far = (Numbers(truth, truth + noise * rng.normal(size=200)) for noise in (0.1, 1.0))
    found = paired(near, far, "mse")
    assert found.difference < 0 < found.gain
    assert found.proved


def test_systems_that_answered_other_records_are_not_compared() -> None:
    one, other = answered(np.ones(3, dtype=bool)), answered(np.ones(4, dtype=bool))
    with pytest.raises(UsageError, match="same records"):
        paired(one, other, "accuracy")
    with pytest.raises(UsageError, match="no metric 'auroc' in both"):
        paired(one, one, "auroc")
