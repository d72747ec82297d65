"""The ledger's tables and how a database is opened: SQLite by default, any other by its URL.

Money is kept as whole numbers only: units × an integer price per million units is exact in
millionths of a micro ("parts"). Running sums of parts outgrow 64 bits (9.2 million dollars are
2**63 parts), so `accounts` keeps them as decimal text; the ledger itself needs no such number.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from tael.errors import RunError, UsageError

__all__ = ["accounts", "answers", "ledger", "open_database", "sqlite_file"]

VERSION = 2
_metadata = MetaData()
_Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only in INTEGER

accounts = Table(
    "accounts",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("key_hash", String(64), nullable=False, unique=True),
    Column("budget_micros", BigInteger),  # null: no limit
    Column("spent_parts", String(40), nullable=False),  # follows from the ledger
    Column("held_parts", String(40), nullable=False),  # reserved and still open
    Column("at", BigInteger, nullable=False),  # all times: microseconds since 1970, UTC
    Column("revoked_at", BigInteger),  # null: the key may be used
)

# Append-only: what was reserved before work, and how each reservation ended.
ledger = Table(
    "ledger",
    _metadata,
    Column("entry", _Serial, primary_key=True),
    Column("kind", String(8), nullable=False),  # reserve, settle, void
    Column("closes", Boolean, nullable=False),  # false for reserve, true for the others
    Column("account", Integer, nullable=False, index=True),
    Column("request", String(32), nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("micros_per_million", BigInteger, nullable=False),
    Column("currency", String(8), nullable=False),
    Column("idempotency_key", String(255)),
    Column("at", BigInteger, nullable=False),
    UniqueConstraint("request", "closes"),  # a reservation ends once, whatever the code does
)

# What an idempotency key replays. Not part of the ledger: may be deleted when it is old.
answers = Table(
    "answers",
    _metadata,
    Column("account", Integer, primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
)

_version = Table("tael_ledger", _metadata, Column("version", Integer, primary_key=True))

for _change in ("UPDATE", "DELETE"):
    event.listen(
        ledger,
        "after_create",
        DDL(  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its signature open
            f"CREATE TRIGGER ledger_refuses_{_change.lower()} BEFORE {_change} ON ledger "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        ).execute_if(dialect="sqlite"),
    )


def open_database(url: str, *, create: bool = True) -> Engine:
    """Open the ledger at `url`, making its tables where there are none and `create` is true.

    A ledger of version 1 is brought to this one, which only adds to it. Raises UsageError for an
    URL that cannot be understood, RunError where there is no ledger, where
    it cannot be reached, or where another version of tael made it.
    """
    file = sqlite_file(url)
    if file is not None:
        _make_private(file, create)
    parsed = make_url(url)
    try:
        engine = create_engine(parsed, **_options(parsed))
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise _wrong_url(url, error) from error
    if file is not None:
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _lock_sqlite)
    try:
        with engine.begin() as connection:
            _check_version(connection, create, parsed)
    except DBAPIError as error:
        engine.dispose()
        raise RunError(
            f"{parsed!r}: the ledger cannot be opened: {_first_line(error.orig)}"
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite URL; None for any other database; UsageError for no URL."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return None
    except (ArgumentError, ValueError) as error:
        raise _wrong_url(url, error) from error
    if not parsed.database or parsed.database == ":memory:":
        raise _wrong_url(url, "a ledger in memory would lose every request; name a file")
    return Path(parsed.database)


def _wrong_url(url: str, reason: object) -> UsageError:
    return UsageError(
        f"--db {url.rpartition('@')[2]!r}: {_first_line(reason)}; expected an SQLAlchemy URL such "
        "as sqlite:///ledger.db or postgresql+psycopg://user@host/name"
    )


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": 30, "check_same_thread": False}}
    return {"pool_pre_ping": True}


def _make_private(file: Path, create: bool) -> None:
    if not file.exists():
        if not create:
            raise RunError(f"{file}: no ledger yet; `tael serve` makes it at its first start")
        file.parent.mkdir(parents=True, exist_ok=True)
        # Only the owner may read it; SQLite gives its own side files the same rights.
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))


def _tune_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = (
        None  # transactions begin in _lock_sqlite, not where Python guesses
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns


def _lock_sqlite(connection: Connection) -> None:
    # Readers that write later would meet SQLITE_BUSY in the middle; taking the lock first waits.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _check_version(connection: Connection, create: bool, url: URL) -> None:
    names = inspect(connection).get_table_names()
    if _version.name not in names:
        if not create:
            raise RunError(f"{url!r}: no ledger in this database; `tael serve` makes it")
        _metadata.create_all(connection)
        connection.execute(insert(_version).values(version=VERSION))
        return
    found = connection.execute(select(_version.c.version)).scalar_one_or_none()
    if found == 1:
        connection.exec_driver_sql("ALTER TABLE accounts ADD COLUMN revoked_at BIGINT")
        connection.execute(update(_version).values(version=VERSION))
        return
    if found != VERSION:
        raise RunError(
            f"{url!r}: the ledger has version {found}, this tael reads version {VERSION}; "
            "use the tael that made it"
        )


def _first_line(error: object) -> str:
    return str(error).partition("\n")[0]
