"""The service as a process: killed at any instant, stopped gently, refused a port."""

import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_service import PRICE, FakeEngine
from serve_house import rows

from tael.errors import RunError, UsageError
from tael.recipe.schema import Serve
from tael.serve.bill import bill
from tael.serve.service import Terms, host_engine, listen, serve
from tael.serve.tables import open_database

pytestmark = pytest.mark.slow  # each starts a process
SCRIPT = Path(__file__).with_name("fake_service.py")


class Process:
    """One server process over a ledger; `key` is what its first start printed."""

    def __init__(self, ledger: Path, port: int = 0, seconds: float = 0.0, key: str = "") -> None:
        self.key, self.address, self.ledger = key, "", ledger
        self.child = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(port), str(ledger), str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.child.stdout is not None
        self.lines: list[str] = []
        for line in self.child.stdout:
            self.lines.append(line)
            if line.startswith("API key"):
                self.key = line.split()[-1]
            if "http://" in line:
                self.address = line.split()[-1].removeprefix("http://")
                break

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.child.send_signal(number)
        _, err = self.child.communicate(timeout=20)
        return self.child.returncode, err

    def ask(self, body: object, idempotency_key: str | None = None) -> tuple[int, bytes]:
        """Ask on a connection of its own; raises OSError or HTTPException when it breaks."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        headers = {"Authorization": f"Bearer {self.key}"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        try:
            connection.request("POST", "/v1/predict", json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def test_what_cannot_be_served_costs_no_key(tiny_run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with pytest.raises(UsageError, match="no variant 'none'"):
        serve(tiny_run, port=0, db=url, variant="none", say=said.append)
    assert said == []
    assert not (tmp_path / "ledger.db").exists()


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("shared") / "ledger.db")
    yield process
    process.child.kill()
    process.child.communicate()


class Client(threading.Thread):
    """Asks one thing after the other and repeats each, with its key, until it is answered."""

    def __init__(self, number: int, where: "list[Process]", until: threading.Event) -> None:
        super().__init__(daemon=True)
        self.number, self.where, self.until = number, where, until
        self.answers: dict[str, bytes] = {}
        self.broken = 0

    def run(self) -> None:
        turn = 0
        while not self.until.is_set():
            self.settle(f"{self.number}-{turn}", ["x" * (turn % 7)] * (1 + turn % 3))
            turn += 1

    def settle(self, key: str, texts: list[str]) -> None:
        body = {"records": [{"text": text} for text in texts]}
        while key not in self.answers:
            try:
                status, answer = self.where[0].ask(body, key)
            except (OSError, http.client.HTTPException):
                self.broken += 1  # refused, or killed before the last byte
                time.sleep(0.02)
                continue
            if status == 200:
                assert json.loads(answer)["predictions"] == FakeEngine().predict(body["records"])
                self.answers[key] = answer


def test_killed_at_any_instant_every_answer_received_is_charged_exactly_once(
    ledger_file: Path,
) -> None:
    dice = random.Random(7)
    where, until = [Process(ledger_file, seconds=0.002)], threading.Event()
    clients = [Client(number, where, until) for number in range(8)]
    for client in clients:
        client.start()
    for _ in range(3):
        time.sleep(0.3 + dice.random())
        where[0].stop(signal.SIGKILL)
        port = int(where[0].address.rpartition(":")[2])
        where[0] = Process(ledger_file, port, 0.002, where[0].key)
    time.sleep(0.3)
    until.set()
    for client in clients:
        client.join(20)
        assert not client.is_alive()
    assert where[0].stop()[0] == 0
    answers = {key: answer for client in clients for key, answer in client.answers.items()}
    database = open_database(f"sqlite:///{ledger_file}")
    settled = {row.idempotency_key: row for row in rows(database, "settle")}
    assert len(settled) == len(rows(database, "settle")) == len(answers) > 50
    assert sum(client.broken for client in clients) > 0
    for key, answer in answers.items():
        usage = json.loads(answer)["usage"]
        assert settled[key].units == usage["units"]
        assert settled[key].request == json.loads(answer)["id"]
    owed = sum(json.loads(answer)["usage"]["cost_micros"] for answer in answers.values())
    assert bill(f"sqlite:///{ledger_file}").owed_micros == {"USD": owed}
    assert len(rows(database, "reserve")) == len(rows(database, "void")) + len(settled)
    database.dispose()


def test_it_says_its_key_once_and_its_address_always(ledger_file: Path) -> None:
    server = Process(ledger_file)
    assert len(server.lines) == 2
    assert server.lines[1] == f"tael serves fake (fake-fp32) at http://{server.address}\n"
    assert server.ask({"text": "x"})[0] == 200
    assert server.stop() == (0, "")
    again = Process(ledger_file, key=server.key)
    try:
        assert len(again.lines) == 1
        assert again.ask({"text": "x"})[0] == 200
    finally:
        again.stop()


def test_sigterm_answers_what_is_in_flight_and_ends_with_0(ledger_file: Path) -> None:
    server = Process(ledger_file, seconds=0.5)
    answers: list[tuple[int, bytes]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.ask({"text": "slow"})))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    database = open_database(f"sqlite:///{ledger_file}")
    while len(rows(database, "reserve")) < 4:
        time.sleep(0.01)
    assert server.stop() == (0, "")
    for thread in threads:
        thread.join(10)
    assert [status for status, _ in answers] == [200] * 4
    assert len(rows(database, "settle")) == 4
    database.dispose()
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the system likes
        server.ask({"text": "late"})


def test_a_second_server_on_the_same_ledger_or_port_is_refused_in_one_line(
    server: Process, tmp_path: Path
) -> None:
    ledger_file = server.ledger
    port = server.address.rpartition(":")[2]
    for args, words in (
        (["0", str(ledger_file)], "another server writes to this ledger"),
        ([port, str(tmp_path / "other.db")], f"cannot listen on 127.0.0.1 port {port}"),
    ):
        result = subprocess.run(
            [sys.executable, str(SCRIPT), *args, "0"], capture_output=True, text=True, timeout=20
        )
        assert result.returncode == 1
        assert words in result.stderr.splitlines()[-1]
        assert result.stdout == ""
    assert server.ask({"text": "still here"})[0] == 200


@pytest.mark.parametrize("header", ["Content-Length: 99999999999", "Transfer-Encoding: chunked"])
def test_a_body_too_large_is_refused_before_it_is_read(server: Process, header: str) -> None:
    with _connect(server) as connection:
        connection.sendall(_head(server.key, header))
        if header.startswith("Transfer"):
            piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"  # a mebibyte, five times, no end
            for _ in range(5):
                connection.sendall(piece)
        assert _status(connection) == 413
    assert server.ask({"text": "still here"})[0] == 200


def test_a_body_is_not_read_from_someone_without_a_key(server: Process) -> None:
    with _connect(server) as connection:
        connection.sendall(_head("tael-wrong", "Content-Length: 1000000"))
        assert _status(connection) == 401


@pytest.mark.parametrize(("key", "status"), [("tael-wrong", 401), ("", 413)])
def test_a_refusal_reaches_a_client_that_sends_on(server: Process, key: str, status: int) -> None:
    size = 16 * 2**20
    with _connect(server) as connection:
        connection.sendall(_head(key or server.key, f"Content-Length: {size}"))
        time.sleep(0.1)  # the refusal is on its way; a closed connection would now reset
        connection.sendall(b" " * size)
        assert _status(connection) == status


def test_a_server_whose_model_cannot_be_opened_says_why_and_frees_its_port(
    ledger_file: Path,
) -> None:
    def fail() -> FakeEngine:
        raise RunError("no model here")

    lines: list[str] = []
    for _ in range(2):
        with pytest.raises(RunError, match="no model here"):
            host_engine(
                Terms("fake", Serve(), PRICE),
                fail,
                f"sqlite:///{ledger_file}",
                host="127.0.0.1",
                port=_free_port(),
                say=lines.append,
            )
    assert len(lines) == 1  # the key; it never served


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def test_a_client_that_sends_no_http_is_refused_and_the_server_goes_on(server: Process) -> None:
    with _connect(server) as connection:
        connection.sendall(b"\x16\x03\x01\x00\xa5 not http \r\n\r\n")
        assert _status(connection) == 400
    assert server.ask({"text": "still here"})[0] == 200


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server_side,
    ):
        assert client.fileno() > 0
        assert server_side.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_open_address_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with listen("127.0.0.1", 0):
        assert not caplog.text
    with listen("0.0.0.0", 0):
        assert "every machine" in caplog.text


def _connect(server: Process) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def _head(key: str, header: str) -> bytes:
    return (
        "POST /v1/predict HTTP/1.1\r\nHost: tael\r\n"
        f"Authorization: Bearer {key}\r\n{header}\r\n\r\n"
    ).encode()


def _status(connection: socket.socket) -> int:
    return int(connection.recv(4096).split(b" ", 2)[1])
