import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from tael.errors import RunError, StoppedError
from tael.train.guard import catch_signals, enough_memory, locked, out_of_memory, writable


def test_a_second_process_is_refused_and_the_first_one_named(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tael.train.guard import locked\n"
        f"with locked(Path({str(tmp_path)!r})):\n    print('in')"
    )

    def other() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    with locked(tmp_path):
        refused = other()
        assert f"process {os.getpid()} is working here" in refused.stderr
        assert refused.stdout == ""
    assert other().stdout == "in\n"


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ours"), locked(tmp_path):
        raise ValueError("ours")
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_outside_the_loop_ends_with_one_line(tmp_path: Path, number: int) -> None:
    before = signal.getsignal(number)
    with (
        pytest.raises(StoppedError, match=f"stopped by {signal.Signals(number).name}") as caught,
        catch_signals(tmp_path),
    ):
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_a_signal_inside_the_loop_is_kept_for_it(tmp_path: Path) -> None:
    with catch_signals(tmp_path) as stop, stop.after_the_step():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == "SIGTERM"


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device", "x/y"), SafetensorError("File too large")]
)
def test_a_failing_disk_gives_one_line_that_says_what_to_do(error: Exception) -> None:
    with pytest.raises(RunError) as caught, writable(Path("runs/reviews")):
        raise error
    message = str(caught.value)
    assert "nothing that was saved is damaged" in message
    assert "same command" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "take",
    [lambda: torch.empty(10**9), lambda: np.empty(10**9), lambda: bytearray(4 * 10**9)],
    ids=["torch", "numpy", "python"],
)
def test_an_allocator_without_memory_is_told_from_other_errors(take: Callable[[], object]) -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + 10**8, before[1]))
    try:
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            take()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert out_of_memory(caught.value)


def test_other_errors_are_not_about_memory() -> None:
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))


def test_memory_that_ran_out_is_one_clear_line_and_other_errors_stay_what_they_are() -> None:
    with (
        pytest.raises(RunError, match=r"runs/reviews: memory ran out; .* same command goes on"),
        enough_memory(Path("runs/reviews")),
    ):
        raise MemoryError
    with pytest.raises(RuntimeError, match="shapes"), enough_memory(Path("runs/reviews")):
        raise RuntimeError("shapes cannot be multiplied")
