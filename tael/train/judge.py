"""Scores of dev and train while a run learns: cheap, on fixed records, in constant memory.

Letters: N records · C classes.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tael.data.pack import micro
from tael.data.record import Record
from tael.model.batch import Batch
from tael.model.network import Network
from tael.task.base import Example, Task
from tael.train.loop import Learner, Verdict
from tael.train.master import Dtype, arithmetic

__all__ = ["Sample", "masked_loss", "sample", "verdict"]

_LOWER_IS_BETTER = frozenset({"mae", "mse", "rmse"})
_ROWS = 32  # records computed at once: enough to keep two cores busy, little enough for any memory


class Sample:
    """Records with their encoding: what a split is scored on."""

    def __init__(self, split: str, records: Sequence[Record], examples: Sequence[Example]) -> None:
        self.split, self.records, self.examples = split, records, examples


def sample(whole: Sample, rows: int, seed: int) -> Sample:
    """Return `rows` records of `whole`, always the same ones for a seed; all where they are few."""
    if rows >= len(whole.records):
        return whole
    generator = np.random.default_rng(seed)
    chosen = sorted(generator.choice(len(whole.records), rows, replace=False).tolist())
    records, examples = whole.records, whole.examples
    return Sample(whole.split, [records[i] for i in chosen], [examples[i] for i in chosen])


@torch.inference_mode()
def verdict(network: Network, task: Task, on: Sample, dtype: Dtype) -> Verdict:
    """Score `network` on the records of `on`, without dropout, in the arithmetic of training."""
    network.eval()
    lengths = np.array([len(example) for example in on.examples], dtype=np.int64)
    logits_NC: NDArray[np.float32] | None = None
    total, weight = 0.0, 0.0
    for part in micro(np.arange(len(lengths)), lengths, _ROWS):
        batch = task.collate([on.examples[i] for i in part])
        with arithmetic(network, dtype):
            logits = task.logits(network, batch)
        total += float(task.loss(logits.float(), batch))
        weight += task.supervised(batch)
        if logits_NC is None:
            logits_NC = np.zeros((len(lengths), logits.shape[-1]), dtype=np.float32)
        logits_NC[part] = logits.float().cpu().numpy()
    assert logits_NC is not None, "an empty split is refused earlier"
    metrics = task.metrics(task.decode(logits_NC), task.references(on.records))
    return Verdict(
        on.split, metrics, total / weight, len(on.records), _better(task.metric, metrics)
    )


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
    return -value if metric in _LOWER_IS_BETTER else value
