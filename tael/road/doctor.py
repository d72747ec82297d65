"""The verb `doctor`: what this machine is, and whether tael works on it, proved by doing it once.

The last check trains a tiny model on made-up reviews, evaluates it, answers with it, serves it,
asks the service, and compares answers and bill: about a minute.
"""

import csv
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from tael.errors import RunError, TaelError
from tael.machine.probe import Machine, cache_file, describe, probe

__all__ = ["Check", "Diagnosis", "doctor"]

_LIBRARIES = ("tael", "torch", "numpy", "tokenizers", "safetensors", "scikit-learn", "onnxruntime",
              "fastapi", "SQLAlchemy")  # fmt: skip
_LEAST_BYTES = 2e9  # of free disk: checkpoints, variants and a ledger of a small run
_ROWS = 120
_ASKED = 20
_RECIPE = """\
name: doctor
task: classify
data: {train: reviews.csv, max_tokens: 32, clean: {dedup: exact}, split: [0.6, 0.2, 0.2]}
tokenizer: {vocab: 200}
model: {hidden: 32, layers: 1, heads: 2, ffn: 64}
train: {steps: 40, rate: 5.0e-3, evaluations: 2}
"""
_GOOD, _BAD = ("很好", "干净", "great", "lovely"), ("很差", "脏乱", "awful", "dirty")
_THINGS = ("房间", "早餐", "room", "staff")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `mend` says what to do where it failed."""

    name: str
    ok: bool
    found: str
    mend: str = ""

    def line(self) -> str:
        """Return the check for a reader."""
        end = "" if self.ok else f"; {self.mend}"
        return f"{'ok' if self.ok else 'failed':<7} {self.name}: {self.found}{end}"


@dataclass
class Diagnosis:
    """Every check, in order, and the facts behind them."""

    checks: list[Check] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "ok": self.ok,
            "checks": [asdict(check) for check in self.checks],
            "machine": self.machine,
            "versions": self.versions,
        }


def doctor(say: Callable[[Check], None] = lambda check: None) -> Diagnosis:
    """Check this machine and this installation; `say` hears of each check as it is done.

    Nothing is raised for what is wrong: it is a check that failed, with what to do. Writes the
    machine's measurement to the user's cache folder, and everything else to a folder for
    temporary files that is removed.
    """
    found = Diagnosis()

    def note(check: Check) -> None:
        found.checks.append(check)
        say(check)

    note(_libraries(found))
    for check in _machine(found):
        note(check)
    note(_free_space())
    for name, folder in (("working folder", Path()), ("cache folder", cache_file().parent),
                         ("temporary folder", Path(tempfile.gettempdir()))):  # fmt: skip
        note(_writable(name, folder))
    if found.ok:
        for check in _prove():
            note(check)
    else:
        note(Check("train–serve–bill", False, "not tried", "mend what failed above first"))
    return found


def _libraries(found: Diagnosis) -> Check:
    absent = []
    for name in _LIBRARIES:
        try:
            found.versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        mend = "install tael again: `pip install --force-reinstall tael`"
        return Check("libraries", False, f"absent: {', '.join(absent)}", mend)
    told = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    return Check("libraries", True, f"python {describe()['python']}, {told}")


def _machine(found: Diagnosis) -> Iterator[Check]:
    try:
        machine = probe()
    except (ImportError, OSError, RuntimeError) as error:
        mend = "install torch again: `pip install --force-reinstall torch`"
        yield Check("machine", False, f"torch cannot be measured: {error}", mend)
        return
    found.machine = machine.to_json()
    flags = " ".join(machine.flags) or "no AVX2"
    yield Check(
        "machine",
        True,
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_bytes / 1e9:.1f} GB of memory, "
        f"{flags}, {machine.gpu or 'no GPU'}",
    )
    yield _speed(machine)


def _speed(machine: Machine) -> Check:
    rates = machine.peaks.gflops
    told = ", ".join(f"{name} {rate:,.0f} GFLOP/s" for name, rate in rates.items())
    bits = "bfloat16" if machine.bfloat16_faster else "float32"
    told += f", memory {machine.peaks.bandwidth_gb_s:.0f} GB/s; `dtype: auto` computes in {bits}"
    mend = f"measure again on a quiet machine: remove {cache_file()}"
    return Check("measured peaks", bool(rates.get("float32")), told, mend)


def _free_space() -> Check:
    free = shutil.disk_usage(Path()).free
    mend = "a run needs a few GB beside its data: free some, or work in another folder"
    return Check(
        "free space", free >= _LEAST_BYTES, f"{free / 1e9:.1f} GB in {Path().absolute()}", mend
    )


def _writable(name: str, folder: Path) -> Check:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"tael")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        mend = "give yourself the right to write there, or work elsewhere"
        return Check(name, False, f"{folder.absolute()}: {error.strerror or error}", mend)
    return Check(name, True, f"{folder.absolute()} can be written")


def _prove() -> Iterator[Check]:
    """Go the whole road once; the first step that fails is the last."""
    with tempfile.TemporaryDirectory(prefix="tael-doctor-") as name:
        folder = Path(name)
        for title, step in (
            ("train", _train),
            ("evaluate", _evaluate),
            ("predict", _predict),
            ("serve and bill", _serve),
        ):
            began = time.monotonic()
            try:
                found = step(folder)
            # The installation is on trial: whatever comes up is what a user would meet.
            except Exception as error:
                yield Check(title, False, _told(error), "`tael --debug doctor` shows where")
                return
            yield Check(title, True, f"{found} in {time.monotonic() - began:.1f} s")


def _told(error: Exception) -> str:
    kind = "" if isinstance(error, TaelError) else f"{type(error).__name__}: "
    return f"{kind}{' '.join(str(error).split())}"[:300]


def _train(folder: Path) -> str:
    from tael.recipe.load import load_recipe
    from tael.train.train import train

    chance = random.Random(7)
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(_ROWS):
            words = _GOOD if number % 2 else _BAD
            said = [f"{chance.choice(_THINGS)} {chance.choice(words)}" for _ in range(3)]
            writer.writerow([f"{'，'.join(said)} {number}", "good" if number % 2 else "bad"])
    (folder / "doctor.yaml").write_text(_RECIPE, encoding="utf-8")
    train(load_recipe(folder / "doctor.yaml"), folder / "run", progress=False)
    return "40 steps"


def _evaluate(folder: Path) -> str:
    from tael.road.evaluate import evaluate

    accuracy = evaluate(folder / "run")["accuracy"]["value"]
    if accuracy < 0.8:
        raise RunError(f"accuracy {accuracy:.2f} on texts whose words decide the label")
    return f"accuracy {accuracy:.2f}"


def _predict(folder: Path) -> str:
    from tael.road.predict import predict

    with (folder / "reviews.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:_ASKED]
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (folder / "asked.jsonl").write_text(lines, encoding="utf-8")
    counts = predict(folder / "run", folder / "asked.jsonl", folder / "answers.jsonl")
    return f"{counts['answers']} answers"


def _serve(folder: Path) -> str:
    from tael.road.client import start_server
    from tael.serve.bill import bill, ledger_url

    texts, expected = (_lines(folder / name) for name in ("asked.jsonl", "answers.jsonl"))
    with start_server(folder / "run") as (client, _):
        served = [client.predict(one["text"]) for one in texts]
    for text, here, there in zip(texts, served, expected, strict=True):
        if here["label"] != there["label"] or abs(here["score"] - there["score"]) > 1e-4:
            raise RunError(f"served {here}, predicted {there}: {text['text']}")
    lines = bill(ledger_url(folder / "run", None)).lines
    charged = sum(line.units for line in lines)
    if charged != len(texts):
        raise RunError(f"{len(texts)} texts were answered and {charged} are on the bill")
    return f"{len(served)} answers as predicted, {charged} texts billed, stopped"


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
