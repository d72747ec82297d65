"""Checkpoints that are written while the loop goes on.

The loop pays for a copy of the tensors; hashing, writing and waiting for the disk happen in one
other thread, which lets go of the interpreter meanwhile.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torch import Tensor
from torch.optim import Optimizer

from tael.train.checkpoint import Position, Snapshot, snapshot, write

__all__ = ["Writer"]


class Writer:
    """Writes checkpoints under `root`, in order and one at a time.

    `sync` brings to the disk what a checkpoint must not know more than; it is called in the other
    thread, before each write. The newest checkpoint whose step is a multiple of `every` is kept
    beside the newest two.
    """

    def __init__(self, root: Path, sync: Callable[[], None], *, every: int = 1) -> None:
        self.root, self._sync, self._every = root, sync, every
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._copy: Snapshot | None = None

    def submit(
        self,
        position: Position,
        named: Mapping[str, Tensor],
        optimizer: Optimizer,
        average: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Copy the tensors, and have them written as the checkpoint of `position`.

        Waits for the write before it. Raises what that one raised: OSError where the disk is full.
        """
        self.wait()
        self._copy = snapshot(named, optimizer, average, into=self._copy)
        self._pending = self._thread.submit(self._write, position, self._copy)

    def check(self) -> None:
        """Raise what a write that has ended raised; does not wait."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Return when nothing is being written; raise what the write raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _write(self, position: Position, state: Snapshot) -> None:
        self._sync()
        write(self.root, position, state, every=self._every)
