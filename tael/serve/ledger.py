"""The ledger: what is reserved, settled and voided, many operations in one transaction.

Every operation sees those before it, in its own group too. An outcome is a value, never an
exception, so that one refused reservation does not undo its neighbours' charges. The caller
(`meter.py`) is one thread; other processes may write to the same database, and rows of `accounts`
are locked while a group is decided, so a budget holds and a key is charged once among them all.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import (
    Connection,
    Engine,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)

from tael.errors import RefusedError
from tael.serve.tables import accounts, answers, ledger

__all__ = [
    "KEY_LIFETIME_MICROS",
    "PARTS",
    "Ledger",
    "Operation",
    "Outcome",
    "Price",
    "Reserve",
    "Settle",
    "Void",
]

PARTS = 1_000_000  # parts in a micro: units × micros per million units are whole parts
KEY_LIFETIME_MICROS = 24 * 3600 * 1_000_000  # how long an idempotency key replays


@dataclass(frozen=True, slots=True)
class Price:
    """What a million units cost, in micros of a currency."""

    micros_per_million: int
    currency: str


@dataclass(frozen=True, slots=True)
class Reserve:
    """Hold the worst case of a request before any work is done for it."""

    account: int
    request: str
    units: int
    price: Price
    idempotency_key: str | None = None
    body_hash: str = ""

    @property
    def parts(self) -> int:
        """The worst case in parts."""
        return self.units * self.price.micros_per_million


@dataclass(frozen=True, slots=True)
class Settle:
    """Charge what was delivered, and keep the answer that its idempotency key will replay."""

    reserve: Reserve
    units: int
    answer: bytes


@dataclass(frozen=True, slots=True)
class Void:
    """End a reservation without a charge."""

    reserve: Reserve


Operation = Reserve | Settle | Void
# Of Reserve: None, the stored answer to replay, or a refusal. Of Settle: the answer to send.
Outcome = bytes | None | RefusedError
_Key = tuple[int, str]


@dataclass(slots=True)
class _Balance:
    budget_micros: int | None
    spent: int  # parts
    held: int  # parts
    revoked: bool

    def allows(self, parts: int) -> bool:
        return (
            self.budget_micros is None
            or self.spent + self.held + parts <= self.budget_micros * PARTS
        )


class Ledger:
    """Applies groups of operations to the database, each group in one durable transaction."""

    def __init__(self, engine: Engine, clock: Callable[[], int]) -> None:
        """Write through `engine`; `clock` gives microseconds since 1970."""
        self._engine = engine
        self._clock = clock
        self._sqlite = engine.dialect.name == "sqlite"
        self._open: set[str] = set()  # requests whose reservation this process holds

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Apply a group and return one outcome an operation; raises when nothing was committed."""
        with self._engine.connect() as connection:
            if self._sqlite:
                # A reservation without a settlement is void after a crash, so a group that only
                # reserves or voids need not wait for the disk. A settlement always does.
                settles = any(isinstance(one, Settle) for one in operations)
                connection.connection.execute(
                    f"PRAGMA synchronous = {'FULL' if settles else 'NORMAL'}"
                )
            with connection.begin():
                group = _Group.begin(connection, operations, set(self._open), self._clock())
                outcomes = [group.decide(one) for one in operations]
                group.write(connection)
        self._open = group.open
        return outcomes

    def recover(self, older_than_micros: int = 0) -> int:
        """Void the reservations that a dead server left, and make every balance anew.

        Reservations younger than `older_than_micros` are left alone: they may be another live
        server's. Returns how many were voided.
        """
        with self._engine.begin() as connection:
            now = self._clock()
            connection.execute(select(accounts.c.id).with_for_update()).all()
            voided = _void_open(connection, now - older_than_micros, now)
            spent, held = _sums(connection, _settled()), _sums(connection, _unclosed())
            for (account,) in connection.execute(select(accounts.c.id)).all():
                connection.execute(
                    update(accounts)
                    .where(accounts.c.id == account)
                    .values(
                        spent_parts=str(spent.get(account, 0)), held_parts=str(held.get(account, 0))
                    )
                )
        return voided

    def forget_old_answers(self) -> None:
        """Delete the stored answers whose idempotency key has run out; no ledger row is touched."""
        with self._engine.begin() as connection:
            oldest = self._clock() - KEY_LIFETIME_MICROS
            connection.execute(delete(answers).where(answers.c.at < oldest))


