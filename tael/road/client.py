"""A server in a process of its own, and a client for it: what the demo and the checks talk to."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tael.errors import RunError
from tael.task.base import Answer

__all__ = ["Client", "start_server"]

STOP_SECONDS = 30
_KEY = re.compile(r"tael-[\w-]{40,}")


class Client:
    """Asks a tael service at 127.0.0.1 for answers; a new connection for each call."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self._key = key

    def predict(self, text: str) -> Answer:
        """Return the answer to one text. Raises RunError with the server's words otherwise."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                "POST",
                "/v1/predict",
                json.dumps({"text": text}),
                {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
            )
            response = connection.getresponse()
            body = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise RunError(f"the service answered {response.status}: {body}")
        answer: Answer = body["predictions"][0]
        return answer


@contextmanager
def start_server(run: Path) -> Iterator[tuple[Client, list[str]]]:
    """Run `tael serve` with a key of its own on a free port until the block ends.

    Yields a client and the lines that the server printed. Raises RunError when it does not start
    or does not stop in order.
    """
    name = f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    command = [sys.executable, "-m", "tael", "serve", str(run), "--port", "0", "--new-key", name]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    try:
        port, key, lines = _ready(server)
        yield Client(port, key), lines
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            code = server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            raise RunError(f"the service did not stop within {STOP_SECONDS} s") from None
        finally:
            if server.stdout is not None:
                server.stdout.close()
    if code != 0:
        raise RunError(f"the service stopped with exit code {code}")


def _ready(server: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    lines: list[str] = []
    assert server.stdout is not None
    for line in server.stdout:
        lines.append(line.rstrip("\n"))
        if address := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            key = _KEY.search("\n".join(lines))
            shown = [_KEY.sub("tael-…", text) for text in lines]
            return int(address.group(1)), key.group() if key else "", shown
    raise RunError(f"the service did not start: {' '.join(lines) or 'see the line above'}")
