"""Keys are listed without their secret; revoked ones stop at once, and budgets hold at once."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fake_service import FakeEngine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_house import House, rows
from sqlalchemy import Engine, inspect, select, text
from test_serve_process import Process

from tael.errors import RunError, UsageError
from tael.serve.bill import bill
from tael.serve.keys import make_key
from tael.serve.ledger import Ledger, Price, Reserve, Settle
from tael.serve.roster import add, change_budget, holders, revoke
from tael.serve.tables import accounts, open_database

Play = Callable[..., None]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service look for a new key at each unknown one, not once a second."""
    monkeypatch.setattr("tael.serve.keys.RELOAD_SECONDS", 0.0)


def codes(responses: list[Any]) -> list[tuple[int, str]]:
    """Return status and code of each response; "" where it was answered."""
    found = [(one.status_code, one.json().get("error", {}).get("code", "")) for one in responses]
    return found


@pytest.mark.usefixtures("at_once")
def test_a_list_tells_all_of_a_key_but_the_key(play: Play, url: str) -> None:
    made = []

    async def scene(house: House) -> None:
        made.extend([house.key, add(url, "shop", Decimal("0.5"))])
        await house.ask({"records": [{"text": "x"}] * 3})
        await house.ask({"text": "x"}, authorization=f"Bearer {made[1]}")

    play(scene)
    first, shop = holders(url)
    assert (first.name, first.spent_micros, first.budget_micros) == ("first", 300, None)
    assert (shop.name, shop.spent_micros, shop.budget_micros) == ("shop", 100, 500_000)
    assert shop.currency == "USD"
    assert shop.revoked is None
    assert first.created <= shop.created <= str(shop.last_used)
    told = json.dumps([one.to_json() for one in (first, shop)])
    for key in made:
        assert key not in told
        assert key.removeprefix("tael-")[:8] not in told
        assert hashlib.sha256(key.encode()).hexdigest() not in told


def test_a_key_that_did_nothing_was_never_used(database: Engine, url: str) -> None:
    make_key(database, "idle", 0)
    (idle,) = holders(url)
    assert (idle.last_used, idle.spent_micros, idle.budget_micros) == (None, 0, 0)


@pytest.mark.usefixtures("at_once")
def test_a_revoked_key_is_refused_at_its_next_request_and_its_neighbour_is_not(
    play: Play, database: Engine, url: str
) -> None:
    async def scene(house: House) -> None:
        other = add(url, "other")
        assert (await house.ask({"text": "x"}, idempotency_key="k")).status_code == 200
        revoke(url, "first")
        refused = [
            await house.ask({"text": "x"}),
            await house.ask({"text": "x"}, idempotency_key="k"),  # no stored answer either
        ]
        assert codes(refused) == [(401, "invalid_api_key")] * 2
        assert "revoked" in refused[0].json()["error"]["message"]
        assert refused[0].headers["www-authenticate"] == "Bearer"
        answered = await house.ask({"text": "x"}, authorization=f"Bearer {other}")
        assert answered.status_code == 200
        assert house.service.ready().batcher.waiting == 0

    play(scene)
    assert len(rows(database, "settle")) == len(rows(database, "reserve")) == 2
    assert [line.key for line in bill(url).lines] == ["first", "other"]


def test_what_was_let_in_before_a_revocation_is_answered_and_charged(
    play: Play, database: Engine, url: str
) -> None:
    async def scene(house: House) -> None:
        asked = asyncio.create_task(house.ask({"text": "x"}))
        while not rows(database, "reserve"):
            await asyncio.sleep(0.005)
        revoke(url, "first")
        assert (await asked).status_code == 200
        assert (await house.ask({"text": "x"})).status_code == 401

    play(scene, engine=FakeEngine(0.2))
    assert len(rows(database, "settle")) == 1


@pytest.mark.usefixtures("at_once")
def test_a_revoked_key_is_unknown_to_a_server_that_starts(play: Play, url: str) -> None:
    made = []

    async def scene(house: House) -> None:
        made.append(add(url, "gone"))
        revoke(url, "gone")
        refused = await house.ask({"text": "x"}, authorization=f"Bearer {made[0]}")
        assert codes([refused]) == [(401, "invalid_api_key")]

    play(scene)


