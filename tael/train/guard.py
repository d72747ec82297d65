"""What may go wrong while a run works, and the one clear line that it ends with.

Two processes in one folder, a signal, a disk that is full, no memory left.
"""

import fcntl
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from safetensors import SafetensorError

from tael.errors import RunError, StoppedError

__all__ = [
    "Stop", "catch_signals", "enough_memory", "locked", "out_of_memory", "sweep", "writable",
]  # fmt: skip

# What torch's allocators, oneDNN and C++ say in a RuntimeError; those of GPUs have a class as well.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")


class Stop:
    """Whether the user asked the run to stop; the loop looks between two steps."""

    def __init__(self) -> None:
        self.signal: str | None = None
        self._patient = False

    @contextmanager
    def after_the_step(self) -> Iterator[None]:
        """Let a first signal wait for the loop to save; a second one ends at once."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def ended(self, message: str) -> StoppedError:
        """Return the error that the run ends with, whose exit code is that of the signal."""
        return StoppedError(message, signal.Signals[self.signal or "SIGINT"])

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: note it for the loop, or leave at once where there is no loop."""
        first, self.signal = self.signal is None, signal.Signals(number).name
        if not (self._patient and first):
            raise KeyboardInterrupt


@contextmanager
def catch_signals(folder: Path) -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into one line; outside the main thread they stay as they are.

    Raises StoppedError when one came: everything that was complete is on disk, and the same command
    goes on.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {
        number: signal.signal(number, stop.receive) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    except KeyboardInterrupt:
        raise stop.ended(
            f"{folder}: stopped by {stop.signal or 'SIGINT'} between two saved states; "
            "the same command goes on from the last one"
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone; the system lets go of it even after `kill -9`.

    Raises RunError when another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            raise RunError(
                f"{folder}: process {owner} is working here; wait for it, or choose another --out"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the drafts that a killed process left in `folder`, which this process holds."""
    for path in [*folder.rglob(".*.part"), *folder.rglob(".*.old")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn a failure of the disk under `folder` into one line that names it.

    Raises RunError: the disk is full, the folder is read-only, a file is too large.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise RunError(
            f"{where}: {error.strerror or error}; nothing that was saved is damaged: "
            "make room or choose another --out, then the same command goes on"
        ) from error
    except SafetensorError as error:
        raise RunError(
            f"{folder}: {error}; nothing that was saved is damaged: "
            "make room or choose another --out, then the same command goes on"
        ) from error


def out_of_memory(error: Exception) -> bool:
    """Say whether `error` is that of an allocator that had no memory left, on any device."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _NO_MEMORY)


@contextmanager
def enough_memory(folder: Path) -> Iterator[None]:
    """Turn an allocator's failure that no smaller micro-batch mends into one line.

    Raises RunError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise RunError(
            f"{folder}: memory ran out; nothing that was saved is damaged: "
            "close what else runs here, or take a smaller micro_batch or model, then the same "
            "command goes on"
        ) from error
