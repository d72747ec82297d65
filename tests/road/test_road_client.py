"""The client of a served run: what it sends, what it says of a refusal, what it never shows."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from tael.errors import RunError
from tael.road.client import Client, _ready

KEY = "tael-" + "k" * 43


class Handler(BaseHTTPRequestHandler):
    """Answers as the test says, and keeps what it was asked."""

    status = 200
    body: ClassVar[dict[str, Any]] = {}
    asked: ClassVar[list[tuple[str, str | None, Any]]] = []

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        text = json.loads(self.rfile.read(length))
        self.asked.append((self.path, self.headers["Authorization"], text))
        content = json.dumps(self.body).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    monkeypatch.setattr(Handler, "asked", [])
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_answer_is_the_services_prediction(
    service: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "body", {"predictions": [{"label": "好"}]})
    assert Client(service.server_port, KEY).predict("很好 😀") == {"label": "好"}
    assert Handler.asked == [("/v1/predict", f"Bearer {KEY}", {"text": "很好 😀"})]


def test_a_refusal_is_told_in_the_services_words_and_without_the_key(
    service: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "status", 402)
    monkeypatch.setattr(Handler, "body", {"error": {"code": "budget_exceeded"}})
    with pytest.raises(RunError, match=r"answered 402: .*budget_exceeded") as caught:
        Client(service.server_port, KEY).predict("x")
    assert KEY not in str(caught.value)


def started(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_server_is_ready_when_it_says_its_address_and_its_key_is_shown_to_nobody() -> None:
    said = [f"API key 'x', shown only now: {KEY}", "tael serves r (tfidf) at http://127.0.0.1:4711"]
    with started(f"print({said[0]!r}); print({said[1]!r}); print('later')") as server:
        port, key, lines = _ready(server)
    assert (port, key) == (4711, KEY)
    assert lines == ["API key 'x', shown only now: tael-…", said[1]]


@pytest.mark.parametrize("code", ["print('no model here')", "pass"])
def test_a_server_that_ends_before_it_is_ready_is_an_error(code: str) -> None:
    with (
        started(code) as server,
        pytest.raises(RunError, match=r"did not start: (no model|see the line)"),
    ):
        _ready(server)
