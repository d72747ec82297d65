"""Worker processes: results in order, errors as they are, no one left behind."""

import os
import signal
from pathlib import Path

import pytest

from tael.data.part import is_whole, read_part
from tael.data.pool import Inline, Workers, workers
from tael.errors import DataError


def test_one_job_needs_no_process() -> None:
    pool = Workers(2)
    assert list(pool(os.getpid, [()])) == [os.getpid()]
    assert list(Inline()(os.path.join, [("a", "b"), ("c", "d")])) == ["a/b", "c/d"]
    pool.close()


@pytest.mark.slow
def test_results_come_in_the_order_of_the_jobs_from_other_processes() -> None:
    with workers(2) as run:
        jobs = [(Path("a"), str(n)) for n in range(20)]
        assert list(run(Path.joinpath, jobs)) == [Path("a", str(n)) for n in range(20)]
        found = set(run(os.getpid, [()] * 8))
        assert os.getpid() not in found
        assert 1 <= len(found) <= 2
    for pid in found:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
def test_an_error_of_a_job_is_raised_and_a_dead_worker_is_one_clear_line(tmp_path: Path) -> None:
    with workers(2) as run, pytest.raises(DataError, match="damaged"):
        list(run(read_part, [(tmp_path,)] * 3))
    with workers(2) as run:
        assert list(run(is_whole, [(tmp_path,)] * 3)) == [False] * 3
    with workers(2) as run, pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(run(divmod, [(1, 1), (1, 0)]))
    with workers(2) as run, pytest.raises(OSError, match="absent"):
        list(run(os.listdir, [("absent",)] * 2))
    with workers(2) as run, pytest.raises(DataError, match="died"):
        list(run(os.kill, [(pid, signal.SIGKILL) for pid in run(os.getpid, [()] * 2)]))
