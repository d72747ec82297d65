import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from train_standin import Bag, Rows, Sums, distance

from tael.errors import RunError
from tael.model.batch import Batch
from tael.recipe.schema import Train
from tael.train.guard import Stop
from tael.train.loop import Outcome, Verdict, evaluation_steps
from tael.train.optim import make_optimizer

Learn = Callable[..., tuple[nn.Module, Outcome]]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_learns(learn: Learn, tmp_path: Path) -> None:
    learn(steps=40)
    losses = [line["loss"] for line in lines(tmp_path / "run")]
    assert losses[-1] < 0.5 * losses[0]
    assert [line["step"] for line in lines(tmp_path / "run")] == list(range(1, 41))


def test_the_result_does_not_depend_on_the_micro_batch(learn: Learn) -> None:
    whole, _ = learn(folder="whole", batches=Rows(8))
    for micro in (1, 3, 4):
        cut, _ = learn(folder=f"cut{micro}", batches=Rows(micro))
        for x, y in zip(whole.parameters(), cut.parameters(), strict=True):
            # float32 sums in another order; Adam's first steps enlarge what rounding leaves
            assert_close(x, y, atol=2e-5, rtol=1e-4)


def test_a_mean_over_micro_batches_would_have_been_another_result(learn: Learn) -> None:
    class Means(Sums):
        def objective(self, network: Any, batch: Batch) -> Tensor:
            return super().objective(network, batch) / batch.size * 8

    whole, _ = learn(folder="whole")
    wrong, _ = learn(folder="wrong", batches=Rows(3), learner=Means())
    assert distance(whole, wrong) > 1e-3


@pytest.mark.parametrize(
    "option",
    [
        {"l1": 0.01},
        {"l2": 0.01},
        {"clip": 1e-4},
        {"decay": 0.5},
        {"rate": 0.01},
        {"schedule": "linear"},
        {"warmup": 0.5},
        {"dtype": "bfloat16"},
        {"dropout": 0.5},
        {"optimizer": "sgd"},
        {"optimizer": "muon"},
        {"betas": (0.5, 0.9)},
        {"average": 0.9},
        {"adversary": 1.0},
    ],
    ids=lambda option: next(iter(option)),
)
def test_every_option_changes_the_result(learn: Learn, option: dict[str, Any]) -> None:
    plain, _ = learn(folder="plain", clip=0.0, decay=0.0)
    other, _ = learn(folder="other", **({"clip": 0.0, "decay": 0.0} | option))
    assert distance(plain, other) > 1e-4


def test_l1_and_l2_make_the_weights_smaller_in_their_own_norms(learn: Learn) -> None:
    def norms(network: nn.Module) -> tuple[float, float]:
        weights = [p.detach() for p in network.parameters() if p.ndim > 1]
        return (
            float(sum(w.abs().sum() for w in weights)),
            float(sum(w.square().sum() for w in weights)),
        )

    plain = norms(learn(folder="plain")[0])
    assert norms(learn(folder="l1", l1=0.05)[0])[0] < plain[0]
    assert norms(learn(folder="l2", l2=0.05)[0])[1] < plain[1]


def test_the_logged_loss_is_the_mean_without_the_penalty(learn: Learn, tmp_path: Path) -> None:
    learn(folder="plain", steps=1)
    learn(folder="l1", steps=1, l1=0.5)
    plain, penalised = lines(tmp_path / "plain")[0], lines(tmp_path / "l1")[0]
    assert penalised["loss"] == plain["loss"]
    assert penalised["penalty"] > 1
    assert "penalty" not in plain
    assert plain["tokens"] == sum(n % 5 + 2 for n in range(8))


def test_clipping_bounds_the_update_and_reports_the_norm_before_it(
    learn: Learn, tmp_path: Path
) -> None:
    learn(folder="free", steps=1, clip=0.0)
    learn(folder="clipped", steps=1, clip=0.01)
    free, clipped = lines(tmp_path / "free")[0], lines(tmp_path / "clipped")[0]
    assert free["norm"] == clipped["norm"] > 0.01


def test_decay_leaves_biases_and_norms_alone() -> None:
    network = Bag()
    optimizer = make_optimizer(dict(network.named_parameters()), Train(decay=0.3))
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    assert decayed == {id(network.embedding.weight), id(network.out.weight)}
    assert optimizer.defaults["fused"]


def test_the_best_weights_by_dev_are_restored(learn: Learn, tmp_path: Path) -> None:
    seen: list[list[Tensor]] = []
    scores = iter([(0.5, 1.0), (0.8, 2.0), (0.8, 1.5), (0.8, 1.6), (0.7, 0.1), (math.nan, 0.0)])

    def verdicts(network: nn.Module) -> list[Verdict]:
        value, loss = next(scores)
        seen.append([p.detach().clone() for p in network.parameters()])
        better = value if math.isfinite(value) else -math.inf
        return [Verdict("dev", {"accuracy": value}, loss, 9, better)]

    network, outcome = learn(steps=12, evaluations=6, verdicts=verdicts)
    assert outcome.best_step == 6  # the third score: a tie in accuracy, a lower loss
    for parameter, best in zip(network.parameters(), seen[2], strict=True):
        assert torch.equal(parameter, best)
    scored = [line for line in lines(tmp_path / "run") if "split" in line]
    assert [line["step"] for line in scored] == [2, 4, 6, 8, 10, 12]
    assert scored[-1]["metrics"] == {"accuracy": None}  # JSON has no NaN


