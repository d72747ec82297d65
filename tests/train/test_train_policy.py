"""Bad steps are stopped at, skipped or rolled back; a resumed run does with them as a whole one."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from train_standin import Rows, Sums, distance

from tael.errors import RunError, StoppedError
from tael.model.batch import Batch
from tael.train.guard import Stop
from tael.train.loop import Outcome, Verdict

Learn = Callable[..., tuple[nn.Module, Outcome]]


class Marked(Rows):
    """Batches that know their step: `size` is its number, from 0."""

    def __getitem__(self, step: int) -> Any:
        batches = super().__getitem__(step)
        for batch in batches:
            object.__setattr__(batch, "size", step)
        return batches


class Spoilt(Sums):
    """Multiplies the loss of the steps named (from 1), and with it the gradients."""

    def __init__(self, factor: float, *steps: int) -> None:
        self.factor, self.steps = factor, steps

    def objective(self, network: Any, batch: Batch) -> Tensor:
        loss = super().objective(network, batch)
        return loss * (self.factor if batch.size + 1 in self.steps else 1.0)

    def supervised(self, batch: Batch) -> float:
        return float(len(batch.ids_BT))


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in found:
        for clock in ("seconds", "waited"):
            line.pop(clock, None)
    return found


def skipped(folder: Path) -> dict[int, str]:
    return {line["step"]: line["skipped"] for line in lines(folder) if "skipped" in line}


def costs(folder: Path) -> Any:
    return json.loads((folder / "costs.json").read_text())


def test_a_run_that_stops_leaves_the_window_and_a_whole_checkpoint(
    learn: Learn, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="step 7: the loss is nan; records of the step: reviews"):
        learn(batches=Marked(4), learner=Spoilt(math.nan, 7), steps=12)
    (path,) = (tmp_path / "run" / "bad_steps" / "train").iterdir()
    kept = json.loads(path.read_text())
    assert (path.name, kept["step"], kept["stage"]) == ("step-000007.json", 7, "train")
    assert kept["losses"] == ["nan", "nan"]
    assert len(kept["micro_batches"]) == 2
    folders = (tmp_path / "run" / "checkpoints" / "train").iterdir()
    assert [folder.name for folder in folders] == ["step-000005"]


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_skipped_step_is_one_that_never_was(learn: Learn, tmp_path: Path, factor: float) -> None:
    options: dict[str, Any] = {"batches": Marked(), "steps": 12, "decay": 0.0, "dropout": 0.2}
    network, _ = learn(folder="a", learner=Spoilt(factor, 4), on_bad_step="skip", **options)
    assert all(torch.isfinite(p).all() for p in network.parameters())
    found = lines(tmp_path / "a")
    assert [line["step"] for line in found] == list(range(1, 13))
    assert skipped(tmp_path / "a") == {4: f"the loss is {factor}"}
    assert costs(tmp_path / "a")["train_bad_steps"] == 1
    good, _ = learn(folder="b", learner=Spoilt(1.0), **options)
    assert lines(tmp_path / "b")[:3] == found[:3]
    assert distance(network, good) > 1e-4  # the step would have taught something


def test_skipped_steps_do_not_change_the_tokens_that_were_learned_from(learn: Learn) -> None:
    _, outcome = learn(batches=Marked(), learner=Spoilt(math.nan, 4), on_bad_step="skip", steps=6)
    assert outcome.tokens == 5 * sum(n % 5 + 2 for n in range(8))


def test_a_spike_is_a_bad_step_where_the_recipe_says_so(learn: Learn, tmp_path: Path) -> None:
    options: dict[str, Any] = {"batches": Marked(), "learner": Spoilt(50.0, 25), "steps": 30}
    learn(folder="spike", spike=20.0, on_bad_step="skip", **options)
    assert list(skipped(tmp_path / "spike")) == [25]
    assert "is a spike: above" in skipped(tmp_path / "spike")[25]
    learn(folder="none", on_bad_step="skip", **options)
    assert skipped(tmp_path / "none") == {}


def test_a_rollback_undoes_the_steps_that_led_to_the_bad_one(learn: Learn, tmp_path: Path) -> None:
    """Steps 6 and 7 led to 8: the run goes on with step 9 from the weights of step 5."""
    seen: dict[int, list[Tensor]] = {}

    class Watched(Spoilt):
        def objective(self, network: Any, batch: Batch) -> Tensor:
            seen[batch.size + 1] = [p.detach().clone() for p in network.parameters()]
            return super().objective(network, batch)

    learn(batches=Marked(), learner=Watched(math.nan, 8), on_bad_step="rollback", steps=12)
    assert all(torch.equal(a, b) for a, b in zip(seen[9], seen[6], strict=True))
    assert not torch.equal(seen[9][0], seen[7][0])
    found = lines(tmp_path / "run")
    assert [line["step"] for line in found] == list(range(1, 13))
    assert skipped(tmp_path / "run") == {
        6: "undone: step 8 was bad",
        7: "undone: step 8 was bad",
        8: "the loss is nan",
    }


def test_a_rollback_before_the_first_checkpoint_goes_back_to_the_start(
    learn: Learn, tmp_path: Path
) -> None:
    learn(batches=Marked(), learner=Spoilt(math.nan, 3), on_bad_step="rollback", steps=9)
    assert list(skipped(tmp_path / "run")) == [1, 2, 3]


class Stopping(Marked):
    """Asks the loop to stop while the given step (from 0) is being made."""

    def __init__(self, stop: Stop, step: int) -> None:
        super().__init__()
        self.stop, self.at = stop, step

    def __getitem__(self, step: int) -> Any:
        if step == self.at:
            self.stop.receive(15, None)
        return super().__getitem__(step)


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_resumed_run_passes_over_the_same_steps_to_the_same_bits(
    learn: Learn, tmp_path: Path, policy: str
) -> None:
    """Bad are 8, 9 and 17, a spike is 28; the runs are stopped before, at and behind them."""

    class Bad(Spoilt):
        def objective(self, network: Any, batch: Batch) -> Tensor:
            loss = super().objective(network, batch)
            return loss * 50 if batch.size + 1 == 28 else loss

    def verdicts(network: nn.Module) -> list[Verdict]:
        value = sum(float(p.detach().sum()) for p in network.parameters())
        return [Verdict("dev", {"sum": value}, 1.0, 9, value)]

    options: dict[str, Any] = {
        "learner": Bad(math.nan, 8, 9, 17),
        "steps": 32,
        "dropout": 0.3,
        "spike": 20.0,
        "on_bad_step": policy,
        "verdicts": verdicts,
        "evaluations": 8,
    }
    whole, _ = learn(folder="whole", batches=Marked(), **options)
    assert {8, 9, 17, 28} <= set(skipped(tmp_path / "whole"))
    assert costs(tmp_path / "whole")["train_bad_steps"] == 4
    for at in (6, 7, 11, 18, 29):
        stop = Stop()
        with pytest.raises(StoppedError):
            learn(folder=f"cut{at}", batches=Stopping(stop, at), stop=stop, **options)
        again, _ = learn(folder=f"cut{at}", batches=Marked(), **options)
        assert distance(whole, again) == 0.0
        assert lines(tmp_path / f"cut{at}") == lines(tmp_path / "whole")
        assert costs(tmp_path / f"cut{at}")["train_bad_steps"] == 4


def test_weights_that_are_at_fault_stop_the_run_whatever_the_policy(
    learn: Learn, tmp_path: Path
) -> None:
    bad = Spoilt(math.nan, *range(5, 100))
    with pytest.raises(RunError, match="step 14: the loss is nan, the 10th bad step in a row"):
        learn(batches=Marked(), learner=bad, on_bad_step="skip", steps=100)


class Scarce(Sums):
    """Has memory for so many rows at once; counts the rows that it was asked for."""

    def __init__(self, rows: int, error: Exception) -> None:
        self.rows, self.error = rows, error
        self.asked: list[int] = []

    def objective(self, network: Any, batch: Batch) -> Tensor:
        self.asked.append(len(batch.ids_BT))
        loss = super().objective(network, batch)
        if len(batch.ids_BT) > self.rows:
            raise self.error
        return loss


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB."),
    ],
    ids=["python", "processor", "GPU"],
)
def test_where_memory_runs_out_fewer_rows_at_once_learn_the_same(
    learn: Learn, error: Exception
) -> None:
    plain, _ = learn(folder="plain", steps=6)
    kept: list[int] = []
    scarce = Scarce(2, error)
    batches = Rows()
    fewer, _ = learn(folder="fewer", steps=6, learner=scarce, batches=batches, lower=kept.append)
    assert (kept, batches.micro_batch) == ([4, 2], 2)
    assert scarce.asked == [8, 4, *[2] * 4 * 6]  # no later step tries too much again
    for x, y in zip(plain.parameters(), fewer.parameters(), strict=True):
        torch.testing.assert_close(x, y, atol=2e-5, rtol=1e-4)


def test_memory_for_not_even_one_row_is_one_clear_line(learn: Learn) -> None:
    with pytest.raises(RunError, match=r"train step 1: memory ran out with 1 rows .* smaller"):
        learn(steps=6, learner=Scarce(0, MemoryError()))


def test_another_error_is_not_taken_for_one_of_memory(learn: Learn) -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        learn(steps=6, learner=Scarce(4, RuntimeError("shapes cannot be multiplied")))
