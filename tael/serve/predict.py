"""POST /v1/predict, the one paid endpoint: admit, reserve, work, settle, answer.

The order is the promise. Nothing is computed that is not reserved; nothing is sent that is not
settled on disk; whatever ends a request before that voids its reservation.
"""

import asyncio
import itertools
import json
import logging
import time
import traceback
import uuid
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from tael.errors import DataError, RefusedError
from tael.machine.money import charge, round_half_even
from tael.recipe.schema import Serve
from tael.serve.ask import Ask, idempotency_key, parse, read_body
from tael.serve.batcher import Batcher
from tael.serve.keys import Keys
from tael.serve.ledger import Price, Reserve, Settle
from tael.serve.meter import Meter
from tael.serve.monitor import Monitor
from tael.serve.refusal import Refusal
from tael.task.base import Answer

__all__ = ["Loaded", "Service"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine that is ready: its batches, the variant's id, and the task's two models."""

    batcher: Batcher
    variant: str
    request_model: type[BaseModel]
    response_model: type[BaseModel]


@dataclass(slots=True)
class Service:
    """What every request shares."""

    name: str
    limits: Serve
    price: Price
    meter: Meter
    keys: Keys
    monitor: Monitor
    loaded: Loaded | None = None  # None until the engine is ready
    draining: bool = False
    # A request's name: unique, cheap, no secret. uuid4 asks the system each time, which lets go of
    # the interpreter's lock and then waits for it.
    _born: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    _count: Iterator[int] = field(default_factory=itertools.count)
    _running: dict[tuple[int, str], asyncio.Event] = field(default_factory=dict)

    def ready(self) -> Loaded:
        """Return the engine; raises RefusedError 503 before it is ready and while it drains."""
        if self.draining:
            raise RefusedError("the server is stopping", 503, 1, code="draining")
        if self.loaded is None:
            raise RefusedError("the model is being loaded", 503, 2, code="loading")
        return self.loaded

    async def predict(self, request: Request) -> Response:
        """Answer one request, whatever it is, and count it."""
        started = time.perf_counter()
        name = f"{self._born}{next(self._count):016x}"
        try:
            response = await self._answer(request, name)
        except RefusedError as error:
            response = self._refuse(error)
        except DataError as error:  # the engine says what is wrong with a text
            response = self._refuse(RefusedError(str(error), 422, code="refused_text"))
        except Exception as error:  # the client gets 500, the log says where, the server goes on
            _log.error("request %s: %s at %s", name, type(error).__name__, _frames(error))
            sorry = f"the server failed; its log has the reason under request {name}"
            response = self._refuse(RefusedError(sorry, 500, code="internal"))
        response.headers["x-request-id"] = name
        self.monitor.requests.labels(response.status_code).inc()
        self.monitor.seconds.observe(time.perf_counter() - started)
        return response

    async def _answer(self, request: Request, name: str) -> Response:
        account = self.keys.account(request.headers.get("authorization"))
        loaded = self.ready()
        key = idempotency_key(request)
        ask = parse(await read_body(request), loaded.request_model, self.limits)
        units = len(ask.records)
        reserve = Reserve(account.id, name, units, self.price, key, ask.digest)
        if key is None:
            return await self._charge(request, loaded, reserve, ask)
        # A duplicate that comes while the first one runs waits, and then finds the stored answer.
        while (first := self._running.get((account.id, key))) is not None:
            await first.wait()
        self._running[account.id, key] = done = asyncio.Event()
        try:
            return await self._charge(request, loaded, reserve, ask)
        finally:
            del self._running[account.id, key]
            done.set()

    async def _charge(
        self, request: Request, loaded: Loaded, reserve: Reserve, ask: Ask
    ) -> Response:
        with loaded.batcher.place(reserve.units) as place:
            try:
                stored = await self.meter.reserve(reserve)
                if stored is not None:
                    self.monitor.replayed.inc()
                    return _json(stored, {"idempotency-replayed": "true"})
                answers = await _unless_gone(request, place.answer(ask.records))
                body = self._body(loaded, reserve, answers)
                sent = await self.meter.settle(Settle(reserve, len(answers), body))
            except BaseException:
                self.meter.void(reserve)
                raise
        self.monitor.units.inc(reserve.units)
        return _json(sent)

    def _body(self, loaded: Loaded, reserve: Reserve, answers: list[Answer]) -> bytes:
        cost = round_half_even(charge(len(answers), self.price.micros_per_million))
        usage = {"units": len(answers), "cost_micros": cost, "currency": self.price.currency}
        content = {
            "id": reserve.request,
            "model": loaded.variant,
            "predictions": answers,
            "usage": usage,
        }
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()

    def _refuse(self, error: RefusedError) -> Response:
        self.monitor.refused.labels(error.code).inc()
        return Refusal(error)


async def _unless_gone(request: Request, work: Awaitable[list[Answer]]) -> list[Answer]:
    """Return the work's result; cancel it and raise RefusedError when the client hangs up first."""
    job = asyncio.ensure_future(work)
    gone = asyncio.create_task(_hang_up(request))
    try:
        await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        raise RefusedError("the client went away", 499, code="client_gone")
    finally:
        job.cancel()
        gone.cancel()


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, media_type="application/json", headers=headers)


def _frames(error: BaseException) -> str:
    """Say where an error arose; its message is left out, since it may quote what a user sent."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-6:]))
