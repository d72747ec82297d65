"""The Pareto frontier of cost and quality, and the choice on it: pure functions of numbers."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from tael.price.floor import Floor

__all__ = ["TIE", "Priced", "Quality", "choose", "keepers", "pareto"]

TIE = 1.2  # seen between two runs of the same linear model: up to 1.2 times


class Quality(BaseModel):
    """One metric on dev with its 95 % interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    value: float
    low: float
    high: float


class Priced(BaseModel):
    """One variant with what was measured; a row of `frontier.json`.

    `cost_per_1000` is None and `throughput` 0 where no load keeps the p95 bound.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    runtime: str
    precision: str
    quality: Quality
    p50_ms: float
    p95_ms: float
    throughput: float
    peak_bytes: int
    bytes: int
    cost_per_1000: float | None
    on_frontier: bool = False


def pareto(rows: Sequence[Priced], floor: Floor) -> set[str]:
    """Return the ids that no other variant beats: none as good is cheaper, none as cheap better.

    A variant without a cost (too slow for the p95 bound at any load) is never among them.
    """
    return {
        row.id
        for row in rows
        if row.cost_per_1000 is not None
        and not any(
            _dominates(other, row.cost_per_1000, row.quality.value, floor) for other in rows
        )
    }


def keepers(
    rows: Sequence[Priced], floor: Floor, *, parent: str, baseline: str | None, p95_ms: float | None
) -> list[Priced]:
    """Return the variants that may be chosen, cheapest first (then best, then by id).

    A keeper keeps the floor against the parent's quality, answers within `p95_ms`, and is not
    below the baseline (where there is one), all on dev. What costs at most `TIE` times the cheapest
    is no dearer: rates of equal models differ by as much from run to run. Among those come first
    the ones above the baseline's interval, best first, then the baseline, the simplest of all, then
    the others.
    """
    by_id = {row.id: row for row in rows}
    base = by_id[parent].quality.value
    simple = by_id[baseline].quality if baseline is not None else None
    kept = [
        (row.cost_per_1000, row)
        for row in rows
        if row.cost_per_1000 is not None
        and (p95_ms is None or row.p95_ms <= p95_ms)
        and floor.keeps(row.quality.value, base)
        and not (simple is not None and floor.better(simple.value, row.quality.value))
    ]
    sign = -1 if floor.higher else 1
    cheapest = min((cost for cost, _ in kept), default=0.0)
    clear = None if simple is None else simple.high if floor.higher else simple.low

    def order(pair: tuple[float, Priced]) -> tuple[int, float, float, str]:
        cost, row = pair
        quality = sign * row.quality.value
        if cost > TIE * cheapest:
            return 3, cost, quality, row.id
        stands_out = clear is None or floor.better(row.quality.value, clear)
        rank = 1 if row.id == baseline else 0 if stands_out else 2
        return rank, quality, cost, row.id

    return [row for _, row in sorted(kept, key=order)]


def choose(
    rows: Sequence[Priced], floor: Floor, *, parent: str, baseline: str | None, p95_ms: float | None
) -> str | None:
    """Return the id of the cheapest variant that may be chosen; None where no variant may."""
    kept = keepers(rows, floor, parent=parent, baseline=baseline, p95_ms=p95_ms)
    return kept[0].id if kept else None


def _dominates(other: Priced, cost: float, quality: float, floor: Floor) -> bool:
    if other.cost_per_1000 is None or other.cost_per_1000 > cost:
        return False
    if floor.better(quality, other.quality.value):
        return False
    return other.cost_per_1000 < cost or floor.better(other.quality.value, quality)
