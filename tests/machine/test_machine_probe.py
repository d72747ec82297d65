"""The machine is measured once, and anew where it is another one."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tael.machine import probe as probing
from tael.machine.probe import Machine, Peaks, describe, peak_memory_bytes, probe, remembered


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure for an instant, on small shapes."""
    monkeypatch.setattr(probing, "_MEASURE_SECONDS", 0.002)
    monkeypatch.setattr(probing, "_SHAPES", ((32, 16, 64), (16, 16, 16)))


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_probe_is_measured_once_and_read_back_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = probe(tmp_path / "machine.json")
    monkeypatch.setattr(probing, "_measure", lambda: pytest.fail("measured twice"))
    assert probe(tmp_path / "machine.json") == first
    assert first.peaks.gflops["float32"] > 0
    assert first.peaks.bandwidth_gb_s > 0
    assert json.loads(json.dumps(first.to_json())) == first.to_json()


def known() -> Machine:
    facts = describe()
    return Machine(
        cpu=str(facts["cpu"]),
        cores=int(facts["cores"]),
        memory_bytes=1,
        flags=tuple(str(facts["flags"]).split()),
        gpu=None,
        torch=str(facts["torch"]),
        peaks=Peaks({"float32": 10.0}, 5.0),
        bfloat16_faster=False,
    )


@pytest.mark.parametrize("change", [{"cpu": "another"}, {"cores": 999}, {"torch": "0.1"}, {}])
def test_another_machine_or_torch_is_not_remembered(tmp_path: Path, change: dict) -> None:
    file = tmp_path / "machine.json"
    file.write_text(json.dumps(dataclasses.replace(known(), **change).to_json()))
    assert remembered(file) == (None if change else known())


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"peaks": 3}', '{"peaks": {"x": 1}}'])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "machine.json").write_text(text)
    assert remembered(tmp_path / "machine.json") is None


def test_a_folder_that_cannot_be_written_is_said_and_costs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probing, "_measure", known)
    (tmp_path / "file").write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        assert probe(tmp_path / "file" / "machine.json") == known()
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({}, 8),
    ],
)
def test_a_container_that_may_use_less_has_fewer_cores(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(
        probing, "_read", lambda path: files.get(str(path).removeprefix("/sys/fs/cgroup/"), "")
    )
    assert probing.cores() == cores


def test_memory_is_what_the_container_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = probing.memory_bytes()
    assert whole > 2**28
    monkeypatch.setattr(probing, "_read", lambda path: "1000" if path.name == "memory.max" else "")
    assert probing.memory_bytes() == 1000


def test_peak_memory_sees_what_was_held_and_let_go() -> None:
    before = peak_memory_bytes()
    block = bytearray(b"x" * 50_000_000)
    del block
    assert peak_memory_bytes() >= before
    code = (
        "from tael.machine.probe import peak_memory_bytes as peak\n"
        "before = peak()\nblock = b'x' * 80_000_000\ndel block\nprint(peak() - before)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 70_000_000 < int(out.stdout) < 120_000_000


def test_describing_imports_no_torch() -> None:
    code = (
        "import sys; from tael.machine.probe import describe; describe()\n"
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert probing.cache_file() == Path("/caches/tael/machine.json")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/a")
    assert probing.cache_file() == Path("/home/a/.cache/tael/machine.json")