@dataclass(slots=True)
class _Group:
    """One transaction in the making: what is known, and the rows that will be written."""

    balances: dict[int, _Balance]
    stored: dict[_Key, tuple[str, bytes]]  # (body hash, answer) by account and idempotency key
    open: set[str]
    now: int
    entries: list[dict[str, Any]] = field(default_factory=list)
    fresh: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def begin(
        cls, connection: Connection, operations: Sequence[Operation], opened: set[str], now: int
    ) -> "_Group":
        reserves = [_reserve(one) for one in operations]
        balances = _lock_balances(connection, sorted({one.account for one in reserves}))
        keys = {(one.account, one.idempotency_key) for one in reserves if one.idempotency_key}
        return cls(balances, _stored(connection, keys, now), opened, now)

    def decide(self, operation: Operation) -> Outcome:
        if isinstance(operation, Reserve):
            return self._hold(operation)
        if operation.reserve.request not in self.open:
            if isinstance(operation, Void):
                return None  # was refused, replayed, or is closed already
            raise RuntimeError("a settlement without an open reservation")
        if isinstance(operation, Void):
            self._close(operation.reserve, "void", 0)
            return None
        return self._charge(operation)

    def _hold(self, reserve: Reserve) -> Outcome:
        if self.balances[reserve.account].revoked:
            return _revoked()
        known = self._known(reserve)
        if known is not None:
            body_hash, answer = known
            return answer if body_hash == reserve.body_hash else _other_body()
        balance = self.balances[reserve.account]
        if not balance.allows(reserve.parts):
            return _over_budget(reserve, balance)
        balance.held += reserve.parts
        self.open.add(reserve.request)
        self._enter(reserve, "reserve", reserve.units)
        return None

    def _charge(self, settle: Settle) -> Outcome:
        reserve = settle.reserve
        if settle.units > reserve.units:
            raise RuntimeError("a settlement above its reservation")
        known = self._known(reserve)
        if known is not None:  # another server was faster with the same idempotency key
            self._close(reserve, "void", 0)
            return known[1]
        self._close(reserve, "settle", settle.units)
        self.balances[reserve.account].spent += settle.units * reserve.price.micros_per_million
        if reserve.idempotency_key is not None:
            self.stored[reserve.account, reserve.idempotency_key] = reserve.body_hash, settle.answer
            self.fresh.append(
                {
                    "account": reserve.account,
                    "idempotency_key": reserve.idempotency_key,
                    "body_hash": reserve.body_hash,
                    "answer": settle.answer,
                    "at": self.now,
                }
            )
        return settle.answer

    def _known(self, reserve: Reserve) -> tuple[str, bytes] | None:
        if reserve.idempotency_key is None:
            return None
        return self.stored.get((reserve.account, reserve.idempotency_key))

    def _close(self, reserve: Reserve, kind: Literal["settle", "void"], units: int) -> None:
        self.open.discard(reserve.request)
        self.balances[reserve.account].held -= reserve.parts
        self._enter(reserve, kind, units)

    def _enter(self, reserve: Reserve, kind: str, units: int) -> None:
        self.entries.append(
            {
                "kind": kind,
                "closes": kind != "reserve",
                "account": reserve.account,
                "request": reserve.request,
                "units": units,
                "micros_per_million": reserve.price.micros_per_million,
                "currency": reserve.price.currency,
                "idempotency_key": reserve.idempotency_key,
                "at": self.now,
            }
        )

    def write(self, connection: Connection) -> None:
        if self.entries:
            connection.execute(insert(ledger), self.entries)
            connection.execute(
                _NEW_BALANCE,
                [
                    {"of": account, "spent": str(balance.spent), "held": str(balance.held)}
                    for account, balance in self.balances.items()
                ],
            )
        if self.fresh:
            # A key that has run out may be used again before its old answer was deleted.
            keys = [(row["account"], row["idempotency_key"]) for row in self.fresh]
            connection.execute(delete(answers).where(_is_among(keys)))
            connection.execute(insert(answers), self.fresh)


