"""The ledger and the meter: exact, once, within the budget, whatever the order and the crowd."""

import threading
from collections import Counter
from concurrent.futures import Future
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_house import rows
from sqlalchemy import Engine, delete, select, text, update
from sqlalchemy.exc import DBAPIError

from tael.errors import RefusedError, RunError, UsageError
from tael.serve.bill import bill
from tael.serve.keys import make_key
from tael.serve.ledger import (
    KEY_LIFETIME_MICROS,
    Ledger,
    Operation,
    Outcome,
    Price,
    Reserve,
    Settle,
    Void,
)
from tael.serve.meter import Meter
from tael.serve.service import price_per_unit
from tael.serve.tables import accounts, ledger, open_database

PRICE = Price(100_000_000, "USD")  # 100 micros a unit


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


def reserve(request: str, units: int = 1, key: str | None = None, body: str = "b") -> Reserve:
    return Reserve(1, request, units, PRICE, key, body)


def balance(database: Engine) -> tuple[int, int]:
    with database.begin() as connection:
        spent, held = connection.execute(
            select(accounts.c.spent_parts, accounts.c.held_parts)
        ).one()
    return int(spent), int(held)


def refused(outcome: Outcome) -> int:
    assert isinstance(outcome, RefusedError)
    return outcome.status


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(database: Engine, clock: Clock) -> Ledger:
    make_key(database, "first", budget_micros=1000)
    return Ledger(database, clock)


def test_a_request_is_held_first_and_charged_once_for_what_was_delivered(
    book: Ledger, database: Engine
) -> None:
    asked = reserve("r", units=3)
    assert book.apply([asked]) == [None]
    assert balance(database) == (0, 3 * 100_000_000)
    assert book.apply([Settle(asked, 2, b"answer")]) == [b"answer"]
    assert balance(database) == (2 * 100_000_000, 0)
    assert [(row.kind, row.units) for row in rows(database)] == [("reserve", 3), ("settle", 2)]


def test_a_void_frees_what_was_held_and_charges_nothing(book: Ledger, database: Engine) -> None:
    asked = reserve("r", units=10)
    book.apply([asked, Void(asked), Void(asked)])
    assert balance(database) == (0, 0)
    assert book.apply([reserve("next", units=10)]) == [None]
    assert Counter(row.kind for row in rows(database)) == {"reserve": 2, "void": 1}


def test_a_reservation_over_the_budget_is_refused_and_its_neighbours_are_not(
    book: Ledger, database: Engine
) -> None:
    group: list[Operation] = [reserve("a", 6), reserve("b", 5), reserve("c", 4)]
    first, second, third = book.apply(group)
    assert (first, third) == (None, None)
    assert refused(second) == 402
    assert "400 micros USD" in str(second)
    assert [row.request for row in rows(database)] == ["a", "c"]


def test_a_key_replays_its_answer_and_is_charged_once(book: Ledger, database: Engine) -> None:
    asked = reserve("r", key="k")
    book.apply([asked])
    book.apply([Settle(asked, 1, b"answer")])
    again, other = book.apply([reserve("s", key="k"), reserve("t", key="k", body="else")])
    assert again == b"answer"
    assert refused(other) == 409
    assert len(rows(database, "settle")) == 1
    assert balance(database) == (100_000_000, 0)


def test_of_two_that_worked_for_the_same_key_one_is_charged_and_both_answer_alike(
    book: Ledger, database: Engine, clock: Clock
) -> None:
    other_server = Ledger(database, clock)
    mine, theirs = reserve("mine", key="k"), reserve("theirs", key="k")
    book.apply([mine])
    other_server.apply([theirs])
    assert other_server.apply([Settle(theirs, 1, b"theirs")]) == [b"theirs"]
    assert book.apply([Settle(mine, 1, b"mine")]) == [b"theirs"]
    assert [row.request for row in rows(database, "settle")] == ["theirs"]
    assert balance(database) == (100_000_000, 0)


def test_a_key_may_be_used_anew_after_a_day(book: Ledger, database: Engine, clock: Clock) -> None:
    old = reserve("old", key="k")
    book.apply([old, Settle(old, 1, b"old")])
    clock.now += KEY_LIFETIME_MICROS + 1
    new = reserve("new", key="k", body="another")
    assert book.apply([new, Settle(new, 1, b"new")]) == [None, b"new"]
    assert len(rows(database, "settle")) == 2
    book.forget_old_answers()
    assert book.apply([reserve("third", key="k", body="another")]) == [b"new"]


