"""From examples to what `decode` reads: one path for scores while training, prices and service.

A task's `outputs` computes groups of examples and returns one array (or whatever its `decode`
reads) an example. Tasks whose answer is read off the logits share `read_off`; a task that writes
has its own. Letters: N examples.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tael.data.record import Record
from tael.errors import CheckpointError
from tael.task.base import Example, Group, Tally, Task

if TYPE_CHECKING:
    from torch import Tensor

    from tael.model.network import Network

__all__ = [
    "asked", "finite", "lengths_by_record", "owners", "read_off",
]  # fmt: skip


def read_off(
    task: Task,
    network: "Network",
    examples: Sequence[Example],
    groups: Sequence[Group],
    tally: Tally | None = None,
    *,
    parts: Callable[["Tensor", Group], Sequence["Tensor"]] | None = None,
) -> list[NDArray[np.float32]]:
    """Return the logits of each example, float32; `tally` gets the loss.

    `parts` cuts the logits of a group into those of its examples; by default one row each.
    """
    import torch

    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(examples)
    with torch.inference_mode():
        for group in groups:
            batch = task.collate([examples[n] for n in group])
            logits = task.logits(network, batch).float()
            if tally is not None:
                tally.loss += float(task.loss(logits, batch))
                tally.supervised += task.supervised(batch)
            rows = logits.cpu() if parts is None else [one.cpu() for one in parts(logits, group)]
            for n, row in zip(group, rows, strict=True):
                found[n] = row.numpy()
    return found


def finite(output: NDArray[Any]) -> NDArray[np.float64]:
    """Return an output in float64; CheckpointError where a number of it is NaN or infinite."""
    output = np.asarray(output, dtype=np.float64)
    if not np.isfinite(output).all():
        raise CheckpointError(
            "the model answers NaN or infinity: its weights are damaged or training went "
            "astray; train again, with a lower train.rate if it diverged"
        )
    return output


def owners(examples: Sequence[Example]) -> list[list[int]]:
    """Return for each record the numbers of its examples, its windows in order."""
    found: list[list[int]] = [[] for _ in range(1 + max((e.of for e in examples), default=-1))]
    for number, example in enumerate(examples):
        found[example.of].append(number)
    return found


def lengths_by_record(examples: Sequence[Example]) -> tuple[list[int], list[int]]:
    """Return the tokens kept and the tokens cut of each record, its windows together."""
    kept, cut = [0] * len(rows := owners(examples)), [0] * len(rows)
    for example in examples:
        kept[example.of] += len(example)
        cut[example.of] += example.cut
    return kept, cut


def asked(task: Task, record: Record) -> Record:
    """Return the part of a record that a request for its answer would hold."""
    names = task.request_model().model_fields
    return {name: record[name] for name in names if record.get(name) is not None}
