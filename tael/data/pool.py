"""Worker processes for the data room: functions go out, results come back in order.

A worker is a fresh Python, whatever the caller's main module looks like and whichever threads it
holds. It ends when its input does, so none outlives a killed parent.
"""

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from tael.errors import DataError, TaelError

__all__ = ["Inline", "Map", "Tell", "Workers", "main", "silent", "workers"]

T = TypeVar("T")
Job = tuple[Any, ...]
Tell = Callable[[str, int, int, int], None]  # stage, texts so far, bytes done, bytes in all


def silent(stage: str, texts: int, done: int, total: int) -> None:
    """Tell nobody how far the work is."""


class Map(Protocol):
    """Something that calls a function with the arguments of each job, here or elsewhere."""

    def __call__(self, function: Callable[..., T], jobs: Sequence[Job]) -> Iterator[T]:
        """Yield the results in the order of the jobs. `function` stands at the top of a module."""


class Inline:
    """Calls in this process, one after another."""

    def __call__(self, function: Callable[..., T], jobs: Sequence[Job]) -> Iterator[T]:
        """Yield each result when it is asked for."""
        return (function(*job) for job in jobs)


@contextmanager
def workers(count: int) -> Iterator[Map]:
    """Hand out a map over `count` processes, started when there is more than one job for them."""
    pool = Workers(count)
    try:
        yield pool if count > 1 else Inline()
    finally:
        pool.close()


class Workers:
    """Processes that live until `close`; each is fed by a thread of this process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []
        self._free: deque[subprocess.Popen[bytes]] = deque()

    def __call__(self, function: Callable[..., T], jobs: Sequence[Job]) -> Iterator[T]:
        """Yield the results in order. Raises what a job raises; the jobs after it may not run."""
        if len(jobs) < 2:
            yield from Inline()(function, jobs)
            return
        self._start(min(self._count, len(jobs)))
        threads = ThreadPoolExecutor(self._count)
        waiting: deque[Future[T]] = deque()
        try:
            for job in jobs:
                waiting.append(threads.submit(self._ask, function, job))
                if len(waiting) > 2 * self._count:  # results must not pile up
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            for process in self._processes:  # else a job that takes an hour would be waited for
                process.terminate()
            raise
        finally:
            threads.shutdown(cancel_futures=True)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None, "both ends are pipes"
                with _broken_pipe_is_fine():
                    pipe.close()
        self._processes, self._free = [], deque()

    def _start(self, count: int) -> None:
        # One job at a time in each process: what a library would thread is spread already.
        alone = {
            "OMP_NUM_THREADS": "1",
            "RAYON_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        while len(self._processes) < count:
            process = subprocess.Popen(
                [sys.executable, "-c", "from tael.data.pool import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | alone | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            self._processes.append(process)
            self._free.append(process)

    def _ask(self, function: Callable[..., T], job: Job) -> T:
        process = self._free.pop()  # there are as many threads as processes
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((function, job), process.stdin)
            process.stdin.flush()
            fine, result = pickle.load(process.stdout)
        except (OSError, EOFError) as error:
            raise DataError(
                f"a process that prepared the data died (exit code {process.wait()}): was the "
                "memory full? What is finished is kept; the same command goes on."
            ) from error
        self._free.append(process)
        if not fine:
            raise result
        return result  # type: ignore[no-any-return]


def main() -> None:
    """Do the jobs that come in on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like a result
    while True:
        try:
            function, job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(_done(function, job), out)
        out.flush()


def _done(function: Callable[..., Any], job: Job) -> tuple[bool, Any]:
    try:
        return True, function(*job)
    except (TaelError, OSError) as error:
        return False, error
    except Exception:  # a mistake of ours: the parent raises it with the place where it happened
        return False, RuntimeError(traceback.format_exc())


@contextmanager
def _broken_pipe_is_fine() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        return
