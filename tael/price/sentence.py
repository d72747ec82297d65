"""The result of pricing in one sentence that needs no other page to be understood."""

from collections.abc import Sequence

from tael.compress.manifest import BASELINE, PARENT
from tael.page.text import table_lines
from tael.price.choice import Priced
from tael.price.confirm import Proof
from tael.price.decision import Decision
from tael.price.floor import Floor
from tael.recipe.schema import Recipe

__all__ = ["NAMES", "money", "overview", "sentence"]

NAMES = {
    PARENT: "the full model",
    "torch-bf16": "the bfloat16 model",
    "onnx-fp32": "the ONNX model",
    "onnx-int8": "the int8 ONNX model",
    "linear-student": "the linear student",
    BASELINE: "the plain TF-IDF baseline",
}


def sentence(rows: Sequence[Priced], floor: Floor, decision: Decision, recipe: Recipe) -> str:
    """Say what is served, what it costs, what it keeps, and whether that is proved."""
    by_id = {row.id: row for row in rows}
    if decision.chosen is None:
        return _nothing(by_id, floor, recipe)
    proof = decision.proof
    assert proof is not None, "a choice is always asked of test"
    if decision.confirmed:
        return _proved(by_id, by_id[decision.chosen], floor, proof, recipe)
    return _not_proved(by_id, decision, floor, proof, recipe)


def overview(rows: Sequence[Priced], chosen: str | None) -> list[str]:
    """Return a table for the terminal: every variant, the chosen one marked."""
    metric = rows[0].quality.metric if rows else "quality"
    cells = [
        [
            f"{'→' if row.id == chosen else ' '} {row.id}",
            f"{row.quality.value:.4f} ({row.quality.low:.4f} – {row.quality.high:.4f})",
            f"{row.p95_ms:.2f}",
            f"{row.throughput:,.0f}",
            "–" if row.cost_per_1000 is None else money(row.cost_per_1000, "").strip(),
            f"{row.bytes / 1e6:.1f}",
        ]
        for row in rows
    ]
    headings = ["  variant", f"{metric} on dev", "p95 ms", "texts/s", "cost per 1,000", "MB"]
    return table_lines(headings, cells)


def money(amount: float, currency: str) -> str:
    """Return an amount with two significant digits and no exponent: `0.00042 USD`."""
    if amount == 0:
        return f"0 {currency}"
    digits = 2
    while digits < 15 and float(f"{abs(amount):.1e}") < 10.0 ** (1 - digits):
        digits += 1
    return f"{amount:,.{digits}f} {currency}"


def _proved(
    by_id: dict[str, Priced], row: Priced, floor: Floor, proof: Proof, recipe: Recipe
) -> str:
    name = NAMES[row.id]
    start = f"{name[0].upper()}{name[1:]} costs {_cost(row, recipe)} per 1,000 requests"
    proved = f"proved on {proof.rows:,} test rows"
    if row.id == PARENT:
        return f"{start}; nothing cheaper keeps {floor}, which the full model does: {proved}"
    return f"{start}{_cheaper(by_id, row)}, and {_keeps(floor, proof)}: {proved}"


def _not_proved(
    by_id: dict[str, Priced], decision: Decision, floor: Floor, proof: Proof, recipe: Recipe
) -> str:
    assert decision.candidate is not None
    assert decision.chosen is not None
    tried, served = by_id[decision.candidate], by_id[decision.chosen]
    name = NAMES[tried.id]
    more = (
        "more rows alone would not settle it"
        if proof.more is None
        else f"about {proof.more:,} more rows would settle it"
    )
    stays = (
        "is served all the same" if served.id == tried.id else f"so {NAMES[served.id]} is served"
    )
    return (
        f"{name[0].upper()}{name[1:]} would cost {_cost(tried, recipe)} per 1,000 requests"
        f"{_cheaper(by_id, tried)}, but that it keeps {floor} is not proved on {proof.rows:,} test "
        f"rows ({more}), {stays}, at {_cost(served, recipe)}"
    )


def _nothing(by_id: dict[str, Priced], floor: Floor, recipe: Recipe) -> str:
    best = max(by_id.values(), key=lambda row: row.quality.value * (1 if floor.higher else -1))
    needed = floor.threshold(by_id[PARENT].quality.value)
    bound = recipe.price.p95_ms
    within = "" if bound is None else f" within p95 {bound:g} ms"
    fastest = min(row.p95_ms for row in by_id.values())
    quickest = "" if bound is None else f", the fastest p95 is {fastest:.1f} ms"
    return (
        f"no variant keeps {floor}{within}: it asks for {floor.metric} {needed:.4f} on dev, the "
        f"best is {best.quality.value:.4f} ({best.id}){quickest}; lower price.floor"
        f"{'' if bound is None else ' or raise price.p95_ms'}, or train longer"
    )


def _cost(row: Priced, recipe: Recipe) -> str:
    currency = recipe.machine.currency
    return (
        "more than any load can pay"
        if row.cost_per_1000 is None
        else money(row.cost_per_1000, currency)
    )


def _cheaper(by_id: dict[str, Priced], row: Priced) -> str:
    full, own = by_id[PARENT].cost_per_1000, row.cost_per_1000
    if row.id == PARENT or not full or not own:
        return ""
    return (
        f", {full / own:.1f} times less than the full model"
        if full >= own
        else f", {own / full:.1f} times more than the full model"
    )


def _keeps(floor: Floor, proof: Proof) -> str:
    if floor.better(proof.value, proof.base):
        return f"is better than it ({floor.metric} {proof.value:.4g} against {proof.base:.4g})"
    if floor.higher and proof.base > 0:
        return f"keeps {100 * proof.value / proof.base:.1f} % of its {floor.metric}"
    return f"has {floor.metric} {proof.value:.4g} where it has {proof.base:.4g}"
