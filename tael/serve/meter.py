"""The meter: one thread that writes the ledger, for all requests at once.

What queues while a commit is on its way to the disk goes into the next one, so the number of
commits follows the disk and not the requests. A request alone waits for nothing but its commit.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from tael.errors import RefusedError
from tael.serve.ledger import Ledger, Operation, Outcome, Reserve, Settle, Void

__all__ = ["Meter", "now_micros"]

GROUP = 256  # operations in one transaction at most
LEASE_MICROS = 15 * 60 * 1_000_000  # after this an open reservation belongs to a dead server
HOUR_SECONDS = 3600.0
_log = logging.getLogger(__name__)


def now_micros() -> int:
    """Return the time in microseconds since 1970: the one clock of reservations and bills."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class _Wait:
    """An operation that is queued, and who waits for its outcome."""

    operation: Operation
    future: Future[Outcome] | asyncio.Future[Outcome]


class Meter:
    """Reserves before work and settles before the last byte is sent."""

    def __init__(
        self, engine: Engine, *, alone: bool, clock: Callable[[], int] = now_micros
    ) -> None:
        """Void what a dead server left and start the writer.

        `alone`: no other server uses this ledger, so every open reservation is void; else only
        those older than a lease.
        """
        self._ledger = Ledger(engine, clock)
        self.voided = self._ledger.recover(0 if alone else LEASE_MICROS)
        self._ledger.forget_old_answers()
        self._forgot = time.monotonic()
        self._queue: SimpleQueue[list[_Wait] | None] = SimpleQueue()
        self._turn: list[_Wait] = []  # what one turn of the event loop submits
        self._thread = threading.Thread(target=self._write, name="tael-meter", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is queued and stop the writer."""
        self._flush()
        self._queue.put(None)
        self._thread.join()

    def submit(self, operation: Operation) -> Future[Outcome]:
        """Queue an operation from any thread; the future is done when it is committed."""
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()  # what is queued will be written: too late to cancel
        self._queue.put([_Wait(operation, future)])
        return future

    async def reserve(self, reserve: Reserve) -> bytes | None:
        """Hold the worst case; return a stored answer where the key has one, else None.

        Raises RefusedError: 402 over budget, 409 for a key used with another body, 503 when the
        ledger cannot be written.
        """
        return _accepted(await self._enter(reserve))

    async def settle(self, settle: Settle) -> bytes:
        """Charge what was delivered; return the answer to send once the charge is durable."""
        answer = _accepted(await self._enter(settle))
        if answer is None:
            raise RuntimeError("a settlement gave no answer")
        return answer

    def void(self, reserve: Reserve) -> None:
        """End a reservation without a charge; nobody waits for it, and twice is once."""
        self._enter(Void(reserve))

    def _enter(self, operation: Operation) -> asyncio.Future[Outcome]:
        # One hand-over a turn of the loop, not one a request: each costs a change of threads, which
        # took longer than all else a request needs.
        loop = asyncio.get_running_loop()
        if not self._turn:
            loop.call_soon(self._flush)
        future: asyncio.Future[Outcome] = loop.create_future()
        self._turn.append(_Wait(operation, future))
        return future

    def _flush(self) -> None:
        if self._turn:
            self._queue.put(self._turn)
            self._turn = []

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            group, more = self._gather(first)
            self._commit(group)
            if time.monotonic() - self._forgot > HOUR_SECONDS:
                self._forget()
            if not more:
                return

    def _gather(self, first: list[_Wait]) -> tuple[list[_Wait], bool]:
        group = list(first)
        while len(group) < GROUP:
            try:
                more = self._queue.get_nowait()
            except Empty:
                return group, True
            if more is None:
                return group, False
            group.extend(more)
        return group, True

    def _commit(self, group: list[_Wait]) -> None:
        outcomes: list[Outcome | Exception]
        try:
            outcomes = list(self._ledger.apply([wait.operation for wait in group]))
        except SQLAlchemyError as error:
            _log.error("the ledger cannot be written: %s", type(error).__name__)
            outcomes = [_unwritten() for _ in group]
        except Exception as error:  # our own mistake: every request fails, the writer lives on
            _log.error("the meter failed: %s", type(error).__name__)
            outcomes = [error for _ in group]
        _tell(list(zip(group, outcomes, strict=True)))

    def _forget(self) -> None:
        self._forgot = time.monotonic()
        try:
            self._ledger.forget_old_answers()
        except SQLAlchemyError as error:
            _log.error("old answers cannot be deleted: %s", type(error).__name__)


def _tell(results: list[tuple[_Wait, Outcome | Exception]]) -> None:
    """Resolve every future: those of an event loop in one call, on its own thread."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_Wait, Outcome | Exception]]] = {}
    for wait, outcome in results:
        if isinstance(wait.future, asyncio.Future):
            loops.setdefault(wait.future.get_loop(), []).append((wait, outcome))
        else:
            _resolve([(wait, outcome)])
    for loop, those in loops.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, those)


def _resolve(results: list[tuple[_Wait, Outcome | Exception]]) -> None:
    for wait, outcome in results:
        if wait.future.cancelled():
            continue
        if isinstance(outcome, Exception) and not isinstance(outcome, RefusedError):
            wait.future.set_exception(outcome)
        else:
            wait.future.set_result(outcome)


def _accepted(outcome: Outcome) -> bytes | None:
    if isinstance(outcome, RefusedError):
        raise outcome
    return outcome


def _unwritten() -> RefusedError:
    return RefusedError(
        "the ledger cannot be written, so nothing is answered and nothing is charged",
        503,
        5,
        code="ledger_unavailable",
    )
