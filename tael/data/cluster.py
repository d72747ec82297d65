"""The same functions under Ray Data, for more machines than one.

Folders must be visible to every machine (a shared file system); shards are the same as on one.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from tael.data.pool import Job
from tael.errors import UsageError

__all__ = ["Cluster"]

T = TypeVar("T")


class Cluster:
    """A map over the processes of the Ray cluster that is running, or of one on this machine."""

    def __init__(self) -> None:
        try:
            import ray.data
        except ImportError as error:
            raise UsageError(
                "a cluster needs Ray, which is not installed: pip install 'tael[cluster]'."
            ) from error
        self._ray = ray
        if not ray.is_initialized():
            ray.init(log_to_driver=False)

    def __call__(self, function: Callable[..., T], jobs: Sequence[Job]) -> Iterator[T]:
        """Yield the results in the order of the jobs."""
        if not jobs:
            return
        # Jobs and results travel as bytes: a table column holds no objects.
        rows = [{"number": n, "job": pickle.dumps((function, job))} for n, job in enumerate(jobs)]
        data = self._ray.data.from_items(rows, override_num_blocks=len(rows)).map(_done)
        early: dict[int, T] = {}
        following = 0
        for row in data.iter_rows():
            early[row["number"]] = pickle.loads(row["result"])
            while following in early:
                yield early.pop(following)
                following += 1


def _done(row: dict[str, Any]) -> dict[str, Any]:
    function, job = pickle.loads(row["job"])
    return {"number": row["number"], "result": pickle.dumps(function(*job))}