def test_a_dead_servers_reservations_are_void_and_its_settlements_stay(
    book: Ledger, database: Engine, clock: Clock
) -> None:
    done, open_one = reserve("done", 2), reserve("open", 8)
    book.apply([done, open_one, Settle(done, 2, b"")])
    clock.now += 10
    revived = Ledger(database, clock)
    assert revived.recover(older_than_micros=60) == 0  # may be another live server's
    assert balance(database) == (200_000_000, 800_000_000)
    assert revived.recover() == 1
    assert balance(database) == (200_000_000, 0)
    assert revived.recover() == 0
    assert [row.kind for row in rows(database)] == ["reserve", "reserve", "settle", "void"]


def test_balances_that_went_wrong_are_made_anew_from_the_ledger(
    book: Ledger, database: Engine
) -> None:
    asked = reserve("r", 3)
    book.apply([asked, Settle(asked, 3, b"")])
    with database.begin() as connection:
        connection.execute(update(accounts).values(spent_parts="77", held_parts="5"))
    book.recover()
    assert balance(database) == (300_000_000, 0)


def test_the_ledger_cannot_be_changed_even_by_sql(book: Ledger, database: Engine) -> None:
    book.apply([reserve("r")])
    for change in (delete(ledger), update(ledger).values(units=0)):
        with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
            connection.execute(change)


def test_a_settlement_needs_its_reservation(book: Ledger) -> None:
    with pytest.raises(RuntimeError, match="without an open reservation"):
        book.apply([Settle(reserve("never"), 1, b"")])
    asked = reserve("r", 1)
    with pytest.raises(RuntimeError, match="above its reservation"):
        book.apply([asked, Settle(asked, 2, b"")])


def test_a_group_that_fails_leaves_no_trace(book: Ledger, database: Engine) -> None:
    asked = reserve("r")
    with pytest.raises(RuntimeError):
        book.apply([asked, Settle(reserve("never"), 1, b"")])
    assert rows(database) == []
    assert book.apply([asked, Settle(asked, 1, b"ok")]) == [None, b"ok"]


STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["settle", "void", "leave"]), st.integers(0, 3)),
    max_size=25,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS, budget=st.integers(0, 2000), cut=st.integers(1, 5))
def test_balances_and_bill_always_equal_the_ledger(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, str, int]],
    budget: int,
    cut: int,
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('property') / 'ledger.db'}"
    database = open_database(url)
    make_key(database, "first", budget)
    book, group = Ledger(database, Clock()), []
    for number, (units, end, key) in enumerate(steps):
        asked = reserve(f"r{number}", units, f"k{key}" if key else None)
        group.append(asked)
        if len(group) >= cut:
            outcomes = book.apply(group)
            held = [one for one, out in zip(group, outcomes, strict=True) if out is None]
            ends = {"settle": [Settle(one, one.units, b"") for one in held], "void": []}
            ends["void"] = [Void(one) for one in held]
            book.apply(ends.get(end, []))
            group = []
    settled = sum(row.units for row in rows(database, "settle"))
    spent, held_parts = balance(database)
    assert spent == settled * PRICE.micros_per_million
    assert spent + held_parts <= budget * 1_000_000
    assert sum(bill(url).owed_micros.values()) * 1_000_000 == spent
    book.recover()
    assert balance(database) == (spent, 0)
    database.dispose()


@pytest.mark.parametrize("threads", [8])
def test_spending_never_exceeds_the_budget_with_many_threads(
    database: Engine, threads: int
) -> None:
    make_key(database, "first", budget_micros=5000)  # 50 units
    outcomes: list[Outcome] = []
    with Meter(database, alone=True) as meter:

        def spend(number: int) -> None:
            for turn in range(12):
                asked = reserve(f"{number}-{turn}")
                outcome = meter.submit(asked).result()
                outcomes.append(outcome)
                if outcome is None:
                    meter.submit(Settle(asked, 1, b"")).result()
                spent, held = balance(database)
                assert spent + held <= 5000 * 1_000_000

        crowd = [threading.Thread(target=spend, args=(n,)) for n in range(threads)]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
    assert Counter(outcome is None for outcome in outcomes) == {True: 50, False: threads * 12 - 50}
    assert balance(database) == (5000 * 1_000_000, 0)