def test_a_budget_holds_from_the_next_request_on(play: Play, url: str) -> None:
    async def scene(house: House) -> None:
        three = {"records": [{"text": "x"}] * 3}  # 300 micros
        assert (await house.ask(three)).status_code == 200
        change_budget(url, "first", Decimal("0.0005"))
        over = await house.ask(three)
        assert codes([over]) == [(402, "budget_exceeded")]
        assert "200 micros USD are left" in over.json()["error"]["message"]
        assert (await house.ask({"records": [{"text": "x"}] * 2})).status_code == 200
        assert (await house.ask({"text": "x"})).status_code == 402
        change_budget(url, "first", Decimal("0.0001"))  # below what it spent
        assert (await house.ask({"text": "x"})).status_code == 402
        change_budget(url, "first", None)
        assert (await house.ask(three)).status_code == 200

    play(scene)
    assert holders(url)[0].spent_micros == 800


def test_wrong_names_and_amounts_are_refused_and_change_nothing(database: Engine, url: str) -> None:
    make_key(database, "a")
    make_key(database, "b")
    before = holders(url)
    for wrong in (
        lambda: revoke(url, "c"),
        lambda: change_budget(url, "c", None),
        lambda: add(url, "a"),
        lambda: add(url, "no spaces"),
        *(
            lambda amount=amount: change_budget(url, "a", Decimal(amount))
            for amount in ("-1", "nan", "inf", "0.0000001", "1e13")
        ),
        lambda: add(url, "d", Decimal(-1)),
    ):
        with pytest.raises(UsageError):
            wrong()  # type: ignore[no-untyped-call]
    assert holders(url) == before
    with pytest.raises(UsageError, match="it has a, b"):
        revoke(url, "c")
    revoke(url, "a")
    with pytest.raises(UsageError, match="revoked already"):
        revoke(url, "a")
    with pytest.raises(UsageError, match="taken"):  # a bill must not mix two holders
        add(url, "a")


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    for act in (holders, lambda db: add(db, "a"), lambda db: revoke(db, "a")):
        with pytest.raises(RunError, match="no ledger yet"):
            act(url)
    assert not (tmp_path / "none.db").exists()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(0, 9), st.integers(0, 10**9)),
        max_size=12,
    )
)
def test_what_a_key_spent_is_what_it_is_billed(tmp_path: Path, work: list[Any]) -> None:
    file = tmp_path / f"{time.monotonic_ns()}.db"
    url = f"sqlite:///{file}"
    database = open_database(url)
    for name in "abc":
        make_key(database, name)
    book = Ledger(database, time.monotonic_ns)
    for number, (account, units, done, price) in enumerate(work):
        asked = Reserve(account + 1, str(number), units, Price(price, "USD"))
        book.apply([asked])
        book.apply([Settle(asked, min(units, done), b"")])
    database.dispose()
    lines = bill(url).lines
    for holder in holders(url):
        exact = sum(one.units * one.micros_per_million for one in lines if one.key == holder.name)
        assert abs(holder.spent_micros - exact / 1e6) <= 0.5


def test_a_ledger_of_version_1_gains_what_it_lacks_and_loses_nothing(url: str) -> None:
    database = open_database(url)
    key = make_key(database, "old", 700)
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE accounts DROP COLUMN revoked_at"))
        connection.execute(text("UPDATE tael_ledger SET version = 1"))
    database.dispose()
    assert [(one.name, one.budget_micros, one.revoked) for one in holders(url)] == [
        ("old", 700, None)
    ]
    revoke(url, "old")
    database = open_database(url)
    with database.begin() as connection:
        assert connection.execute(text("SELECT version FROM tael_ledger")).scalar_one() == 2
        kept = connection.execute(select(accounts.c.key_hash)).scalar_one()
    assert kept == hashlib.sha256(key.encode()).hexdigest()
    names = {column["name"] for column in inspect(database).get_columns("accounts")}
    assert names == {column.name for column in accounts.c}
    database.dispose()


@pytest.mark.slow
def test_another_process_revokes_adds_and_limits_while_the_server_runs(tmp_path: Path) -> None:
    server = Process(tmp_path / "ledger.db")
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    first = server.key
    try:
        assert server.ask({"text": "x"})[0] == 200
        server.key = add(url, "second")
        deadline = time.monotonic() + 5
        while (status := server.ask({"text": "x"})[0]) == 401 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert status == 200
        revoke(url, "second")
        assert server.ask({"text": "x"})[0] == 401
        server.key = first
        change_budget(url, "first", Decimal("0.0002"))
        assert [server.ask({"text": "x"})[0] for _ in range(2)] == [200, 402]
    finally:
        code, _ = server.stop()
    assert code == 0
