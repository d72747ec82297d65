"""What runs a variant: torch, onnxruntime, or a linear model in numpy.

A runtime turns records into logits (N, C); the task's `decode` turns these into answers, the same
for all. Each class imports its library when it is built, so a process pays for the one it uses:
a linear variant is served without torch and without onnxruntime.

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
from tael.engine.batch import ROWS, in_batches, pad
from tael.model.linear import LinearModel, document
from tael.task.base import Example, Task

__all__ = ["RUNTIMES", "LinearRuntime", "OnnxRuntime", "Runtime", "TorchRuntime"]


class Runtime(Protocol):
    """Raw scores for records, in their order."""

    def logits(self, records: Sequence[Record]) -> NDArray[np.float32]:
        """Return logits (N, C), float32."""
        ...


class TorchRuntime:
    """The network in torch: float32, or weights and arithmetic in bfloat16."""

    def __init__(self, folder: Path, variant: Variant, task: Task, threads: int) -> None:
        import torch

        from tael.model.weights import open_folder

        torch.set_num_threads(threads)
        network, _ = open_folder(folder)
        self.network = network.eval()
        if variant.precision == "bf16":
            self.network = self.network.to(torch.bfloat16)
        self._task = task
        self._rows = variant.together or ROWS

    def logits(self, records: Sequence[Record]) -> NDArray[np.float32]:
        """Return logits (N, C), float32."""
        return in_batches(self._task.encode_many(records), self._compute, rows=self._rows)

    def _compute(self, examples: list[Example]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            logits_BC = self._task.logits(self.network, self._task.collate(examples))
        out_BC: NDArray[np.float32] = logits_BC.float().numpy()
        return out_BC


class OnnxRuntime:
    """An exported graph in onnxruntime: float32, or int8 with activations scaled as they come."""

    def __init__(self, folder: Path, variant: Variant, task: Task, threads: int) -> None:
        self._session = open_session(folder / "model.onnx", threads)
        self._task = task
        self._rows = variant.together or ROWS

    def logits(self, records: Sequence[Record]) -> NDArray[np.float32]:
        """Return logits (N, C), float32."""
        return in_batches(self._task.encode_many(records), self._compute, rows=self._rows)

    def _compute(self, examples: list[Example]) -> NDArray[np.float32]:
        return run_session(self._session, *pad(examples))


class LinearRuntime:
    """A linear model over n-grams of the text; neighbours in a batch never meet."""

    def __init__(self, folder: Path, variant: Variant, task: Task, threads: int) -> None:
        self._model = LinearModel.load(folder)

    def logits(self, records: Sequence[Record]) -> NDArray[np.float32]:
        """Return logits (N, C), float32."""
        return self._model.logits([document(record) for record in records])


RUNTIMES: dict[str, Callable[[Path, Variant, Task, int], Runtime]] = {
    "torch": TorchRuntime,
    "onnx": OnnxRuntime,
    "linear": LinearRuntime,
}
