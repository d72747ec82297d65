"""The doctor proves an installation by using it, and says what to do where something fails."""

import json
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from tael.cli import main as cli
from tael.errors import RunError
from tael.machine.probe import Machine, Peaks
from tael.road import doctor as house
from tael.road.doctor import Check, doctor

MACHINE = Machine(
    "a CPU", 2, 8 * 10**9, ("avx2",), None, "2.13", Peaks({"float32": 90.0}, 18.0), False
)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(house, "probe", lambda: MACHINE)
    monkeypatch.setattr(house, "cache_file", lambda: tmp_path / "cache" / "machine.json")


def failed(found: house.Diagnosis) -> list[str]:
    return [check.name for check in found.checks if not check.ok]


def test_a_full_disk_fails_and_nothing_is_tried_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 10**8))
    monkeypatch.setattr(house, "_prove", lambda: pytest.fail("tried all the same"))
    found = doctor()
    assert failed(found) == ["free space", "train–serve–bill"]
    line = next(check.line() for check in found.checks if not check.ok)
    assert line.startswith("failed  free space: 0.1 GB in ")
    assert line.endswith("free some, or work in another folder")


def test_a_folder_that_cannot_be_written_and_an_absent_library_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setattr(house, "_LIBRARIES", ("torch", "no-such-library"))
    found = doctor()
    assert failed(found) == ["libraries", "cache folder", "train–serve–bill"]
    assert found.checks[0].found == "absent: no-such-library"
    assert "pip install" in found.checks[0].mend
    assert list(found.versions) == ["torch"]


@pytest.mark.parametrize(
    ("error", "told"),
    [(RunError("the service\ndid not start"), "the service did not start"),
     (ImportError("no module"), "ImportError: no module")],
)  # fmt: skip
def test_the_first_step_that_fails_is_the_last(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(folder: Path) -> str:
        raise error

    monkeypatch.setattr(house, "_train", lambda folder: "done")
    monkeypatch.setattr(house, "_evaluate", fail)
    heard: list[Check] = []
    found = doctor(heard.append)
    assert heard == found.checks
    assert [check.name for check in found.checks[-2:]] == ["train", "evaluate"]
    assert found.checks[-1].found == told
    assert not found.ok


def test_a_bill_that_is_not_what_was_asked_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, line in (("asked", {"text": "a"}), ("answers", {"label": "x", "score": 0.5})):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line) + "\n")

    class Server:
        def __enter__(self) -> tuple[object, list[str]]:
            return self, []

        def __exit__(self, *_: object) -> None:
            pass

        def predict(self, text: str) -> dict[str, object]:
            return {"label": "x", "score": 0.5}

    monkeypatch.setattr("tael.road.client.start_server", lambda run: Server())
    bill = namedtuple("Bill", "lines")([namedtuple("Line", "units")(2)])
    monkeypatch.setattr("tael.serve.bill.bill", lambda url: bill)
    with pytest.raises(RunError, match="1 texts were answered and 2 are on the bill"):
        house._serve(tmp_path)
    monkeypatch.setattr(Server, "predict", lambda self, text: {"label": "y", "score": 0.5})
    with pytest.raises(RunError, match="served"):
        house._serve(tmp_path)


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_all_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ok: bool, code: int
) -> None:
    monkeypatch.setattr(house, "_prove", lambda: iter([Check("train", ok, "it", "mend it")]))
    for arguments in (["doctor"], ["doctor", "--json"]):
        monkeypatch.setattr(sys, "argv", ["tael", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code
        out = capsys.readouterr().out
        assert (json.loads(out)["ok"] is ok) if "--json" in arguments else "measured peaks" in out


@pytest.mark.slow
def test_this_installation_works(tmp_path: Path) -> None:
    found = doctor()
    assert failed(found) == []
    assert [check.name for check in found.checks[-4:]] == [
        "train", "evaluate", "predict", "serve and bill",
    ]  # fmt: skip
    assert found.checks[-1].found.startswith("20 answers as predicted, 20 texts billed, stopped")
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}
