"""The result of pricing in one sentence that needs no other page to be understood."""

from collections.abc import Sequence

from tael.compress.manifest import BASELINE, PARENT
from tael.page.text import table_lines
from tael.page.words import Words, words
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
    say = words("price", recipe.lang)
    values = {
        "name": _capital(say(NAMES[row.id])), "cost": _cost(say, row, recipe), "floor": floor,
        "rows": f"{proof.rows:,}",
    }  # fmt: skip
    if row.id == PARENT:
        return say(
            "{name} costs {cost} per 1,000 requests; nothing cheaper keeps {floor}, which the full "
            "model does: proved on {rows} test rows",
            **values,
        )
    return say(
        "{name} costs {cost} per 1,000 requests{cheaper}, and {keeps}: proved on {rows} test rows",
        **values, cheaper=_cheaper(say, by_id, row), keeps=_keeps(say, floor, proof),
    )  # fmt: skip


def _not_proved(
    by_id: dict[str, Priced], decision: Decision, floor: Floor, proof: Proof, recipe: Recipe
) -> str:
    assert decision.candidate is not None
    assert decision.chosen is not None
    say = words("price", recipe.lang)
    tried, served = by_id[decision.candidate], by_id[decision.chosen]
    more = say("more rows alone would not settle it")
    if proof.more is not None:
        more = say("about {rows} more rows would settle it", rows=f"{proof.more:,}")
    stays = say("is served all the same")
    if served.id != tried.id:
        stays = say("so {name} is served", name=say(NAMES[served.id]))
    return say(
        "{name} would cost {cost} per 1,000 requests{cheaper}, but that it keeps {floor} is not "
        "proved on {rows} test rows ({more}), {stays}, at {paid}",
        name=_capital(say(NAMES[tried.id])),
        cost=_cost(say, tried, recipe),
        cheaper=_cheaper(say, by_id, tried),
        floor=floor,
        rows=f"{proof.rows:,}",
        more=more,
        stays=stays,
        paid=_cost(say, served, recipe),
    )


def _nothing(by_id: dict[str, Priced], floor: Floor, recipe: Recipe) -> str:
    say = words("price", recipe.lang)
    best = max(by_id.values(), key=lambda row: row.quality.value * (1 if floor.higher else -1))
    bound = recipe.price.p95_ms
    values = {
        "floor": floor, "metric": floor.metric, "best": best.id,
        "needed": f"{floor.threshold(by_id[PARENT].quality.value):.4f}",
        "found": f"{best.quality.value:.4f}",
    }  # fmt: skip
    if bound is None:
        return say(
            "no variant keeps {floor}: it asks for {metric} {needed} on dev, the best is {found} "
            "({best}); lower price.floor, or train longer",
            **values,
        )
    return say(
        "no variant keeps {floor} within p95 {bound} ms: it asks for {metric} {needed} on dev, the "
        "best is {found} ({best}), the fastest p95 is {fastest} ms; lower price.floor or raise "
        "price.p95_ms, or train longer",
        **values, bound=f"{bound:g}", fastest=f"{min(row.p95_ms for row in by_id.values()):.1f}",
    )  # fmt: skip


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _cost(say: Words, row: Priced, recipe: Recipe) -> str:
    if row.cost_per_1000 is None:
        return say("more than any load can pay")
    return money(row.cost_per_1000, recipe.machine.currency)


def _cheaper(say: Words, by_id: dict[str, Priced], row: Priced) -> str:
    full, own = by_id[PARENT].cost_per_1000, row.cost_per_1000
    if row.id == PARENT or not full or not own:
        return ""
    if full >= own:
        return say(", {times} times less than the full model", times=f"{full / own:.1f}")
    return say(", {times} times more than the full model", times=f"{own / full:.1f}")


def _keeps(say: Words, floor: Floor, proof: Proof) -> str:
    values = {"metric": floor.metric, "own": f"{proof.value:.4g}", "full": f"{proof.base:.4g}"}
    if floor.better(proof.value, proof.base):
        return say("is better than it ({metric} {own} against {full})", **values)
    if floor.higher and proof.base > 0:
        share = say.percent(proof.value / proof.base)
        return say("keeps {share} of its {metric}", share=share, metric=floor.metric)
    return say("has {metric} {own} where it has {full}", **values)
