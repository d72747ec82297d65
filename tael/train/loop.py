"""The one training loop, for every task and stage.

Where it stands is one integer: the data, the dropout and the rate of a step follow from the seed
and the number of the step, so a run that was killed ends in the same bits as one that was not.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tael.errors import RunError
from tael.model.batch import Batch
from tael.model.network import Network
from tael.recipe.schema import Stage, Train
from tael.train import guard, keep, optim
from tael.train.adversary import Adversary
from tael.train.ahead import Ahead
from tael.train.average import Average
from tael.train.checkpoint import Position
from tael.train.fault import Fault, remember
from tael.train.master import Dtype, Masters, arithmetic
from tael.train.parallel import ALONE, Team
from tael.train.policy import Policy
from tael.train.saver import Saver, make_saver
from tael.train.schedule import rate_at
from tael.train.seeds import mix
from tael.train.track import Track
from tael.train.work import Meter

if TYPE_CHECKING:
    from tael.train.fsdp import Sharded

__all__ = ["Batches", "Course", "Learner", "Outcome", "Verdict", "evaluation_steps", "fit"]


class Learner(Protocol):
    """The part of a task that the loop needs."""

    def objective(self, network: Any, batch: Batch) -> Tensor:
        """Return the loss summed over the supervised items, weights included, in float32."""

    def supervised(self, batch: Batch) -> float:
        """Return what that sum is divided by: the number or the total weight of the items."""


class Batches(Protocol):
    """The micro-batches of any step, by its number alone."""

    micro_batch: int  # rows computed at once; lowered where memory runs out

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
    never: tuple[str, ...] = ()  # labels of train that no answer has


@dataclass(frozen=True, slots=True)
class Course:
    """What one call of the loop is to do."""

    name: str  # pretrain or train
    stage: Stage
    steps: int
    seed: int
    dtype: Dtype
    evaluations: int
    keep_best: bool  # restore the best weights by dev at the end
    team: Team = ALONE  # the processes that share each step


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended."""

    steps: int  # done
    best_step: int  # the step whose weights the network has now
    tokens: int  # real tokens seen
    stopped_early: bool
    kept: tuple[int, ...] = ()  # the steps of the best weights and of the last, kept as files


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
    lower: Callable[[int], None],
) -> Outcome:
    """Train `network` in place for `course.steps` steps, from the newest checkpoint under `root`.

    `evaluate` scores dev first; `lower` keeps the rows computed at once where memory forces fewer.
    Raises RunError when a step is bad and the recipe says to stop, when many are in a row, or when
    memory is too small for one row; StoppedError after saving when the user asks to stop;
    CheckpointError when no checkpoint is whole, OSError when one cannot be written.
    """
    stage, steps = course.stage, course.steps
    work = _work(network, learner, batches, course, root, track, lower)
    saved, saver = work.saved, work.saver
    position = saver.load(*saved) or Position(seed=course.seed)
    work.masters.publish()
    marks = evaluation_steps(steps, course.evaluations)
    track.rewind(course.name, position.step)
    track.progress.begin(course.name, position.step, steps)
    with (
        stop.after_the_step(),
        closing(saver),
        Ahead(batches, position.step, steps) as ahead,
    ):
        if work.policy.base(position.step + 1) == position.step == 0:
            saver.submit(position, *saved)
        while position.step < steps and not _out_of_patience(stage, position):
            start = time.perf_counter()
            window = ahead.take()
            waited = time.perf_counter() - start
            position, values = _step(work, position, window, ahead)
            if values:
                clock = {"seconds": time.perf_counter() - start, "waited": waited}
                track.step(course.name, position.step, steps, values | clock)
            if position.step in marks:
                position = _judge(work, position, track, evaluate)
            stopped = course.team.any(stop.signal is not None)
            if position.step % stage.save_every == 0 or stopped:
                saver.submit(position, *saved)
            saver.check()
            if stopped:
                raise stop.ended(
                    f"{root.parent.parent}: stopped by {stop.signal or 'another process'} after "
                    f"{course.name} step "
                    f"{position.step} of {steps}, saved; the same command goes on from there"
                )
    track.sync()  # a stage whose output is on disk is not done again, nor its curves drawn
    return _finish(work, position)


