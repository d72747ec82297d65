"""Whatever stops a run, the same command ends in the same bits; train_kill.py does the killing.

After a change to checkpoints, kill more often: `python train_kill.py FOLDER SEED 50`.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def kill(folder: Path, seed: int, count: int) -> Any:
    result = subprocess.run(
        [sys.executable, "-W", "error", HERE / "train_kill.py", folder, str(seed), str(count)],
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONPATH": f"{HERE.parent.parent}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # The folder must be open to another user: the read-only run is done as nobody.
    return kill(tmp_path_factory.mktemp("kill") / "runs", 1, 5)


def check_same(killed: dict[str, Any]) -> None:
    assert {when: outcome for when, outcome in killed.items() if outcome != [[0, ""], True]} == {}


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(found: Any) -> None:
    assert len(found["killed"]) == 5
    check_same(found["killed"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "folder"), [("SIGTERM", "terminated"), ("SIGINT", "interrupted")])
def test_a_signal_saves_and_the_same_command_goes_on(found: Any, name: str, folder: str) -> None:
    (status, message), after = found[name]
    assert status == 128 + signal.Signals[name]
    assert f"stopped by {name} after train step 3 of 9, saved; the same command goes on" in message
    assert after == [0, ""]
    assert found["same"][folder]


@pytest.mark.slow
def test_a_full_disk_is_one_clear_line_and_nothing_is_damaged(found: Any) -> None:
    (status, message), after = found["full"]
    assert status == 1
    assert "File too large" in message
    assert "nothing that was saved is damaged" in message
    assert "\n" not in message
    assert after == [0, ""]
    assert found["same"]["full"]


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_one_clear_line(found: Any) -> None:
    status, message = found["read only"]
    assert status == 1
    assert "Permission denied" in message
    assert "\n" not in message
