"""Batches made while the step before them computes."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

from tael.model.batch import Batch

__all__ = ["Ahead"]


class _Batches(Protocol):
    def __getitem__(self, step: int) -> Sequence[Batch]: ...


class Ahead:
    """The windows of steps `first` to `last` - 1, in order, each made one step early.

    A window is a function of its step alone, so who makes it, and when, changes nothing.
    """

    def __init__(self, batches: _Batches, first: int, last: int) -> None:
        self._batches, self._next, self._last = batches, first, last
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._made: Future[Sequence[Batch]] | None = None

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self) -> Sequence[Batch]:
        """Return the next window; raises what making it raised."""
        assert self._made is not None, "no step is left"
        window = self._made.result()
        self._begin()
        return window

    def again(self) -> None:
        """Make the window that was made ahead anew: windows are cut in another way from now on."""
        if self._made is not None:
            self._made.exception()  # it may still be in the making
            self._made = self._thread.submit(self._batches.__getitem__, self._next - 1)

    def _begin(self) -> None:
        self._made = None
        if self._next < self._last:
            self._made = self._thread.submit(self._batches.__getitem__, self._next)
            self._next += 1
