"""The one training loop, for every task and stage.

Where it stands is one integer: the data, the dropout and the rate of a step follow from the seed
and the number of the step, so a run that was killed ends in the same bits as one that was not.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from tael.model.batch import Batch
from tael.recipe.schema import Stage, Train
from tael.train import checkpoint, guard, optim
from tael.train.checkpoint import Position
from tael.train.schedule import rate_at
from tael.train.seeds import mix
from tael.train.track import Track

__all__ = ["Batches", "Course", "Learner", "Outcome", "Verdict", "evaluation_steps", "fit"]


class Learner(Protocol):
    """The part of a task that the loop needs."""

    def logits(self, network: Any, batch: Batch) -> Tensor:
        """Return the network's raw answers."""

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss summed over the supervised items, weights included."""

    def supervised(self, batch: Batch) -> float:
        """Return what that sum is divided by: the number or the total weight of the items."""


class Batches(Protocol):
    """The micro-batches of any step, by its number alone."""

    def __getitem__(self, step: int) -> Sequence[Batch]:
        """Return the micro-batches of optimiser step `step`, from 0."""

    def places(self, step: int, micro: int) -> list[str]:
        """Say where the records of a micro-batch stand."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The score of one split: its metrics, their first one counts."""

    split: str
    metrics: dict[str, float]
    loss: float
    rows: int
    better: float = 0.0  # the first metric, signed so that higher is better


@dataclass(frozen=True, slots=True)
class Course:
    """What one call of the loop is to do."""

    name: str  # pretrain or train
    stage: Stage
    steps: int
    seed: int
    dtype: optim.Dtype
    evaluations: int
    keep_best: bool  # restore the best weights by dev at the end


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended."""

    steps: int  # done
    best_step: int  # the step whose weights the network has now
    tokens: int  # real tokens seen
    stopped_early: bool


def fit(
    network: nn.Module,
    learner: Learner,
    batches: Batches,
    course: Course,
    *,
    root: Path,
    track: Track,
    stop: guard.Stop,
    evaluate: Callable[[], list[Verdict]],
) -> Outcome:
    """Train `network` in place for `course.steps` steps, from the newest checkpoint under `root`.

    `evaluate` scores dev first. Raises RunError when a loss is not a number, StoppedError
    after saving when the user asks to stop; CheckpointError when no checkpoint is whole.
    """
    stage, steps = course.stage, course.steps
    optimizer = optim.make_optimizer(network, stage.decay)
    named = dict(network.named_parameters())
    position = checkpoint.load_newest(root, named, optimizer) or Position(seed=course.seed)
    marks = evaluation_steps(steps, course.evaluations)
    track.rewind(course.name, position.step)
    track.progress.begin(course.name, position.step, steps)
    with stop.after_the_step():
        while position.step < steps and not _out_of_patience(stage, position):
            start = time.perf_counter()
            rate = rate_at(position.step, steps, stage)
            values = _step(network, learner, batches, course, optimizer, position.step, rate)
            position = replace(
                position, step=position.step + 1, tokens=position.tokens + int(values["tokens"])
            )
            values["seconds"] = time.perf_counter() - start
            track.step(course.name, position.step, steps, values)
            if position.step in marks:
                position = _judge(network, course, position, track, evaluate)
            if position.step % stage.save_every == 0 or stop.signal:
                track.sync()
                checkpoint.save(root, position, named, optimizer)
            if stop.signal:
                raise stop.ended(
                    f"{root.parent.parent}: stopped by {stop.signal} after {course.name} step "
                    f"{position.step} of {steps}, saved; the same command goes on from there"
                )
    return _finish(network, course, position)


def evaluation_steps(steps: int, evaluations: int) -> frozenset[int]:
    """Return the steps (from 1) after which dev is scored: evenly spread, the last one included."""
    count = min(steps, evaluations)
    return frozenset(-(-steps * k // count) for k in range(1, count + 1))


def _step(
    network: nn.Module,
    learner: Learner,
    batches: Batches,
    course: Course,
    optimizer: AdamW,
    step: int,
    rate: float,
) -> dict[str, float]:
    stage = course.stage
    torch.manual_seed(mix(course.seed, step))  # dropout
    network.train()
    window = batches[step]
    # All items of the step: a mean of means would weigh a short micro-batch like a full one, and
    # the result would depend on how the step is cut. A window without targets teaches nothing.
    supervised = sum(learner.supervised(batch) for batch in window) or 1.0
    losses = []
    for batch in window:
        with optim.precision(network, course.dtype):
            logits = learner.logits(network, batch)
        loss = learner.loss(logits.float(), batch) / supervised
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    values = torch.stack(losses).tolist()
    line = {"loss": sum(values), "rate": rate}
    if isinstance(stage, Train) and (stage.l1 or stage.l2):
        penalty = optim.penalty(network, stage.l1, stage.l2)
        penalty.backward()  # type: ignore[no-untyped-call]
        line["penalty"] = float(penalty.detach())
    norm = optim.clip(network, stage.clip)
    guard.check_finite(course.name, step + 1, values, norm, lambda m: batches.places(step, m))
    optim.set_rate(optimizer, rate)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return line | {"norm": norm, "tokens": sum(batch.tokens for batch in window)}


def _judge(
    network: nn.Module,
    course: Course,
    position: Position,
    track: Track,
    evaluate: Callable[[], list[Verdict]],
) -> Position:
    verdicts = evaluate()
    for v in verdicts:
        track.evaluation(
            course.name, position.step, v.split, metrics=v.metrics, loss=v.loss, rows=v.rows
        )
    if not course.keep_best or not verdicts:
        return position
    score = (verdicts[0].better, -verdicts[0].loss)
    if position.best is not None and score <= position.best:
        return replace(position, stale=position.stale + 1)
    copy = checkpoint.weights(dict(network.named_parameters()))
    return replace(position, best=score, best_step=position.step, stale=0, best_weights=copy)


def _out_of_patience(stage: Stage, position: Position) -> bool:
    return isinstance(stage, Train) and 0 < stage.patience <= position.stale


@torch.no_grad()
def _finish(network: nn.Module, course: Course, position: Position) -> Outcome:
    if position.best_weights is not None:
        for name, parameter in network.named_parameters():
            parameter.copy_(position.best_weights[name])
    return Outcome(
        steps=position.step,
        best_step=position.best_step or position.step,
        tokens=position.tokens,
        stopped_early=position.step < course.steps,
    )
