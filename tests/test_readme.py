"""Every command of both READMEs is run, in order, in an empty folder with a small CSV."""

import csv
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).parent.parent
READMES = ["README.md", "README.zh-CN.md"]
BIN = Path(sys.executable).parent
# Run by hand or by `make`, since they install: checked with `make -n` instead.
INSTALLING = ("git clone", "cd ", "make ", "pip install")


def blocks(readme: str) -> list[str]:
    """Return the commands of all `sh` blocks, continuation lines joined, comments removed."""
    text = (ROOT / readme).read_text("utf-8")
    found = []
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+#.*$", "", line).strip()
            if command and not command.startswith("#"):
                found.append(command)
    return found


def python_blocks(readme: str) -> list[str]:
    text = (ROOT / readme).read_text("utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def write_reviews(path: Path, rows: int = 400) -> None:
    """Write reviews whose words decide the label, in both languages."""
    chance = random.Random(3)
    good = ["很好", "干净", "满意", "舒服", "great", "lovely", "quiet", "推荐"]
    bad = ["太差", "很脏", "失望", "吵闹", "awful", "dirty", "noisy", "退款"]
    things = ["房间", "服务", "早餐", "位置", "room", "staff", "breakfast", "前台", "书", "手机"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "sentiment"])
        for number in range(rows):
            words = good if number % 2 else bad
            said = [f"{chance.choice(things)} {chance.choice(words)}" for _ in range(4)]
            writer.writerow(
                [f"{'，'.join(said)} {number}", "positive" if number % 2 else "negative"]
            )


def test_the_readmes_give_the_same_commands() -> None:
    assert blocks(READMES[0]) == blocks(READMES[1])
    assert python_blocks(READMES[0]) == python_blocks(READMES[1])


def test_the_readmes_have_the_same_sections() -> None:
    depths = [re.findall(r"^(#+) ", (ROOT / name).read_text("utf-8"), re.M) for name in READMES]
    assert depths[0] == depths[1]


def test_every_make_goal_of_the_readmes_exists() -> None:
    for command in blocks(READMES[0]):
        if command.startswith("make "):
            goals = [word for word in shlex.split(command)[1:] if "=" not in word]
            for goal in goals:
                assert re.search(rf"^{re.escape(goal)}:", (ROOT / "Makefile").read_text(), re.M), (
                    goal
                )


@pytest.mark.slow
def test_every_command_of_the_readmes_runs(tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews.csv")
    (tmp_path / "new.csv").write_text("review\n房间 干净\nawful room\n", "utf-8")
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    server: subprocess.Popen[str] | None = None
    key = ""
    ran = 0
    try:
        for command in blocks(READMES[0]):
            if command.startswith(INSTALLING) or _lacks_package(command):
                continue
            ran += 1
            if command.startswith("tael serve"):
                server, key = _start(command, tmp_path, environment)
                continue
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=tmp_path,
                env={**environment, "TAEL_KEY": key},
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            if "/v1/predict" in command:
                assert json.loads(done.stdout)["predictions"], done.stdout
        for code in python_blocks(READMES[0]):
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr[-2000:]
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
    assert ran >= 8, "the README lost its commands"


def _lacks_package(command: str) -> bool:
    """Whether the command opens a model from a package that only the README's reader installs."""
    named = re.findall(r"package://(\w+)/", command)
    return any(find_spec(name) is None for name in named) or (
        ".gguf" in command and find_spec("gguf") is None
    )


def _start(
    command: str, folder: Path, environment: dict[str, str]
) -> tuple[subprocess.Popen[str], str]:
    """Start the README's server and return it with the key it printed once."""
    log = folder / "serve.log"
    with log.open("w") as output:  # the server has its own handle of it
        server = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    for _ in range(300):
        text = log.read_text("utf-8")
        assert server.poll() is None, text
        address = re.search(r"http://127\.0\.0\.1:\d+", text)
        found = re.search(r"tael-[\w-]{40,}", text)
        if address and found:
            urlopen(Request(address.group() + "/readyz"), timeout=5).close()
            return server, found.group()
        time.sleep(0.2)  # the server loads its model; nothing to wait on but its line
    raise AssertionError(f"the server did not get ready: {log.read_text('utf-8')}")
