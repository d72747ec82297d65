"""Dynamic batches: the engine takes what has queued while it computed the last batch.

An idle engine starts at once: nothing waits for company. The queue is bounded in texts; a request
that finds it full is refused, never kept. The texts of one request may be spread over batches.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tael.data.record import Record
from tael.errors import RefusedError
from tael.serve.monitor import Monitor
from tael.task.base import Answer

__all__ = ["Batcher", "Place"]

Predict = Callable[[Sequence[Record]], list[Answer]]


class Place:
    """One request's places in the queue: from its admission until each text is computed."""

    def __init__(self, texts: int, queue: "deque[Place]", wake: asyncio.Event) -> None:
        """Hold `texts` places; `queue` and `wake` are the batcher's."""
        self.waiting = texts  # not computed yet, whether queued already or not
        self.records: Sequence[Record] = ()
        self.future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._queue = queue
        self._wake = wake
        self._answers: dict[int, Answer] = {}

    async def answer(self, records: Sequence[Record]) -> list[Answer]:
        """Queue the records and return one answer a record, in order.

        Raises what the engine raised for one of them. Cancelling it takes out of the queue what
        was not computed yet.
        """
        self.records = records
        self._queue.append(self)
        self._wake.set()
        return await self.future

    def take(self, most: int) -> range:
        """Take up to `most` texts out of the queue; return their indices."""
        first = len(self.records) - self.waiting
        taken = range(first, first + min(most, self.waiting))
        self.waiting -= len(taken)
        return taken

    def deliver(self, index: int, result: Answer | Exception) -> None:
        """Keep one result; the last one completes the request, the first failure fails it."""
        if self.future.done():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
            return
        self._answers[index] = result
        if len(self._answers) == len(self.records):
            self.future.set_result([self._answers[i] for i in range(len(self.records))])


class Batcher:
    """Runs `predict` in a thread of its own, in batches of at most `max_batch` texts."""

    def __init__(
        self, predict: Predict, *, max_batch: int, max_queue: int, monitor: Monitor
    ) -> None:
        """Start the loop that feeds the engine; needs a running event loop."""
        self._predict = predict
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._monitor = monitor
        self._queue: deque[Place] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tael-engine")
        self._loop = asyncio.create_task(self._run(), name="tael-batcher")

    @property
    def waiting(self) -> int:
        """Texts that hold a place and are not being computed yet."""
        return self._waiting

    @contextmanager
    def place(self, texts: int) -> Iterator[Place]:
        """Hold places for `texts` while the block runs; raises RefusedError 429 for want of room.

        An empty queue admits any request, so none is too large for ever.
        """
        if self._waiting and self._waiting + texts > self._max_queue:
            raise RefusedError(
                f"{self._waiting} texts are waiting and at most {self._max_queue} may; "
                "try again in a second",
                429,
                1,
                code="queue_full",
            )
        place = Place(texts, self._queue, self._wake)
        self._count(texts)
        try:
            yield place
        finally:
            self._count(-place.waiting)
            place.waiting = 0
            place.future.cancel()  # of no effect where it is done

    async def close(self) -> None:
        """Stop the loop and wait for the batch that is being computed."""
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    def _count(self, texts: int) -> None:
        self._waiting += texts
        self._monitor.queue.set(self._waiting)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            batch = self._take()
            if not batch:
                self._wake.clear()
                continue
            records = [place.records[index] for place, index in batch]
            self._monitor.batch.observe(len(records))
            results = await loop.run_in_executor(self._thread, self._compute, records)
            for (place, index), result in zip(batch, results, strict=True):
                place.deliver(index, result)

    def _take(self) -> list[tuple[Place, int]]:
        batch: list[tuple[Place, int]] = []
        while self._queue and len(batch) < self._max_batch:
            place = self._queue[0]
            # Done before its texts are: its client has gone, or one of its texts has failed.
            if not place.future.done():
                taken = place.take(self._max_batch - len(batch))
                self._count(-len(taken))
                batch.extend((place, index) for index in taken)
            if place.future.done() or not place.waiting:
                self._queue.popleft()
        return batch

    def _compute(self, records: Sequence[Record]) -> list[Answer | Exception]:
        """Answer a batch; where it fails, halve it until the failing texts stand alone."""
        try:
            answers = self._predict(records)
            if len(answers) != len(records):
                raise RuntimeError(
                    f"the engine gave {len(answers)} answers to {len(records)} texts"
                )
            return list(answers)
        except Exception as error:  # whatever an engine raises belongs to the request it is for
            if len(records) == 1:
                return [error]
            half = len(records) // 2
            return self._compute(records[:half]) + self._compute(records[half:])
