"""Money as integers: millionths ("micros") of a currency unit, exact until an invoice line rounds.

A ledger adds up millions of charges of fractions of a cent; floats would lose them one by one.
"""

from decimal import Decimal
from fractions import Fraction

from tael.errors import UsageError

__all__ = ["charge", "micros", "round_half_even", "show"]

_MILLION = 1_000_000


def micros(amount: Decimal) -> int:
    """Return an amount in micros; raises UsageError for one that is not a whole number of them."""
    if not amount.is_finite() or amount * _MILLION != (whole := int(amount * _MILLION)):
        raise UsageError(f"amount {amount} must be finite, with at most 6 digits after the point")
    return whole


def charge(units: int, micros_per_million: int) -> Fraction:
    """Return what `units` cost in micros, exactly."""
    return Fraction(units * micros_per_million, _MILLION)


def round_half_even(amount: Fraction | int) -> int:
    """Round to whole micros; a half goes to the even neighbour, so that sums do not drift."""
    return round(amount)


def show(micros: int, currency: str) -> str:
    """Return micros for a reader: at least two decimals, no digit lost (`0.000125 USD`)."""
    whole, rest = divmod(abs(micros), _MILLION)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole:,}.{decimals} {currency}"