def test_what_queues_during_a_commit_goes_into_the_next_one(database: Engine) -> None:
    make_key(database, "first")
    sizes: list[int] = []
    with Meter(database, alone=True) as meter:
        inner = meter._ledger.apply
        started, go_on = threading.Event(), threading.Event()

        def apply(operations: list[Operation]) -> list[Outcome]:
            sizes.append(len(operations))
            started.set()
            go_on.wait(10)
            return inner(operations)

        meter._ledger.apply = apply  # type: ignore[method-assign,assignment]
        futures: list[Future[Outcome]] = [meter.submit(reserve("r0"))]
        started.wait(10)
        futures += [meter.submit(reserve(f"r{n}")) for n in range(1, 20)]
        go_on.set()
        assert [future.result(10) for future in futures] == [None] * 20
    assert sizes == [1, 19]


def test_a_ledger_that_cannot_be_written_refuses_and_recovers(database: Engine) -> None:
    make_key(database, "first")
    with Meter(database, alone=True) as meter:
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE ledger RENAME TO elsewhere"))
        assert refused(meter.submit(reserve("a")).result(10)) == 503
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO ledger"))
        assert meter.submit(reserve("b")).result(10) is None


def test_a_bill_rounds_once_a_line_half_to_even_and_its_lines_add_up(
    database: Engine, url: str
) -> None:
    for name in ("a", "b", "c"):
        make_key(database, name)
    book = Ledger(database, Clock())
    half = Price(500_000, "USD")  # half a micro a unit
    for account, units in ((1, 1), (2, 3), (3, 5)):
        for number in range(units):
            asked = Reserve(account, f"{account}-{number}", 1, half)
            book.apply([asked, Settle(asked, 1, b"")])
    other = Reserve(1, "yuan", 7, Price(2_000_000, "CNY"))
    book.apply([other, Settle(other, 7, b""), Reserve(2, "open", 9, half)])
    found = bill(url)
    assert [(line.key, line.currency, line.requests, line.units) for line in found.lines] == [
        ("a", "USD", 1, 1),
        ("a", "CNY", 1, 7),
        ("b", "USD", 3, 3),
        ("c", "USD", 5, 5),
    ]
    assert [line.owed_micros for line in found.lines] == [0, 14, 2, 2]  # 0.5, 14, 1.5, 2.5
    assert found.owed_micros == {"USD": 4, "CNY": 14}


def test_money_beyond_64_bits_is_exact(database: Engine, url: str) -> None:
    make_key(database, "first", budget_micros=2**62)
    book = Ledger(database, Clock())
    dear = Price(10**12, "VND")
    for number in range(3):
        asked = Reserve(1, f"r{number}", 9_000_000_007, dear)
        assert book.apply([asked, Settle(asked, 9_000_000_007, b"")]) == [None, b""]
    assert bill(url).owed_micros == {"VND": 3 * 9_000_000_007 * 10**6}
    book.recover()
    assert balance(database)[0] == 3 * 9_000_000_007 * 10**12


def test_prices_are_whole_micros_per_million() -> None:
    assert price_per_unit(Decimal("0.10"), "USD") == PRICE
    assert price_per_unit(Decimal("0.000000001"), "USD") == Price(1, "USD")
    with pytest.raises(UsageError, match="nine decimals"):
        price_per_unit(Decimal("0.0000000001"), "USD")


def test_a_bill_without_a_ledger_says_how_to_get_one(url: str) -> None:
    with pytest.raises(RunError, match="tael serve"):
        bill(url)


@pytest.mark.parametrize("wrong", ["nonsense", "sqlite://", "martian://x/y"])
def test_an_url_that_cannot_be_opened_is_a_usage_error(wrong: str) -> None:
    with pytest.raises(UsageError, match="--db"):
        open_database(wrong)


def test_a_ledger_of_another_version_is_refused(database: Engine, url: str) -> None:
    with database.begin() as connection:
        connection.execute(text("UPDATE tael_ledger SET version = 99"))
    with pytest.raises(RunError, match="version 99"):
        open_database(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: object) -> None:
    file = f"{tmp_path}/text.db"
    with open(file, "w") as out:
        out.write("this is not a database" * 100)
    with pytest.raises(RunError, match="cannot be opened"):
        open_database(f"sqlite:///{file}")
