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


class Meter:
    """Reserves before work and settles before the last byte is sent, from any thread."""

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
        self._queue: SimpleQueue[tuple[Operation, Future[Outcome]] | None] = SimpleQueue()
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
        self._queue.put(None)
        self._thread.join()

    def submit(self, operation: Operation) -> Future[Outcome]:
        """Queue an operation; the future is done when it is committed or refused."""
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()  # what is queued will be written: too late to cancel
        self._queue.put((operation, future))
        return future

    async def reserve(self, reserve: Reserve) -> bytes | None:
        """Hold the worst case; return a stored answer where the key has one, else None.

        Raises RefusedError: 402 over budget, 409 for a key used with another body, 503 when the
        ledger cannot be written.
        """
        return _accepted(await asyncio.wrap_future(self.submit(reserve)))

    async def settle(self, settle: Settle) -> bytes:
        """Charge what was delivered; return the answer to send once the charge is durable."""
        answer = _accepted(await asyncio.wrap_future(self.submit(settle)))
        if answer is None:
            raise RuntimeError("a settlement gave no answer")
        return answer

    def void(self, reserve: Reserve) -> None:
        """End a reservation without a charge; nobody waits for it, and twice is once."""
        self.submit(Void(reserve))

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            group, more = self._gather(first)
            self._commit(group)
            if time.monotonic() - self._forgot > HOUR_SECONDS:
                self._forget()
            if not more:
                return

    def _gather(
        self, first: tuple[Operation, Future[Outcome]]
    ) -> tuple[list[tuple[Operation, Future[Outcome]]], bool]:
        group = [first]
        while len(group) < GROUP:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return group, True
            if item is None:
                return group, False
            group.append(item)
        return group, True

    def _commit(self, group: list[tuple[Operation, Future[Outcome]]]) -> None:
        try:
            outcomes = self._ledger.apply([operation for operation, _ in group])
        except SQLAlchemyError as error:
            _log.error("the ledger cannot be written: %s", type(error).__name__)
            outcomes = [_unwritten() for _ in group]
        except Exception as error:  # our own mistake: every request fails, the writer lives on
            for _, future in group:
                future.set_exception(error)
            return
        for (_, future), outcome in zip(group, outcomes, strict=True):
            future.set_result(outcome)

    def _forget(self) -> None:
        self._forgot = time.monotonic()
        try:
            self._ledger.forget_old_answers()
        except SQLAlchemyError as error:
            _log.error("old answers cannot be deleted: %s", type(error).__name__)


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
