"""`frontier.html`: the decision in a sentence, the picture, the table, and how it was measured."""

from collections.abc import Mapping, Sequence

from tael.compress.manifest import BASELINE
from tael.page.chart import Point, scatter
from tael.page.page import Section, bullets, figure, note, paragraph, render, table
from tael.price.choice import Priced
from tael.price.confirm import Proof
from tael.price.decision import Decision
from tael.price.floor import Floor
from tael.price.sentence import money, sentence
from tael.recipe.schema import Recipe

__all__ = ["page"]


def page(
    rows: Sequence[Priced],
    floor: Floor,
    decision: Decision,
    recipe: Recipe,
    machine: Mapping[str, str | int],
) -> str:
    """Return the whole page, one file that fetches nothing."""
    lead = sentence(rows, floor, decision, recipe)
    sections = [
        Section("Cost against quality", _picture(rows, floor, decision, recipe)),
        Section("All variants", _table(rows, decision, recipe)),
        Section("The proof", _proof(floor, decision)),
        Section("How it was measured", _method(rows, recipe, machine)),
    ]
    return render(
        f"{recipe.name}: what an answer costs",
        lead[0].upper() + lead[1:] + ".",
        sections,
        subtitle=f"Floor: {floor}, base is the full model in float32.",
    )


def _picture(rows: Sequence[Priced], floor: Floor, decision: Decision, recipe: Recipe) -> str:
    currency = recipe.machine.currency
    priced = [(row, row.cost_per_1000) for row in rows if row.cost_per_1000 is not None]
    if not priced:
        return note("No variant keeps the p95 bound at any load, so none has a cost.", "warn")
    points = [
        Point(
            row.id,
            cost,
            row.quality.value,
            row.quality.low,
            row.quality.high,
            highlight=row.id == decision.chosen,
        )
        for row, cost in priced
    ]
    base = next(row.quality.value for row in rows if row.id == "torch-fp32")
    svg = scatter(
        points,
        x=f"cost per 1,000 requests ({currency})",
        y=f"{floor.metric} on dev",
        title="Cost against quality",
        log_x=all(cost > 0 for _, cost in priced),
        path=[row.id for row in rows if row.on_frontier],
        floor=(floor.threshold(base), "floor"),
    )
    numbers = table(
        ["variant", f"cost per 1,000 ({currency})", floor.metric, "95 % interval"],
        [
            [row.id, money(cost, "").strip(), f"{row.quality.value:.4f}", _interval(row)]
            for row, cost in priced
        ],
        numeric={1, 2, 3},
    )
    caption = (
        "Bars are 95 % intervals on dev. The line joins the frontier: nothing else is both cheaper "
        "and better. The level line is the floor."
    )
    return figure(svg, caption, numbers)


def _table(rows: Sequence[Priced], decision: Decision, recipe: Recipe) -> str:
    currency = recipe.machine.currency
    ordered = sorted(rows, key=lambda row: (row.cost_per_1000 is None, row.cost_per_1000 or 0))
    cells = [
        [
            row.id,
            _role(row, decision),
            "too slow" if row.cost_per_1000 is None else money(row.cost_per_1000, "").strip(),
            f"{row.quality.value:.4f}",
            _interval(row),
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            f"{row.throughput:,.0f}",
            f"{row.peak_bytes / 2**20:,.0f}",
            f"{row.bytes / 2**20:,.1f}",
        ]
        for row in ordered
    ]
    headings = [
        "variant",
        "",
        f"cost per 1,000 ({currency})",
        rows[0].quality.metric,
        "95 % interval",
        "p50 (ms)",
        "p95 (ms)",
        "requests/s",
        "peak memory (MiB)",
        "on disk (MiB)",
    ]
    strong = {place for place, row in enumerate(ordered) if row.id == decision.chosen}
    return table(headings, cells, numeric=range(2, len(headings)), strong=strong)


def _proof(floor: Floor, decision: Decision) -> str:
    proof = decision.proof
    if proof is None:
        return note(f"Nothing keeps {floor} on dev, so test was not asked.", "warn")
    what = paragraph(
        f"{decision.candidate} is the cheapest on dev; test was asked once, about it alone: "
        f"{floor.metric} {proof.value:.4f} where the full model has {proof.base:.4f}, "
        f"{abs(proof.margin):.4f} {'above' if proof.margin >= 0 else 'below'} the floor. With one-"
        f"sided 95 % confidence it is at least {proof.lower:+.4f} from the floor "
        f"(paired bootstrap over {proof.rows:,} rows)."
    )
    return what + _verdict(decision, proof)


def _verdict(decision: Decision, proof: Proof) -> str:
    if proof.proved:
        return note(f"Proved: {decision.chosen} keeps the floor.", "good")
    more = (
        "its margin on test is not above the floor, so more rows alone would not settle it"
        if proof.more is None
        else f"about {proof.more:,} more test rows would settle it"
    )
    return note(f"Not proved: {more}. Served meanwhile: {decision.chosen}.", "warn")


def _method(rows: Sequence[Priced], recipe: Recipe, machine: Mapping[str, str | int]) -> str:
    tariff, share = recipe.machine, recipe.price.utilisation
    bound = recipe.price.p95_ms
    threads = tariff.threads or machine["cores"]
    traffic = "the test split" if recipe.price.traffic is None else recipe.price.traffic.name
    return bullets(
        [
            f"Machine: {machine['cpu']}, cores {machine['cores']}, threads {threads}, "
            f"torch {machine['torch']}, at {tariff.price_per_hour} {tariff.currency} an hour.",
            f"Cost per 1,000 requests = price per hour / 3.6 / requests per second / "
            f"utilisation ({share:g}: the share of the sustained rate that is really used).",
            f"Traffic: the length mix of {traffic}; tokenizing is part of every time.",
            "Each variant ran in a process of its own, rounds taking turns; rates are medians over "
            "rounds, latencies are of single requests, peak memory is that of the process.",
            "Requests per second: the best of a closed loop with 1, 8 or 32 clients"
            + ("." if bound is None else f" whose 95th percentile is within {bound:g} ms."),
            "int8 and bfloat16 compute one text at a time, so that no text changes the answer to "
            "its neighbour; that is how they were scored and how they are served.",
            f"The baseline is {BASELINE}: nothing that is below it on dev is ever chosen.",
        ]
    )


def _role(row: Priced, decision: Decision) -> str:
    if row.id == decision.chosen:
        return "served"
    return "frontier" if row.on_frontier else ""


def _interval(row: Priced) -> str:
    return f"{row.quality.low:.3f} to {row.quality.high:.3f}"
