"""Scores of dev and train while a run learns: cheap, on fixed records, in constant memory.

Letters: N records · C classes.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tael.data.pack import micro
from tael.data.record import Record
from tael.model.batch import Batch
from tael.model.network import Network
from tael.task.answer import owners
from tael.task.base import Answer, Example, Tally, Task
from tael.task.metrics import LOWER_IS_BETTER
from tael.train.loop import Learner, Verdict
from tael.train.master import Dtype, arithmetic

__all__ = ["Sample", "masked_loss", "sample", "verdict"]

_ROWS = 32  # records computed at once: enough to keep two cores busy, little enough for any memory


class Sample:
    """Records with their encoding, a window or more each: what a split is scored on."""

    def __init__(self, split: str, records: Sequence[Record], examples: Sequence[Example]) -> None:
        self.split, self.records, self.examples = split, records, examples


def sample(whole: Sample, rows: int, seed: int) -> Sample:
    """Return `rows` records of `whole`, always the same ones for a seed; all where they are few."""
    if rows >= len(whole.records):
        return whole
    generator = np.random.default_rng(seed)
    chosen = sorted(generator.choice(len(whole.records), rows, replace=False).tolist())
    windows, examples = owners(whole.examples), whole.examples
    kept = [replace(examples[n], of=at) for at, i in enumerate(chosen) for n in windows[i]]
    return Sample(whole.split, [whole.records[i] for i in chosen], kept)


def verdict(network: Network, task: Task, on: Sample, dtype: Dtype) -> Verdict:
    """Score `network` on the records of `on`, without dropout, in the arithmetic of training."""
    network.eval()
    lengths = np.array([len(example) for example in on.examples], dtype=np.int64)
    groups, tally = list(micro(np.arange(len(lengths)), lengths, _ROWS)), Tally()
    with arithmetic(network, dtype):
        outputs = task.outputs(network, on.examples, groups, tally)
    answers = task.decode(outputs, on.examples)
    metrics = task.metrics(answers, task.references(on.records))
    better = _better(task.metric, metrics)
    never = _never(task.labels, answers) if on.split == "dev" else ()
    return Verdict(on.split, metrics, tally.mean, len(on.records), better, never)


def _never(labels: Sequence[str], answers: Sequence[Answer]) -> tuple[str, ...]:
    """Return the labels that stand in no answer, where answers are labels."""
    if not all("label" in answer or "labels" in answer for answer in answers):
        return ()
    said = {label for answer in answers for label in answer.get("labels", [answer.get("label")])}
    return tuple(label for label in labels if label not in said)


@torch.inference_mode()
def masked_loss(
    network: Network, learner: Learner, batches: Sequence[Batch], dtype: Dtype
) -> list[Verdict]:
    """Return the masked-LM loss on held-out rows, or nothing where there are none."""
    network.eval()
    total, weight = 0.0, 0.0
    for batch in batches:
        with arithmetic(network, dtype):
            total += float(learner.objective(network, batch))
        weight += learner.supervised(batch)
    if not weight:
        return []
    return [Verdict("dev", {}, total / weight, sum(batch.tokens for batch in batches))]


def _better(metric: str, metrics: dict[str, float]) -> float:
    value = metrics[metric]
    if not math.isfinite(value):  # undefined: never a new best
        return -math.inf
    return -value if metric in LOWER_IS_BETTER else value
