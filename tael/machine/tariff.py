"""What work costs on a machine with an hourly price: the formulas, and nothing measured."""

from decimal import Decimal

from tael.errors import UsageError

__all__ = ["cost_per_1000", "training_cost"]


def cost_per_1000(
    price_per_hour: Decimal | float, requests_per_second: float, utilisation: float
) -> float:
    """Return the cost of 1,000 requests, in the currency of `price_per_hour`.

    A machine that sustains `requests_per_second` carries that times `utilisation` on average; an
    hour has 3,600 seconds, so 1,000 requests take 1 / 3.6 / rate of an hour's price. Raises
    UsageError unless rate and utilisation are above 0 and utilisation is at most 1.
    """
    if not requests_per_second > 0 or not 0 < utilisation <= 1:
        raise UsageError(
            f"a cost needs requests per second above 0 and a utilisation in (0, 1]; "
            f"found {requests_per_second} and {utilisation}"
        )
    return float(price_per_hour) / 3.6 / requests_per_second / utilisation


def training_cost(seconds: float, price_per_hour: Decimal | float) -> float:
    """Return what `seconds` of this machine cost, in the currency of `price_per_hour`."""
    return float(price_per_hour) * seconds / 3600
