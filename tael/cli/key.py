"""The verb `key`: who may use a served run, and how much each may spend."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tael.cli.options import Database, Json, ServedRun
from tael.cli.show import show_json, show_lines, show_table
from tael.errors import UsageError

if TYPE_CHECKING:
    from tael.serve.roster import Holder

__all__ = ["app"]

app = typer.Typer(
    help="List, add, revoke API keys and set budgets. A running server heeds it at once.",
    rich_markup_mode=None,
)

KeyName = Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")]


@app.callback(invoke_without_command=True)
def key(context: typer.Context) -> None:
    """List, add, revoke API keys and set budgets. A running server heeds it at once."""
    if context.invoked_subcommand is None:
        show_lines([context.get_help()])
        raise typer.Exit(2)


@app.command("list")
def list_keys(served: ServedRun = None, db: Database = None, as_json: Json = False) -> None:
    """Print every key: name, made, last used, spent, budget. Never the key itself."""
    from tael.serve.roster import holders

    found = holders(_url(served, db, "list"))
    if as_json:
        show_json({"keys": [one.to_json() for one in found]})
    else:
        _show(found)


@app.command()
def add(
    holder: KeyName,
    served: ServedRun = None,
    db: Database = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="The most it may ever spend; default: no limit."),
    ] = None,
) -> None:
    """Make a key and print it, once. A running server knows it within a second."""
    from tael.serve.roster import add as add_key

    made = add_key(
        _url(served, db, f"add {holder}"), holder, None if budget is None else _amount(budget)
    )
    show_lines([f"API key {holder!r}, shown only now: {made}"])


@app.command()
def revoke(holder: KeyName, served: ServedRun = None, db: Database = None) -> None:
    """Refuse a key from its next request on, for good. What it used stays on the bill."""
    from tael.serve.roster import revoke as revoke_key

    revoke_key(_url(served, db, f"revoke {holder}"), holder)
    show_lines([f"revoked {holder}"])


@app.command()
def budget(
    holder: KeyName,
    amount: Annotated[
        str,
        typer.Argument(metavar="AMOUNT", help="The most it may ever spend, such as 20; or none."),
    ],
    served: ServedRun = None,
    db: Database = None,
) -> None:
    """Set the most that a key may ever spend, what it spent included. `none`: no limit."""
    from tael.serve.roster import change_budget

    limit = None if amount == "none" else _amount(amount)
    change_budget(_url(served, db, f"budget {holder} {amount}"), holder, limit)
    show_lines([f"budget of {holder}: {amount}"])


def _url(served: Path | None, db: str | None, what: str) -> str:
    from tael.serve.bill import ledger_url

    if (served is None) == (db is None):
        raise UsageError(f"which ledger? `tael key {what} RUN`, or `tael key {what} --db URL`")
    return ledger_url(served or Path(), db)


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise UsageError(
            f"budget {text!r}: expected an amount of money such as 20 or 0.50"
        ) from None


def _show(found: "Sequence[Holder]") -> None:
    from tael.machine.money import show

    rows = [
        [
            one.name,
            str(one.id),
            one.created,
            one.last_used or "never",
            show(one.spent_micros, one.currency).strip(),
            "none" if one.budget_micros is None else show(one.budget_micros, one.currency).strip(),
            f"revoked {one.revoked}" if one.revoked else "",
        ]
        for one in found
    ]
    show_table(["name", "id", "made", "last used", "spent", "budget", ""], rows)
