"""Means over seeds count both what the seed and what the records leave to chance."""

import numpy as np
import pytest

from tael.errors import UsageError
from tael.evaluate.learning import baseline_learning, learning_curve, subset
from tael.evaluate.seeds import difference_over_seeds, mean_over_seeds
from tael.evaluate.weakness import learnt
from tael.evaluate.wording import speaking
from tael.model.linear import LinearModel, document
from tael.task.metrics import OneLabel


def laid(right_N: np.ndarray) -> OneLabel:
    truth_N = np.arange(len(right_N)) % 2
    return OneLabel(truth_N, np.where(right_N, truth_N, 1 - truth_N), None)


def test_the_interval_covers_the_truth_over_seeds_and_records() -> None:
    """Each seed shifts its model by chance, and each record is easy or hard for all of them."""
    rng = np.random.default_rng(0)
    covered, times, size, effect = 0, 200, 300, 0.05
    for _ in range(times):
        hard_N = rng.normal(0, 0.15, size)
        pairs = []
        for _ in range(3):
            shift = rng.normal(0, 0.02, 2)
            chances = np.clip(0.8 + hard_N + np.array([[effect], [0]]) + shift[:, None], 0, 1)
            right = rng.random((2, size)) < chances
            pairs.append((laid(right[0]), laid(right[1])))
        found = difference_over_seeds(pairs, "accuracy", resamples=60)
        # Clipping at 1 takes a little of the effect away.
        covered += found.low <= 0.044 <= found.high
    assert 0.93 <= covered / times <= 1.0


def test_seeds_that_disagree_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    base = laid(rng.random(400) < 0.8)
    same = [(laid(rng.random(400) < 0.85), base) for _ in range(3)]
    apart = [(laid(rng.random(400) < share), base) for share in (0.75, 0.85, 0.95)]
    narrow, wide = (difference_over_seeds(p, "accuracy", resamples=100) for p in (same, apart))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert wide.value == pytest.approx(np.mean(wide.by_seed))
    assert not wide.proved


def test_records_are_paired_by_name_in_whatever_order_and_share() -> None:
    rng = np.random.default_rng(1)
    right_N = rng.random(100) < 0.7
    names = [f"n{at}" for at in range(100)]
    one = laid(right_N)
    turned = [(one, laid(np.ones(100, bool))), (one, laid(np.ones(100, bool)))]
    shared = difference_over_seeds(turned, "accuracy", keys=[names, names], resamples=200)
    other = [f"m{at}" for at in range(100)]
    apart = difference_over_seeds(turned, "accuracy", keys=[names, other], resamples=200)
    assert shared.records == 100
    assert apart.records == 200
    assert apart.record_error < shared.record_error  # twice the records, half the variance
    assert shared.value == apart.value == pytest.approx(right_N.mean() - 1)


def test_one_seed_says_nothing_of_seeds_and_different_records_are_refused() -> None:
    one = laid(np.ones(10, bool))
    assert mean_over_seeds([one], "accuracy").seed_error is None
    with pytest.raises(UsageError, match="must answer the same records"):
        difference_over_seeds([(one, laid(np.ones(9, bool)))], "accuracy")
    with pytest.raises(UsageError, match="no metric 'auroc'"):
        mean_over_seeds([one], "auroc")


def curve(halves: list[float], whole: float) -> str:
    rng = np.random.default_rng(2)
    draws = [rng.random(2000) for _ in range(4)]
    half = [laid(draws[0] < share) for share in halves]
    found = learning_curve(
        "tfidf", "accuracy",
        [(0.25, 25, half), (0.5, 50, half), (1.0, 100, [laid(draws[0] < whole)])], resamples=100,
    )  # fmt: skip
    return learnt(speaking("en"), found)


def test_the_curve_says_carefully_whether_more_data_would_help() -> None:
    assert "more data would probably help" in curve([0.70, 0.71, 0.70], 0.80)
    assert "more data may not help" in curve([0.70, 0.76, 0.64], 0.70)
    assert "more data made it worse" in curve([0.80, 0.81, 0.80], 0.70)


def test_a_learner_that_lacks_words_gains_from_more_data() -> None:
    words = [f"{kind}{number}" for number in range(60) for kind in ("good", "bad")]
    train = [{"text": f"{w} {w}", "label": w.strip("0123456789")} for w in words]
    from tael.evaluate.baseline import WORDS, fit_tfidf

    whole = fit_tfidf(train, train, "single", ["bad", "good"], grams=[WORDS])

    def answer(model: LinearModel) -> list[dict[str, object]]:
        logits_NC = model.logits([document(one) for one in train])
        return [{"label": ["bad", "good"][best]} for best in logits_NC.argmax(1).tolist()]

    found = baseline_learning(
        whole, answer, train, train, [one["label"] for one in train],
        kind="single", labels=["bad", "good"], metric="accuracy", seed=0, resamples=50,
    )  # fmt: skip
    assert found is not None
    assert [point.rows for point in found.points] == [30, 60, 120]
    scores = [point.score.value for point in found.points]
    assert scores == sorted(scores)
    assert found.doubling.proved
    assert baseline_learning(
        whole, answer, train[:5], train, ["good"], kind="single", labels=["bad", "good"],
        metric="accuracy", seed=0,
    ) is None  # fmt: skip


def test_a_part_of_train_is_the_same_each_time_and_another_for_another_seed() -> None:
    train = [{"text": str(at)} for at in range(100)]
    assert subset(train, 0.25, 1) == subset(train, 0.25, 1) != subset(train, 0.25, 2)
    assert len(subset(train, 0.25, 1)) == 25
