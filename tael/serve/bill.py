"""What each key used and owes, from the ledger's settlements alone.

One line a key and price; the exact amount is rounded once, per line, half to even, to whole
micros. The total is the sum of the lines, to the micro.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.engine import URL

from tael.machine.money import charge, round_half_even
from tael.serve.tables import accounts, ledger, open_database

__all__ = ["Bill", "Line", "bill", "ledger_url"]


@dataclass(frozen=True, slots=True)
class Line:
    """What one key used at one price."""

    key: str
    requests: int
    units: int
    micros_per_million: int  # price of a million units
    currency: str
    owed_micros: int


@dataclass(frozen=True, slots=True)
class Bill:
    """All lines, by key, and what they add up to in each currency."""

    lines: tuple[Line, ...]
    owed_micros: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and integers."""
        return {"lines": [asdict(line) for line in self.lines], "owed_micros": self.owed_micros}


def ledger_url(run: Path, db: str | None = None) -> str:
    """Return the URL of a run's ledger: `db` where one is given, else `<run>/serve/ledger.db`."""
    if db is not None:
        return db
    path = Path(run).resolve() / "serve" / "ledger.db"
    # Not by joining text: a `?` in a folder's name would begin a query, `%20` would be a space.
    return URL.create("sqlite", database=str(path)).render_as_string()


def bill(db: str) -> Bill:
    """Read the bill from the ledger at the URL `db`, also while a server writes to it.

    Keys that used nothing have no line. Raises RunError where there is no ledger.
    """
    engine = open_database(db, create=False)
    try:
        return _read(engine)
    finally:
        engine.dispose()


def _read(engine: Engine) -> Bill:
    price = accounts.c.name, ledger.c.micros_per_million, ledger.c.currency
    query = (
        select(*price, func.count(), func.sum(ledger.c.units))
        .join(accounts, accounts.c.id == ledger.c.account)
        .where(ledger.c.kind == "settle")
        .group_by(*price)
        .order_by(*price)
    )
    with engine.begin() as connection:
        lines = tuple(
            Line(
                key=name,
                requests=requests,
                units=int(units),
                micros_per_million=micros_per_million,
                currency=currency,
                owed_micros=round_half_even(charge(int(units), micros_per_million)),
            )
            for name, micros_per_million, currency, requests, units in connection.execute(query)
        )
    owed: dict[str, int] = {}
    for line in lines:
        owed[line.currency] = owed.get(line.currency, 0) + line.owed_micros
    return Bill(lines, owed)