_NEW_BALANCE = (
    update(accounts)
    .where(accounts.c.id == bindparam("of"))
    .values(spent_parts=bindparam("spent"), held_parts=bindparam("held"))
)


def _reserve(operation: Operation) -> Reserve:
    return operation if isinstance(operation, Reserve) else operation.reserve


# In the order of ids, so that two servers never wait for each other.
_BALANCES = (
    select(
        accounts.c.id,
        accounts.c.budget_micros,
        accounts.c.spent_parts,
        accounts.c.held_parts,
        accounts.c.revoked_at,
    )
    .where(accounts.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(accounts.c.id)
    .with_for_update()
)


def _lock_balances(connection: Connection, ids: Sequence[int]) -> dict[int, _Balance]:
    return {
        account: _Balance(budget, int(spent), int(held), revoked_at is not None)
        for account, budget, spent, held, revoked_at in connection.execute(_BALANCES, {"ids": ids})
    }


def _stored(
    connection: Connection, keys: Iterable[_Key], now: int
) -> dict[_Key, tuple[str, bytes]]:
    keys = list(keys)
    if not keys:
        return {}
    query = select(answers).where(_is_among(keys), answers.c.at >= now - KEY_LIFETIME_MICROS)
    return {
        (row.account, row.idempotency_key): (row.body_hash, row.answer)
        for row in connection.execute(query)
    }


def _is_among(keys: Sequence[_Key]) -> Any:
    return tuple_(answers.c.account, answers.c.idempotency_key).in_(keys)


def _settled() -> Any:
    return ledger.c.kind == "settle"


def _unclosed() -> Any:
    closing = ledger.alias("closing")
    closed = exists().where(closing.c.request == ledger.c.request, closing.c.closes)
    return (ledger.c.kind == "reserve") & ~closed


def _void_open(connection: Connection, before: int, now: int) -> int:
    columns = [column for column in ledger.c if column.name != "entry"]
    changed: dict[str, Any] = {
        "kind": literal("void"),
        "closes": literal(True),
        "units": literal(0),
        "at": literal(now),
    }
    values: list[Any] = [changed.get(column.name, column) for column in columns]
    query = select(*values).where(_unclosed(), ledger.c.at <= before)
    return connection.execute(
        insert(ledger).from_select([column.name for column in columns], query)
    ).rowcount


def _sums(connection: Connection, which: Any) -> dict[int, int]:
    price = ledger.c.micros_per_million
    query = (
        select(ledger.c.account, price, func.sum(ledger.c.units))
        .where(which)
        .group_by(ledger.c.account, price)
    )
    parts: dict[int, int] = {}
    for account, micros_per_million, units in connection.execute(query):
        parts[account] = parts.get(account, 0) + int(units) * micros_per_million
    return parts


def _revoked() -> RefusedError:
    return RefusedError(
        "this API key was revoked; ask whoever runs the service for another",
        401,
        code="invalid_api_key",
        param="Authorization",
    )


def _other_body() -> RefusedError:
    return RefusedError(
        "this Idempotency-Key was used with another body; take a new key for a new request",
        409,
        code="idempotency_key_reused",
        param="Idempotency-Key",
    )


def _over_budget(reserve: Reserve, balance: _Balance) -> RefusedError:
    left = (balance.budget_micros or 0) - -(-(balance.spent + balance.held) // PARTS)
    return RefusedError(
        f"the budget of this key is used up: {left} micros {reserve.price.currency} are left and "
        f"free, this request may cost {-(-reserve.parts // PARTS)}",
        402,
        code="budget_exceeded",
    )