def evaluation_steps(steps: int, evaluations: int) -> frozenset[int]:
    """Return the steps (from 1) after which dev is scored: evenly spread, the last one included."""
    count = min(steps, evaluations)
    return frozenset(-(-steps * k // count) for k in range(1, count + 1))


@dataclass(frozen=True, slots=True)
class _Work:
    """What every step of a stage works with."""

    network: nn.Module
    sharded: "Sharded | None"  # the network in pieces, where no process holds it whole
    masters: Masters
    optimizer: Optimizer
    learner: Learner
    batches: Batches
    course: Course
    average: Average | None
    adversary: Adversary | None
    policy: Policy
    saver: Saver
    kept: Path  # where the files of the best weights lie
    meter: Meter
    lower: Callable[[int], None]

    @property
    def saved(self) -> tuple[dict[str, nn.Parameter], Optimizer, dict[str, Tensor] | None]:
        """What a checkpoint holds: all that changes."""
        mean = None if self.average is None else self.average.named
        return self.masters.learned, self.optimizer, mean

    @property
    def keeps(self) -> int:
        """How many of the best weights this process keeps as files."""
        stage = self.course.stage
        return stage.keep_best if isinstance(stage, Train) and self.course.team.first else 0

    @property
    def dtype(self) -> Dtype:
        """The arithmetic of a forward pass; a network in pieces sees to its own."""
        return "float32" if self.sharded else self.course.dtype


def _work(
    network: nn.Module,
    learner: Learner,
    batches: Batches,
    course: Course,
    root: Path,
    track: Track,
    lower: Callable[[int], None],
) -> _Work:
    stage, meter, sharded = course.stage, Meter(network), None
    if course.team.pieces:
        assert isinstance(network, Network), "what is cut is known"
        from tael.train.fsdp import Sharded

        sharded = learner = Sharded(network, learner, course.dtype)
    masters = Masters(network, "float32" if sharded else course.dtype)
    mean = stage.average if isinstance(stage, Train) else 0.0
    distance = stage.adversary if isinstance(stage, Train) else 0.0
    return _Work(
        network,
        sharded,
        masters,
        optim.make_optimizer(masters.learned, stage),
        learner,
        batches,
        course,
        average=Average(masters.learned, mean) if mean else None,
        adversary=Adversary(network, distance) if distance else None,
        policy=Policy(course.name, stage, track),
        kept=root.parent / "best",
        saver=make_saver(course.team, root, track.sync, every=stage.save_every),
        meter=meter,
        lower=lower,
    )


def _step(
    work: _Work, position: Position, window: Sequence[Batch], ahead: Ahead
) -> tuple[Position, dict[str, float]]:
    """Learn from a window; return the position behind it and what was measured: nothing if bad."""
    step, course = position.step, work.course
    work.network.train()
    found = _gradients(work, step, window)
    while found is None:
        window = _fewer_rows(work, step)
        ahead.again()
        found = _gradients(work, step, window)
    losses, values = found
    fault = work.policy.faults(position, losses, values["norm"])
    if fault is not None:
        measured = values | {"losses": losses}
        return _pass_over(work, fault, position, window, measured), {}
    rate = rate_at(step, course.steps, course.stage)
    _update(work, step, rate)
    done = work.meter.count(window)
    if work.adversary is not None:
        done = replace(done, flops=2 * done.flops)
    position = replace(
        position,
        step=step + 1,
        tokens=position.tokens + done.tokens,
        losses=remember(position.losses, values["loss"]),
        bad_row=0,
    )
    return position, values | {"rate": rate} | asdict(done)


def _gradients(
    work: _Work, step: int, window: Sequence[Batch]
) -> tuple[list[float], dict[str, float]] | None:
    """Return the losses and what else is measured of a step; None where memory ran out."""
    stage, learned = work.course.stage, work.masters.learned
    try:
        losses = _learn(work, step, window)
    except (MemoryError, RuntimeError) as error:
        if not guard.out_of_memory(error) or work.course.team.size > 1:
            raise
        return None  # with it go the traceback and all tensors that it held
    values = {"loss": sum(losses)}
    if isinstance(stage, Train) and (stage.l1 or stage.l2):
        penalty = optim.penalty(learned, stage.l1, stage.l2)
        penalty.backward()  # type: ignore[no-untyped-call]
        values["penalty"] = float(penalty.detach())
    return losses, values | {"norm": optim.clip(learned, stage.clip)}


def _fewer_rows(work: _Work, step: int) -> Sequence[Batch]:
    """Halve the rows computed at once, for good; return the window of `step` cut anew."""
    work.masters.clear()
    work.network.zero_grad()
    rows, name = work.batches.micro_batch, work.course.name
    if rows == 1 or getattr(work.learner, "coupled", False):
        raise RunError(
            f"{name} step {step + 1}: memory ran out with {rows} rows computed at once, which "
            f"cannot be cut; take a smaller model, a shorter data.max_tokens or {name}.batch"
        )
    work.batches.micro_batch = rows // 2
    work.lower(rows // 2)
    return work.batches[step]


def _update(work: _Work, step: int, rate: float) -> None:
    optim.set_rate(work.optimizer, rate)
    work.optimizer.step()
    work.masters.clear()
    work.masters.publish()
    if work.average is not None:
        work.average.update(work.masters.learned, step)


def _pass_over(
    work: _Work,
    fault: Fault,
    position: Position,
    window: Sequence[Batch],
    measured: Mapping[str, Any],
) -> Position:
    """Learn nothing from a bad step; go back before it where the recipe says so."""
    work.masters.clear()
    places = partial(work.batches.places, position.step)
    after = work.policy.meet(fault, position, window, places, measured)
    base = work.policy.base(after.step)
    if base is None:
        return after
    back = work.saver.load(*work.saved, latest=base)
    assert back is not None, "the first checkpoint is that of step 0"
    work.masters.publish()
    return replace(back, step=after.step, bad=after.bad, bad_row=after.bad_row)


def _learn(work: _Work, step: int, window: Sequence[Batch]) -> list[float]:
    """Add up the gradients of the window in the masters; return each micro-batch's share of loss.

    All items of the step divide the sum, those of other processes too: a mean of means would weigh
    a short micro-batch like a full one, and the result would depend on how the step is cut.
    """
    course, losses = work.course, list[Tensor]()
    supervised = sum(work.learner.supervised(batch) for batch in window) or 1.0
    mine = course.team.share(window)
    for m, batch, weight in mine:
        torch.manual_seed(mix(course.seed, step, m))  # dropout, whoever computes this one
        backward = partial(_backward, work, batch, supervised, weight)
        losses.append(backward() if work.adversary is None else work.adversary.twice(backward))
        work.masters.gather()
    course.team.reduce(work.masters.learned)
    shares = [0.0] * len(window)
    for (m, _, weight), loss in zip(
        mine, torch.stack(losses).tolist() if losses else (), strict=True
    ):
        shares[m] += loss if weight else 0.0
    return course.team.total(shares)


def _backward(work: _Work, batch: Batch, supervised: float, weight: float) -> Tensor:
    with arithmetic(work.network, work.dtype):
        loss = work.learner.objective(work.network, batch) / supervised
    (loss * weight).backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _judge(
    work: _Work, position: Position, track: Track, evaluate: Callable[[], list[Verdict]]
) -> Position:
    if work.average is None:
        return _scored(work, position, track, evaluate)
    with work.average.instead(work.masters.learned):
        work.masters.publish()
        position = _scored(work, position, track, evaluate)
    work.masters.publish()
    return position


def _scored(
    work: _Work, position: Position, track: Track, evaluate: Callable[[], list[Verdict]]
) -> Position:
    with work.sharded.gathered() if work.sharded else nullcontext():
        verdicts = evaluate()
    for v in verdicts:
        track.evaluation(
            work.course.name,
            position.step,
            v.split,
            metrics=v.metrics,
            loss=v.loss,
            rows=v.rows,
            never=v.never,
        )
    if not work.course.keep_best or not verdicts:
        return position
    score = (verdicts[0].better, -verdicts[0].loss)
    if work.keeps:
        position = keep.offer(work.kept, position, score, work.masters.learned, work.keeps)
    if position.best is not None and score <= position.best:
        return replace(position, stale=position.stale + 1)
    copy = work.saver.copies(work.masters.learned)
    return replace(position, best=score, best_step=position.step, stale=0, best_weights=copy)


def _out_of_patience(stage: Stage, position: Position) -> bool:
    return isinstance(stage, Train) and 0 < stage.patience <= position.stale


@torch.no_grad()
def _finish(work: _Work, position: Position) -> Outcome:
    steps = {-rank[2] for rank in position.ranks}
    if work.keeps and position.step not in steps:
        last = work.masters.learned if work.average is None else work.average.named
        keep.put(work.kept, position.step, last)
    kept = position.best_weights
    if kept is None and work.average is not None:
        kept = work.average.named
    for name, weight in (kept or {}).items():
        work.masters.named[name].copy_(weight)
    work.masters.settle()
    if work.sharded is not None:
        work.sharded.restore()
    return Outcome(
        steps=position.step,
        best_step=position.best_step or position.step,
        tokens=position.tokens,
        stopped_early=position.step < work.course.steps,
        kept=tuple(sorted({*steps, position.step})) if work.keeps else (),
    )
