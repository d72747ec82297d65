"""Start the service, say where it listens, and stop it without losing a request.

The port is taken first and the model loaded last, so a port in use is known at once and
`/readyz` can say that the model is on its way. SIGTERM or Ctrl-C: nothing new is accepted, what is
in flight is answered and settled, then the process ends.
"""

import asyncio
import fcntl
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Protocol

import uvicorn
from pydantic import BaseModel, ConfigDict

from tael.data.record import Record
from tael.errors import RunError, UsageError
from tael.recipe.schema import Serve
from tael.serve.app import create_app
from tael.serve.batcher import Batcher
from tael.serve.bill import ledger_url
from tael.serve.keys import Keys, has_key, make_key
from tael.serve.ledger import Price
from tael.serve.meter import Meter
from tael.serve.monitor import Monitor
from tael.serve.predict import Loaded, Service
from tael.serve.tables import open_database, sqlite_file
from tael.task.base import Answer

__all__ = ["Served", "Terms", "host_engine", "listen", "open_batches", "price_per_unit", "serve"]

DRAIN_SECONDS = 30
FIRST_KEY = "first"
_log = logging.getLogger(__name__)


class _Task(Protocol):
    def request_model(self) -> type[BaseModel]: ...
    def response_model(self) -> type[BaseModel]: ...


class _Variant(Protocol):
    @property
    def id(self) -> str: ...


class Served(Protocol):
    """What the service needs of an engine."""

    @property
    def variant(self) -> _Variant:
        """The variant that answers."""

    @property
    def task(self) -> _Task:
        """The task, for its request and response models."""

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record, in order."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which name, limits and price a service runs."""

    name: str
    limits: Serve
    price: Price


def serve(
    run: str | Path,
    port: int = 8000,
    db: str | None = None,
    host: str = "127.0.0.1",
    variant: str | None = None,
    *,
    new_key: str | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Serve a run's chosen variant (or `variant`) until SIGTERM or Ctrl-C.

    `db` is the ledger's URL (default `<run>/serve/ledger.db`); `new_key` makes one more API key of
    that name. `say` gets what a person must read, a line each: a new key, once, and the address
    when the service is ready. Raises RunError when the port cannot be had or when another
    server holds the ledger, and what opening the engine raises.
    """
    from tael.engine.predictor import folder_of, open_engine
    from tael.train.run import Run

    opened = Run(Path(run))
    folder_of(opened.folder, variant)  # no key is made, nor shown, for what cannot be served
    recipe = opened.recipe
    price = price_per_unit(recipe.serve.price_per_1000, recipe.machine.currency)
    host_engine(
        Terms(recipe.name, recipe.serve, price),
        lambda: open_engine(Path(run), variant),
        ledger_url(Path(run), db),
        host=host,
        port=port,
        new_key=new_key,
        say=say or _print_line,
    )


def price_per_unit(price_per_1000: Decimal, currency: str) -> Price:
    """Return the price of a million units in whole micros.

    Raises UsageError for a price with more than nine decimals, which no integer can hold.
    """
    micros = price_per_1000 * 1000 * 1_000_000
    if micros != micros.to_integral_value():
        raise UsageError(f"serve.price_per_1000={price_per_1000}: at most nine decimals are kept")
    return Price(int(micros), currency)


def host_engine(
    terms: Terms,
    open_engine: Callable[[], Served],
    url: str,
    *,
    host: str,
    port: int,
    new_key: str | None = None,
    say: Callable[[str], None],
) -> None:
    """Serve whatever `open_engine` returns; everything else as `serve` says."""
    with listen(host, port) as listener, _hold_ledger(url) as alone:
        database = open_database(url)
        try:
            name = new_key or FIRST_KEY
            if new_key or not has_key(database, name):
                say(f"API key {name!r}, shown only now: {make_key(database, name)}")
            with Meter(database, alone=alone) as meter:
                keys, monitor = Keys(database), Monitor()
                service = Service(terms.name, terms.limits, terms.price, meter, keys, monitor)
                asyncio.run(_run(service, open_engine, listener, say))
        finally:
            database.dispose()


async def _run(
    service: Service,
    open_engine: Callable[[], Served],
    listener: socket.socket,
    say: Callable[[str], None],
) -> None:
    config = uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = _Server(config, service)
    serving = asyncio.create_task(server.serve([listener]))
    loading = asyncio.create_task(asyncio.to_thread(open_engine))
    await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        return  # stopped before the model was there
    try:
        async with open_batches(service, loading.result()) as loaded:
            service.loaded = loaded
            say(f"tael serves {service.name} ({loaded.variant}) at {_address(listener)}")
            await serving
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def open_batches(service: Service, engine: Served) -> AsyncIterator[Loaded]:
    """Hand out the engine behind its queue, until the block ends."""
    batcher = Batcher(
        engine.predict,
        max_batch=service.limits.max_batch,
        max_queue=service.limits.max_queue,
        monitor=service.monitor,
    )
    asked = _closed(engine.task.request_model())
    try:
        yield Loaded(batcher, engine.variant.id, asked, engine.task.response_model())
    finally:
        await batcher.close()


def _closed(model: type[BaseModel]) -> type[BaseModel]:
    """Return the model with unknown fields refused, so that no misspelt one is lost in silence."""
    fields = {"model_config": ConfigDict(extra="forbid"), "__doc__": model.__doc__}
    return type(model.__name__, (model,), {**fields, "__module__": __name__})


class _Server(uvicorn.Server):
    """A uvicorn server that ends with exit code 0 when it is asked to stop.

    uvicorn raises a caught signal anew after its shutdown, so that the process would die of it.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at once at the second."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._service.draining = True


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Take a port and hold it while the block runs; raises RunError when it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"cannot listen on {host} port {port}: {reason}; choose another with --port N "
            "(0 takes a free one)"
        ) from error
    with listener:
        # Inherited by every connection. asyncio sets it only where the socket names its protocol,
        # which create_server's does not; without it an answer waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not _is_loopback(listener.getsockname()[0]):
            _log.warning(
                "listening on %s: every machine that reaches this one may connect, keys and texts "
                "travel unencrypted; put a TLS proxy in front",
                host,
            )
        yield listener


@contextmanager
def _hold_ledger(url: str) -> Iterator[bool]:
    """Keep other servers off an SQLite ledger; yields whether this server has it for itself."""
    file = sqlite_file(url)
    if file is None:
        yield False
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(f"{file}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed by the system when we die
        yield True
    except BlockingIOError as error:
        raise RunError(
            f"{file}: another server writes to this ledger; stop it, or give this one its own "
            "with --db sqlite:///FILE"
        ) from error
    finally:
        os.close(lock)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
