"""What runs a variant: torch, onnxruntime, or a linear model in numpy.

A runtime turns records into answers: it computes what the task's `decode` reads, the same for all.
What runs without torch answers only what is read off one row of logits a record. Each class imports
its library when it is built, so a process pays for the one it uses: a linear variant is served
without torch and without onnxruntime.

Letters: B rows · N records · C classes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tael.compress.manifest import Variant
from tael.compress.session import open_session, run_session
from tael.data.record import Record
from tael.engine.batch import ROWS, cut, in_batches, pad
from tael.model.linear import LinearModel, document
from tael.task.base import Answer, Example, Task

__all__ = ["RUNTIMES", "LinearRuntime", "OnnxRuntime", "Runtime", "TorchRuntime"]


class Runtime(Protocol):
    """Answers to records, in their order."""

    def answers(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record."""
        ...


class TorchRuntime:
    """The network in torch: float32, or weights and arithmetic in bfloat16."""

    def __init__(self, folder: Path, variant: Variant, task: Task, threads: int) -> None:
        import torch

        from tael.model.prepack import prepack
        from tael.model.weights import open_folder

        torch.set_num_threads(threads)
        network, _ = open_folder(folder)
        self.network = network.eval()
        if variant.precision == "bf16":
            prepack(self.network.to(torch.bfloat16))
        self._task = task
        self._rows = variant.together or ROWS

    def answers(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record."""
        examples = self._task.encode_many(records)
        groups = cut([len(example) for example in examples], rows=self._rows)
        outputs = self._task.outputs(self.network, examples, groups)
        return self._task.decode(outputs, examples)


class OnnxRuntime:
    """An exported graph in onnxruntime: float32, or int8 with activations scaled as they come."""

    def __init__(self, folder: Path, variant: Variant, task: Task, threads: int) -> None:
        self._session = open_session(folder / "model.onnx", threads)
        self._task = task
        self._rows = variant.together or ROWS

    def answers(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record."""
        examples = self._task.encode_many(records)
        logits_NC = in_batches(examples, self._compute, rows=self._rows)
        return self._task.decode(list(logits_NC), examples)

    def _compute(self, examples: list[Example]) -> NDArray[np.float32]:
        return run_session(self._session, *pad(examples))


class LinearRuntime:
    """A linear model over n-grams of the text; neighbours in a batch never meet."""

    def __init__(self, folder: Path, variant: Variant, task: Task, threads: int) -> None:
        self._model = LinearModel.load(folder)
        self._task = task

    def answers(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record."""
        return self._task.decode(list(self.logits(records)), ())

    def logits(self, records: Sequence[Record]) -> NDArray[np.float32]:
        """Return logits (N, C), float32."""
        return self._model.logits([document(record) for record in records])


RUNTIMES: dict[str, Callable[[Path, Variant, Task, int], Runtime]] = {
    "torch": TorchRuntime,
    "onnx": OnnxRuntime,
    "linear": LinearRuntime,
}
