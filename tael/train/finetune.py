"""The second stage: learn the task from labelled records; keep the weights that dev likes best."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer

from tael.data.record import Record
from tael.data.tokens import add_tokens
from tael.files import atomic_folder
from tael.model.adapter import Taken, attach, merge
from tael.model.adapter_file import save_adapter
from tael.model.config import ModelConfig
from tael.model.network import Network, build, initialise
from tael.model.weights import open_folder, save_folder
from tael.task.answer import lengths_by_record
from tael.task.base import Task, save_task
from tael.train.batches import Labelled
from tael.train.checkpoint import weights
from tael.train.depth import freeze
from tael.train.judge import Sample, sample, verdict
from tael.train.keep import load
from tael.train.lessons import check_lessons
from tael.train.loop import Course, Outcome, fit
from tael.train.seeds import ADAPTERS, HEAD, RECORDS, mix
from tael.train.sitting import Sitting, owned

__all__ = ["fine_tune", "watched_rows"]

_DEV_ROWS = 2000  # of dev, scored while training; the final score is over all of it
_TRAIN_ROWS = 2000  # of train, scored at the end; fewer while training
_SHOWN = 5  # labels named in a message
_LEAST = 200  # rows of train that are always watched
_SHARE = 0.15  # of the arithmetic of training that scoring may add


def fine_tune(
    run: Sitting,
    records: Mapping[str, list[Record]],
    task: Task,
    tokenizer: Tokenizer,
    start: Path | ModelConfig,
) -> None:
    """Write `model/`: `start` with a head for `task`, trained on `records["train"]`."""
    # Nothing is chosen by looking at test: it is not even encoded here.
    wholes = {s: Sample(s, records[s], task.encode_many(records[s])) for s in ("dev", "train")}
    if run.team.first:
        _say_what_is_cut(run, wholes)
    for told in check_lessons(task, records["train"], wholes["train"].examples, run.recipe):
        run.track.progress.say(told)
    network = _network(run, task, start)
    seed = mix(run.recipe.seed, RECORDS)
    batches = Labelled(task, records["train"], wholes["train"].examples, run.recipe.train, seed)
    batches.micro_batch = run.micro_batch("train", batches.micro_batch)
    course = _course(run, batches, seed, keep_best=bool(records["dev"]))
    run.afford(
        network.config,
        "train",
        rows=batches.micro_batch,
        longest=max(map(len, wholes["train"].examples)),
        steps=course.steps,
    )
    watched = _watched(course, wholes)
    with run.track.phase("train"):
        outcome = fit(
            network,
            task,
            batches,
            course,
            root=run.checkpoints("train"),
            track=run.track,
            stop=run.stop,
            lower=partial(run.lower, "train"),
            evaluate=lambda: [verdict(network, task, on, course.dtype) for on in watched],
        )
    run.track.cost(train_tokens=outcome.tokens, train_steps=outcome.steps)
    if run.team.first:
        taken = merge(network)  # before the score: what is served is what was measured
        with run.track.phase("score"):
            _score(run, network, task, wholes, outcome, course)
        if outcome.kept:
            _save_kept(run, network, task, tokenizer, outcome.kept)
        _save(run, network, task, tokenizer, taken)
    run.team.wait()


def _course(run: Sitting, batches: Labelled, seed: int, *, keep_best: bool) -> Course:
    stage = run.recipe.train
    return Course(
        name="train",
        stage=stage,
        steps=stage.steps or math.ceil((stage.epochs or 3) * batches.steps_per_epoch),
        seed=seed,
        dtype=run.lock.dtype["train"],
        evaluations=stage.evaluations,
        keep_best=keep_best,
        team=run.team,
    )


def watched_rows(seen: int, evaluations: int, dev: int, train: int) -> tuple[int, int]:
    """Return how many rows of dev and of train are scored at each of the evaluations.

    `seen` rows are learned from in the whole run. A forward pass costs a third of a step, and all
    scores together may add about `_SHARE` to the run; dev comes first.
    """
    dev = min(dev, _DEV_ROWS)
    budget = round(_SHARE * 3 * seen / evaluations) - dev
    return dev, min(train, _TRAIN_ROWS, max(_LEAST, budget))


def _watched(course: Course, wholes: Mapping[str, Sample]) -> list[Sample]:
    rows = watched_rows(
        course.steps * course.stage.batch,
        course.evaluations,
        len(wholes["dev"].records),
        len(wholes["train"].records),
    )
    return [
        sample(wholes[split], count, course.seed)
        for split, count in zip(("dev", "train"), rows, strict=True)
        if count
    ]


def _score(
    run: Sitting,
    network: Network,
    task: Task,
    wholes: Mapping[str, Sample],
    outcome: Outcome,
    course: Course,
) -> None:
    """Score the final weights on all of dev and on a larger sample of train."""
    run.track.rewind("final", 0)
    last = [wholes["dev"], sample(wholes["train"], _TRAIN_ROWS, course.seed)]
    for on in last:
        if not on.records:
            continue
        v = verdict(network, task, on, course.dtype)
        run.track.evaluation(
            "final",
            outcome.best_step,
            v.split,
            metrics=v.metrics,
            loss=v.loss,
            rows=v.rows,
            never=v.never,
        )
        if v.never and v.split == "dev":
            run.track.cost(labels_never_answered=len(v.never))
            run.track.progress.say(
                f"{v.split}: never answered: {', '.join(v.never[:_SHOWN])}"
                f"{f' and {len(v.never) - _SHOWN} more' if len(v.never) > _SHOWN else ''}; "
                "train.class_weights=balanced, more examples or more steps may help"
            )
    run.track.sync()


def _save_kept(
    run: Sitting, network: Network, task: Task, tokenizer: Tokenizer, steps: Sequence[int]
) -> None:
    """Write the best models and the last as folders of `best/`; `network` is as before after it."""
    own = weights(dict(network.named_parameters()))
    for step in steps:
        load(run.folder / "checkpoints" / "best", step, network)
        with atomic_folder(run.folder / "best" / f"step-{step:06d}") as draft:
            _save_model(draft, network, task, tokenizer)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(own[name])


def _save_model(draft: Path, network: Network, task: Task, tokenizer: Tokenizer) -> None:
    save_folder(
        draft,
        network,
        labels=list(task.labels) or None,
        problem_type=task.problem_type,
        tokenizer=tokenizer,
    )
    save_task(task, draft)


def _save(
    run: Sitting, network: Network, task: Task, tokenizer: Tokenizer, taken: Sequence[Taken]
) -> None:
    with atomic_folder(run.folder / "model") as draft:
        _save_model(draft, network, task, tokenizer)
        if taken:
            (draft / "adapter").mkdir()
            own = run.recipe.pretrain.steps > 0
            base = (run.folder / "pretrain").resolve() if own else run.recipe.model.from_
            save_adapter(draft / "adapter", network, taken, str(base))


def _network(run: Sitting, task: Task, start: Path | ModelConfig) -> Network:
    """Return the network that learns, with what stays as it is and what stands beside it."""
    stage, network = run.recipe.train, _opened(run, task, start)
    if stage.freeze is not None:
        freeze(network, stage.freeze)
    if stage.lora.rank:
        attach(network, stage.lora, mix(run.recipe.seed, ADAPTERS))
    return network


def _opened(run: Sitting, task: Task, start: Path | ModelConfig) -> Network:
    seed = mix(run.recipe.seed, HEAD)
    if isinstance(start, ModelConfig):
        return build(start, task.head(start), seed)
    model = run.recipe.model
    network, _ = open_folder(
        start,
        head="auto" if start == run.folder / "pretrain" else task.head_kind,
        classes=len(task.labels) or 1,
        dropout=model.dropout,
        droppath=model.droppath,
        seed=seed,
    )
    head = task.head(network.config)  # it knows more than its sizes: the unit of a regression
    if network.head is not None and network.head.kind == head.kind:
        head.load_state_dict(network.head.state_dict())
    else:
        initialise(head, seed)
    network.head = head
    owned(network)
    return network


def _say_what_is_cut(run: Sitting, wholes: Mapping[str, Sample]) -> None:
    lengths = {split: lengths_by_record(whole.examples) for split, whole in wholes.items()}
    add_tokens(run.folder / "data", lengths, run.recipe.data.max_tokens)
    for whole in wholes.values():
        cut = [lost for lost in lengths[whole.split][1] if lost]
        if cut:
            run.track.progress.say(
                f"{whole.split}: {len(cut):,} of {len(whole.records):,} texts are longer than "
                f"data.max_tokens={run.recipe.data.max_tokens}; {sum(cut):,} tokens are not seen"
            )
            run.track.cost(**{f"{whole.split}_tokens_cut": sum(cut)})
