"""API keys: 256 random bits, shown once, stored as a SHA-256.

A slow password hash protects what people choose; a key of 256 random bits cannot be guessed from
its SHA-256 in any time, and a fast hash keeps the check off the request's path. The lookup is by
the hash, so its timing tells nothing about the key.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from tael.errors import RefusedError, UsageError
from tael.serve.meter import now_micros
from tael.serve.tables import accounts

__all__ = ["Account", "Keys", "has_key", "make_key"]

RELOAD_SECONDS = 1.0  # an unknown key reads the table at most this often


@dataclass(frozen=True, slots=True)
class Account:
    """Who sends a request and who is billed."""

    id: int
    name: str


def make_key(engine: Engine, name: str, budget_micros: int | None = None) -> str:
    """Make an account called `name` and return its key, which is kept nowhere.

    `budget_micros`: the most this key may ever spend; None sets no limit. Raises UsageError for a
    name that is taken or is not 1 to 100 letters, digits, `.`, `_` or `-`.
    """
    if not re.fullmatch(r"[\w.-]{1,100}", name):
        raise UsageError(f"key name {name!r}: expected 1 to 100 letters, digits, `.`, `_` or `-`")
    if budget_micros is not None and budget_micros < 0:
        raise UsageError(f"key {name!r}: budget {budget_micros} micros must not be negative")
    key = f"tael-{secrets.token_urlsafe(32)}"
    row = {
        "name": name,
        "key_hash": _hash(key),
        "budget_micros": budget_micros,
        "spent_parts": "0",
        "held_parts": "0",
        "at": now_micros(),
    }
    try:
        with engine.begin() as connection:
            connection.execute(insert(accounts), [row])
    except IntegrityError as error:
        raise UsageError(f"key name {name!r} is taken in this ledger; choose another") from error
    return key


def has_key(engine: Engine, name: str) -> bool:
    """Return whether the ledger has an account called `name`."""
    with engine.begin() as connection:
        query = select(accounts.c.id).where(accounts.c.name == name)
        return connection.execute(query).first() is not None


class Keys:
    """Finds the account of an `Authorization` header; keeps the accounts in memory."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the accounts; one that another process adds later is found when it is first used.

        One that is revoked later stays in memory, and the ledger refuses its reservations.
        """
        self._engine = engine
        self._clock = clock
        self._load()

    def account(self, authorization: str | None) -> Account:
        """Return who sends `Authorization: Bearer KEY`; raises RefusedError 401 for anyone else."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise _unauthorized("no API key: send the header `Authorization: Bearer KEY`")
        key_hash = _hash(key.strip())
        if key_hash not in self._accounts and self._clock() - self._loaded >= RELOAD_SECONDS:
            self._load()
        if key_hash not in self._accounts:
            raise _unauthorized("unknown API key; the server showed its key at its first start")
        return self._accounts[key_hash]

    def _load(self) -> None:
        self._loaded = self._clock()
        with self._engine.begin() as connection:
            rows = connection.execute(
                select(accounts.c.key_hash, accounts.c.id, accounts.c.name).where(
                    accounts.c.revoked_at.is_(None)
                )
            )
            self._accounts = {key_hash: Account(id, name) for key_hash, id, name in rows}


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _unauthorized(message: str) -> RefusedError:
    return RefusedError(message, 401, code="invalid_api_key", param="Authorization")
