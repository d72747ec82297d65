"""Laws of the floor, the frontier and the choice; they hold for any numbers."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tael.errors import UsageError
from tael.price.choice import TIE, Priced, Quality, choose, keepers, pareto
from tael.price.floor import Floor, check_floor, parse_floor
from tael.recipe.schema import Kind

METRICS = ("accuracy", "f1", "mse")
FLOOR = parse_floor("accuracy >= 0.98 * base", METRICS)

# Few different values, so that ties happen all the time.
costs = st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.5, 1.0, 3.0]))
scores = st.sampled_from([0.5, 0.7, 0.79, 0.8, 0.85, 0.9])


def priced(name: str, cost: float | None, score: float, p95_ms: float = 1.0) -> Priced:
    quality = Quality(metric="accuracy", value=score, low=score - 0.02, high=score + 0.02)
    return Priced(
        id=name,
        runtime="torch",
        precision="fp32",
        quality=quality,
        p50_ms=p95_ms / 2,
        p95_ms=p95_ms,
        throughput=0.0 if cost is None else 1 / cost,
        peak_bytes=1,
        bytes=1,
        cost_per_1000=cost,
    )


rows_of = st.lists(
    st.tuples(costs, scores, st.sampled_from([1.0, 5.0, 20.0])), min_size=2, max_size=7
).map(
    lambda rows: [
        priced(name, *row)
        for name, row in zip(("parent", "base", "c", "d", "e", "f", "g"), rows, strict=False)
    ]
)
floors = st.sampled_from(
    [
        FLOOR,
        parse_floor("accuracy >= 0.8", METRICS),
        parse_floor("accuracy >= 1.0 * base", METRICS),
        Floor("accuracy", 1.1, True, higher=False),
    ]
)
bounds = st.sampled_from([None, 0.5, 5.0, 100.0])


def cost(row: Priced) -> float:
    return math.inf if row.cost_per_1000 is None else row.cost_per_1000


def test_a_floor_is_read_and_said_the_same() -> None:
    assert parse_floor("accuracy >= 0.98 * base", METRICS) == Floor("accuracy", 0.98, True)
    assert parse_floor("  f1>=98%*base ", METRICS) == Floor("f1", 0.98, True)
    assert parse_floor("accuracy ≥ .9", METRICS) == Floor("accuracy", 0.9, False)
    assert parse_floor("mse <= 1.02 * base", METRICS) == Floor("mse", 1.02, True, higher=False)
    for text in ("accuracy >= 0.98 * base", "f1 >= 0.9", "mse <= 1.02 * base"):
        assert str(parse_floor(text, METRICS)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acuracy >= 0.9", "did you mean 'accuracy'"),
        ("bleu >= 0.9", "known: accuracy, f1, mse"),
        ("accuracy > 0.9", "accuracy >= 0.98 * base"),
        ("accuracy >= 0.98 * parent", "not a floor"),
        ("accuracy >= high", "not a floor"),
        ("accuracy <= 0.9", "asks for worse models: accuracy is better the higher it is; write"),
        ("mse >= 98% * base", "write `mse <= 98% * base`"),
        ("", "not a floor"),
    ],
)
def test_what_is_not_a_floor_is_refused_with_the_form_to_type(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"price\.floor: ") as refusal:
        parse_floor(text, METRICS)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "good", "other"),
    [("single", "accuracy >= 0.9", "r2 >= 0.1"), ("multi", "f1 >= 0.99 * base", "mse <= 1"),
     ("regression", "mse <= 1.02 * base", "accuracy >= 0.9")],
)  # fmt: skip
def test_each_kind_of_label_has_floors_of_its_own_metrics(
    kind: Kind, good: str, other: str
) -> None:
    recipe: Any = SimpleNamespace(task="classify", data=SimpleNamespace(labels=kind))
    check_floor(good, recipe)
    with pytest.raises(UsageError, match=r"price\.floor: unknown metric .* known: "):
        check_floor(other, recipe)


def test_a_score_exactly_at_the_floor_keeps_it() -> None:
    assert FLOOR.keeps(0.98 * 0.9, 0.9)
    assert FLOOR.keeps(0.882, 0.9)
    assert not FLOOR.keeps(0.8819, 0.9)


@given(base=st.floats(-2, 1), share=st.floats(0.5, 1))
def test_the_parent_keeps_any_share_of_itself_even_below_zero(base: float, share: float) -> None:
    assert Floor("r2", share, True).keeps(base, base)


@given(base=st.floats(0, 5), share=st.floats(1, 2))
def test_an_error_metric_may_grow_to_its_share_and_no_further(base: float, share: float) -> None:
    floor = Floor("mse", share, True, higher=False)
    assert floor.keeps(base, base)
    assert not floor.keeps(share * base + 0.01, base)


@given(rows=rows_of, floor=floors)
def test_nothing_beats_a_variant_on_the_frontier(rows: list[Priced], floor: Floor) -> None:
    front = pareto(rows, floor)
    for row in rows:
        for other in rows:
            cheaper = cost(other) <= cost(row) and not floor.better(
                row.quality.value, other.quality.value
            )
            strictly = cost(other) < cost(row) or floor.better(
                other.quality.value, row.quality.value
            )
            assert not (row.id in front and cheaper and strictly)


@given(rows=rows_of, floor=floors)
def test_whatever_is_off_the_frontier_is_beaten_by_something_on_it(
    rows: list[Priced], floor: Floor
) -> None:
    front = [row for row in rows if row.id in pareto(rows, floor)]
    for row in rows:
        if row not in front and row.cost_per_1000 is not None:
            assert any(
                cost(best) <= cost(row) and not floor.better(row.quality.value, best.quality.value)
                for best in front
            )


@given(rows=rows_of, floor=floors, data=st.data())
def test_the_frontier_does_not_depend_on_the_order(
    rows: list[Priced], floor: Floor, data: st.DataObject
) -> None:
    assert pareto(data.draw(st.permutations(rows)), floor) == pareto(rows, floor)


@given(rows=rows_of, floor=floors, bound=bounds)
def test_the_choice_keeps_floor_and_bound_and_is_not_below_the_baseline(
    rows: list[Priced], floor: Floor, bound: float | None
) -> None:
    chosen = choose(rows, floor, parent="parent", baseline="base", p95_ms=bound)
    by_id = {row.id: row for row in rows}
    if chosen is not None:
        row = by_id[chosen]
        assert floor.keeps(row.quality.value, by_id["parent"].quality.value)
        assert not floor.better(by_id["base"].quality.value, row.quality.value)
        assert bound is None or row.p95_ms <= bound
        assert row.cost_per_1000 is not None


@given(rows=rows_of, floor=floors, bound=bounds)
def test_nothing_that_may_be_chosen_is_clearly_cheaper_than_the_choice(
    rows: list[Priced], floor: Floor, bound: float | None
) -> None:
    chosen = choose(rows, floor, parent="parent", baseline="base", p95_ms=bound)
    by_id = {row.id: row for row in rows}
    base, least = by_id["parent"].quality.value, by_id["base"].quality.value
    for row in rows:
        may = (
            row.cost_per_1000 is not None
            and floor.keeps(row.quality.value, base)
            and not floor.better(least, row.quality.value)
            and (bound is None or row.p95_ms <= bound)
        )
        assert not may or (chosen is not None and cost(by_id[chosen]) <= TIE * cost(row))


@given(rows=rows_of, floor=floors, bound=bounds, data=st.data())
def test_the_choice_does_not_depend_on_the_order(
    rows: list[Priced], floor: Floor, bound: float | None, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))
    settings = {"parent": "parent", "baseline": "base", "p95_ms": bound}
    assert keepers(shuffled, floor, **settings) == keepers(rows, floor, **settings)  # type: ignore[arg-type]


@given(rows=rows_of, floor=floors)
def test_among_equally_cheap_keepers_none_is_clearly_better(
    rows: list[Priced], floor: Floor
) -> None:
    kept = keepers(rows, floor, parent="parent", baseline="base", p95_ms=None)
    interval = next(row for row in rows if row.id == "base").quality
    clear = interval.high if floor.higher else interval.low
    for row in kept[1:]:
        value, best = row.quality.value, kept[0].quality.value
        tied = cost(row) <= TIE * min(map(cost, kept))
        assert not (tied and floor.better(value, clear) and floor.better(value, best))


def test_a_student_as_dear_as_the_baseline_must_be_clearly_better() -> None:
    rows = [priced("parent", 1.0, 0.80), priced("base", 0.10, 0.85), priced("s", 0.09, 0.86)]
    choice = {"parent": "parent", "baseline": "base", "p95_ms": None}
    assert choose(rows, FLOOR, **choice) == "base"  # type: ignore[arg-type]
    better = [*rows[:2], priced("s", 0.10, 0.90)]
    assert choose(better, FLOOR, **choice) == "s"  # type: ignore[arg-type]
    cheaper = [*rows[:2], priced("s", 0.05, 0.86)]
    assert choose(cheaper, FLOOR, **choice) == "s"  # type: ignore[arg-type]


def test_a_cheap_variant_below_the_baseline_is_passed_over() -> None:
    rows = [priced("parent", 1.0, 0.80), priced("base", 0.2, 0.85), priced("student", 0.1, 0.79)]
    assert choose(rows, FLOOR, parent="parent", baseline="base", p95_ms=None) == "base"


def test_nothing_is_chosen_where_nothing_keeps_the_floor() -> None:
    rows = [priced("parent", 1.0, 0.80), priced("base", 0.2, 0.70)]
    high = parse_floor("accuracy >= 0.95", METRICS)
    assert choose(rows, high, parent="parent", baseline="base", p95_ms=None) is None
