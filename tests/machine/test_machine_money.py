"""Money adds up to the micro; tariffs are the formulas they say they are."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tael.errors import UsageError
from tael.machine.money import charge, micros, round_half_even, show
from tael.machine.tariff import cost_per_1000, training_cost


@given(st.lists(st.integers(0, 10**9), max_size=50), st.integers(0, 10**12))
def test_charges_add_up_exactly(units: list[int], price: int) -> None:
    assert sum((charge(one, price) for one in units), Fraction(0)) == charge(sum(units), price)


def test_a_float_would_lose_what_the_charge_keeps() -> None:
    exact = sum((charge(1, 100_000) for _ in range(10)), Fraction(0))
    assert exact == 1
    assert sum(0.1 for _ in range(10)) != 1


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [
        ("1/2", 0),
        ("3/2", 2),
        ("5/2", 2),
        ("-1/2", 0),
        ("-3/2", -2),
        ("7/3", 2),
        ("8/3", 3),
        ("4", 4),
    ],
)
def test_a_half_goes_to_the_even_neighbour(amount: str, rounded: int) -> None:
    assert round_half_even(Fraction(amount)) == rounded


@given(st.integers(-(10**15), 10**15))
def test_shown_money_reads_back_as_the_same_micros(amount: int) -> None:
    text, currency = show(amount, "CNY").split(" ")
    assert currency == "CNY"
    assert micros(Decimal(text.replace(",", ""))) == amount
    assert len(text.partition(".")[2]) >= 2


@pytest.mark.parametrize("amount", ["0.0000001", "NaN", "Infinity"])
def test_an_amount_that_is_no_whole_number_of_micros_is_refused(amount: str) -> None:
    with pytest.raises(UsageError, match="at most 6 digits"):
        micros(Decimal(amount))


def test_a_thousand_requests_cost_their_share_of_the_hour() -> None:
    # 10 a second at half load carry 18,000 an hour: 1,000 are 1/18 of the hour's price.
    assert cost_per_1000(Decimal("0.90"), 10, 0.5) == pytest.approx(0.05)
    assert cost_per_1000(0.90, 20, 0.5) == pytest.approx(0.025)


@pytest.mark.parametrize(("rate", "utilisation"), [(0, 0.5), (-1, 0.5), (1, 0), (1, 1.01)])
def test_a_cost_without_throughput_is_refused(rate: float, utilisation: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        cost_per_1000(1.0, rate, utilisation)


def test_training_costs_its_hours() -> None:
    assert training_cost(1800, Decimal("0.10")) == pytest.approx(0.05)
