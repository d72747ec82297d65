"""A ledger in a file of the test, and a service over it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from fake_service import FakeEngine
from serve_house import House, open_house
from sqlalchemy import Engine

from tael.recipe.schema import Serve
from tael.serve.tables import open_database


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def database(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()


Scene = Callable[[House], Awaitable[None]]


@pytest.fixture
def play(database: Engine) -> Callable[..., None]:
    """Run a scene against a service with these limits, engine and budget."""

    def run(
        scene: Scene,
        *,
        limits: Serve | None = None,
        engine: FakeEngine | None = None,
        budget_micros: int | None = None,
    ) -> None:
        async def main() -> None:
            async with asyncio.timeout(20):
                async with open_house(database, limits or Serve(), engine, budget_micros) as house:
                    await scene(house)

        asyncio.run(main())

    return run