def test_patience_stops_after_that_many_scores_without_a_new_best(learn: Learn) -> None:
    def verdicts(network: nn.Module) -> list[Verdict]:
        return [Verdict("dev", {"accuracy": 0.5}, 1.0, 9, 0.5)]

    _, patient = learn(folder="patient", steps=12, evaluations=6, verdicts=verdicts, patience=2)
    assert (patient.steps, patient.best_step, patient.stopped_early) == (6, 2, True)
    _, endless = learn(folder="endless", steps=12, evaluations=6, verdicts=verdicts)
    assert (endless.steps, endless.stopped_early) == (12, False)


@pytest.mark.parametrize(("steps", "evaluations"), [(10, 3), (3, 10), (1, 1), (7, 7), (100, 9)])
def test_evaluations_are_spread_and_the_last_step_has_one(steps: int, evaluations: int) -> None:
    marks = sorted(evaluation_steps(steps, evaluations))
    assert len(marks) == min(steps, evaluations)
    assert marks[-1] == steps
    gaps = [b - a for a, b in zip([0, *marks], marks, strict=False)]
    assert max(gaps) - min(gaps) <= 1


class Interrupting(Sums):
    """Sends SIGTERM while step `at` (from 0) computes."""

    def __init__(self, stop: Stop, at: int) -> None:
        self.stop, self.left = stop, at

    def objective(self, network: Any, batch: Batch) -> Tensor:
        self.left -= 1
        if self.left == -1:
            self.stop.receive(15, None)
        return super().objective(network, batch)


def test_a_stopped_run_goes_on_bit_for_bit_and_writes_each_step_once(
    learn: Learn, tmp_path: Path
) -> None:
    def verdicts(network: nn.Module) -> list[Verdict]:
        value = sum(float(p.detach().sum()) for p in network.parameters())
        return [Verdict("dev", {"sum": value}, 1.0, 9, value)]

    options: dict[str, Any] = {"dropout": 0.3, "evaluations": 4, "verdicts": verdicts}
    whole, _ = learn(folder="whole", **options)
    for at in (0, 4, 7, 11):
        stop = Stop()
        with pytest.raises(RunError, match=f"SIGTERM after train step {at + 1} of 12, saved"):
            learn(folder=f"cut{at}", learner=Interrupting(stop, at), stop=stop, **options)
        again, _ = learn(folder=f"cut{at}", **options)
        assert distance(whole, again) == 0.0
        one, two = lines(tmp_path / "whole"), lines(tmp_path / f"cut{at}")
        for line in (*one, *two):
            line.pop("seconds", None)
            line.pop("waited", None)
        assert one == two


def test_a_second_signal_does_not_wait_for_the_step() -> None:
    stop = Stop()
    with stop.after_the_step():
        stop.receive(2, None)
        with pytest.raises(KeyboardInterrupt):
            stop.receive(2, None)


class Poisoned(Sums):
    """Turns the loss of one micro-batch into NaN."""

    def __init__(self, at: int) -> None:
        self.left = at

    def objective(self, network: Any, batch: Batch) -> Tensor:
        self.left -= 1
        return super().objective(network, batch) * (math.nan if self.left < 0 else 1)


def test_a_loss_that_is_not_a_number_stops_and_names_step_and_records(
    learn: Learn, tmp_path: Path
) -> None:
    # two micro-batches a step: the second one of step 4 is bad
    with pytest.raises(RunError) as caught:
        learn(batches=Rows(4), learner=Poisoned(7))
    message = str(caught.value)
    assert "train step 4: the loss is nan" in message
    assert "reviews.csv:30, reviews.csv:31" in message
    assert "reviews.csv:29" not in message
    assert "\n" not in message
    assert [line["step"] for line in lines(tmp_path / "run")] == [1, 2, 3]


def test_bfloat16_computes_in_bfloat16_over_float32_weights(learn: Learn) -> None:
    seen = set()

    class Spy(Sums):
        def objective(self, network: Any, batch: Batch) -> Tensor:
            seen.add(network(batch).dtype)
            return super().objective(network, batch)

    network, _ = learn(dtype="bfloat16", learner=Spy())
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_the_mean_of_the_weights_is_scored_and_kept(learn: Learn) -> None:
    seen: list[list[Tensor]] = []

    def verdicts(network: nn.Module) -> list[Verdict]:
        seen.append([p.detach().clone() for p in network.parameters()])
        return [Verdict("dev", {"accuracy": 0.5}, 1.0 / len(seen), 9, 0.5)]

    plain, _ = learn(folder="plain")
    mean, _ = learn(folder="mean", average=0.9)
    scored, _ = learn(folder="scored", average=0.9, verdicts=verdicts)
    assert distance(plain, mean) > 1e-3
    assert distance(mean, scored) == 0.0  # scoring on the way does not change how it learns
    for parameter, last in zip(scored.parameters(), seen[-1], strict=True):
        assert torch.equal(parameter, last)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_stage_learns_goes_on_with_mean_and_adversary_and_any_optimiser(
    learn: Learn, dtype: str
) -> None:
    options: dict[str, Any] = {
        "dropout": 0.3, "dtype": dtype, "average": 0.9, "adversary": 0.5, "optimizer": "lion",
        "verdicts": lambda network: [Verdict("dev", {"f": 1.0}, 1.0, 9, 1.0)],
    }  # fmt: skip
    whole, _ = learn(folder="whole", **options)
    stop = Stop()
    with pytest.raises(RunError, match="saved"):
        learn(folder="cut", learner=Interrupting(stop, 12), stop=stop, **options)  # two a step
    again, _ = learn(folder="cut", **options)
    assert distance(whole, again) == 0.0
