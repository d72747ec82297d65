"""A service in this process over the fake engine, and a client that speaks to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fake_service import PRICE, FakeEngine
from sqlalchemy import Engine, select

from tael.recipe.schema import Serve
from tael.serve.app import create_app
from tael.serve.keys import Keys, make_key
from tael.serve.meter import Meter
from tael.serve.monitor import Monitor
from tael.serve.predict import Service
from tael.serve.service import open_batches
from tael.serve.tables import ledger


@dataclass
class House:
    """A running service: its client sends the key of the account `first`."""

    client: httpx.AsyncClient
    service: Service
    engine: FakeEngine
    key: str

    async def ask(self, body: Any, **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post("/v1/predict", json=body, headers=names)


@asynccontextmanager
async def open_house(
    database: Engine, limits: Serve, engine: FakeEngine | None, budget_micros: int | None
) -> AsyncIterator[House]:
    key = make_key(database, "first", budget_micros)
    engine = engine or FakeEngine()
    with Meter(database, alone=True) as meter:
        service = Service("fake", limits, PRICE, meter, Keys(database), Monitor())
        async with open_batches(service, engine) as service.loaded:
            transport = httpx.ASGITransport(create_app(service), raise_app_exceptions=True)
            headers = {"authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://tael", headers=headers
            ) as client:
                yield House(client, service, engine, key)


def rows(database: Engine, kind: str | None = None) -> list[Any]:
    """The ledger's rows in order, of one kind or of all."""
    query = select(ledger).order_by(ledger.c.entry)
    with database.begin() as connection:
        return [row for row in connection.execute(query) if kind in (None, row.kind)]
