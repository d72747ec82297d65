"""Who may use a ledger: its API keys listed, revoked, and given budgets, also while it is served.

A key itself is nowhere: the ledger has its hash. What is changed here holds from the next request
on, since every reservation reads its account anew.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Engine, func, select, update

from tael.errors import UsageError
from tael.machine.money import micros, round_half_even
from tael.serve.keys import make_key
from tael.serve.ledger import PARTS
from tael.serve.meter import now_micros
from tael.serve.tables import accounts, ledger, open_database

__all__ = ["Holder", "add", "change_budget", "holders", "revoke"]

_MOST = 9 * 10**18  # micros that a column of 64 bits takes


@dataclass(frozen=True, slots=True)
class Holder:
    """One key as its ledger knows it; money in micros of `currency`, times in ISO 8601, UTC."""

    id: int
    name: str
    created: str
    last_used: str | None  # its last request that was let in
    revoked: str | None
    spent_micros: int
    budget_micros: int | None  # the most it may ever spend; None: no limit
    currency: str  # "" before its first request; several, joined by "+", where prices changed

    def to_json(self) -> dict[str, Any]:
        """Return plain strings and integers."""
        return asdict(self)


def holders(db: str) -> list[Holder]:
    """Return the keys of the ledger at the URL `db`, oldest first; RunError where there is none."""
    with _opened(db) as engine, engine.begin() as connection:
        used = _used(connection)
        rows = connection.execute(select(accounts).order_by(accounts.c.id)).all()
    return [_holder(row, *used.get(row.id, (None, ""))) for row in rows]


def add(db: str, name: str, budget: Decimal | None = None) -> str:
    """Make a key called `name` and return it: this is the only time that it can be seen.

    A running server knows it within a second. `budget` is in units of the currency. Raises
    UsageError for a name that is taken or cannot be one, and for an amount that no integer holds.
    """
    limit = _limit(budget)
    with _opened(db) as engine:
        return make_key(engine, name, limit)


def revoke(db: str, name: str) -> None:
    """Let the key called `name` do nothing any more, from its next request on, for good.

    What it used stays on the bill. Raises UsageError for an unknown name and a key that is revoked.
    """
    with _opened(db) as engine, engine.begin() as connection:
        if _find(connection, name).revoked_at is not None:
            raise UsageError(f"key {name!r} is revoked already; `tael key add` makes a new one")
        _change(connection, name, revoked_at=now_micros())


def change_budget(db: str, name: str, budget: Decimal | None) -> None:
    """Set the most that the key called `name` may ever spend, what it spent included.

    None: no limit. Raises UsageError for an unknown name, and for an amount that no integer holds.
    """
    limit = _limit(budget)
    with _opened(db) as engine, engine.begin() as connection:
        _find(connection, name)
        _change(connection, name, budget_micros=limit)


@contextmanager
def _opened(db: str) -> Iterator[Engine]:
    engine = open_database(db, create=False)
    try:
        yield engine
    finally:
        engine.dispose()


def _limit(budget: Decimal | None) -> int | None:
    limit = None if budget is None else micros(budget)
    if limit is not None and not 0 <= limit < _MOST:
        raise UsageError(f"budget {budget} must be from 0, which refuses every request, to 9e12")
    return limit


def _find(connection: Connection, name: str) -> Any:
    rows = connection.execute(select(accounts).order_by(accounts.c.id).with_for_update()).all()
    found = next((row for row in rows if row.name == name), None)
    if found is None:
        there = ", ".join(row.name for row in rows) or "none"
        raise UsageError(f"no key {name!r} in this ledger; it has {there}")
    return found


def _change(connection: Connection, name: str, **values: int | None) -> None:
    connection.execute(update(accounts).where(accounts.c.name == name).values(**values))


def _used(connection: Connection) -> Mapping[int, tuple[int, str]]:
    """Return by account when it last made a reservation, and in which currencies."""
    query = (
        select(ledger.c.account, ledger.c.currency, func.max(ledger.c.at))
        .where(ledger.c.kind == "reserve")
        .group_by(ledger.c.account, ledger.c.currency)
        .order_by(ledger.c.account, ledger.c.currency)
    )
    used: dict[int, tuple[int, str]] = {}
    for account, currency, at in connection.execute(query):
        before, others = used.get(account, (0, ""))
        used[account] = max(before, at), f"{others}+{currency}".lstrip("+")
    return used


def _holder(row: Any, last_used: int | None, currency: str) -> Holder:
    return Holder(
        id=row.id,
        name=row.name,
        created=_time(row.at),
        last_used=None if last_used is None else _time(last_used),
        revoked=None if row.revoked_at is None else _time(row.revoked_at),
        spent_micros=round_half_even(Fraction(int(row.spent_parts), PARTS)),
        budget_micros=row.budget_micros,
        currency=currency,
    )


def _time(at: int) -> str:
    return datetime.fromtimestamp(at // 1_000_000, UTC).isoformat().replace("+00:00", "Z")
