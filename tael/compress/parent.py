"""The trained network in float32: what every variant is made from and compared with.

Letters: B rows · T positions · N records · C classes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tael.model.batch import Batch
from tael.model.network import Network
from tael.task.base import Example, Task

__all__ = ["batches", "parent_logits"]

_ROWS = 32


def batches(task: Task, examples: Sequence[Example]) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """Yield (indices, padded batch) over all examples, neighbours in length together."""
    order_N = np.argsort([-len(example) for example in examples], kind="stable")
    for start in range(0, len(examples), _ROWS):
        indices = order_N[start : start + _ROWS]
        yield indices, task.collate([examples[index] for index in indices])


def parent_logits(network: Network, task: Task, examples: Sequence[Example]) -> NDArray[np.float32]:
    """Return logits (N, C), float32, of the network as it is, in the order of `examples`."""
    network.eval()
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    with torch.inference_mode():
        for indices, batch in batches(task, examples):
            parts.append((indices, task.logits(network, batch).float().numpy()))
    logits_NC = np.empty((len(examples), parts[0][1].shape[1]), np.float32)
    for indices, part in parts:
        logits_NC[indices] = part
    return logits_NC
