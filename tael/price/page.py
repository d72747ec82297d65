"""`frontier.html`: the decision in a sentence, the picture, the table, and how it was measured."""

from collections.abc import Mapping, Sequence

from tael.compress.manifest import BASELINE
from tael.page.chart import Point, scatter
from tael.page.page import Section, bullets, figure, note, paragraph, render, table
from tael.page.words import Words, words
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
    say, lead = words("price", recipe.lang), sentence(rows, floor, decision, recipe)
    sections = [
        Section(say("Cost against quality"), _picture(say, rows, floor, decision, recipe)),
        Section(say("All variants"), _table(say, rows, decision, recipe)),
        Section(say("The proof"), _proof(say, floor, decision)),
        Section(say("How it was measured"), _method(say, rows, recipe, machine)),
    ]
    return render(
        say("{name}: what an answer costs", name=recipe.name),
        say("{sentence}.", sentence=lead[0].upper() + lead[1:]),
        sections,
        subtitle=say("Floor: {floor}, base is the full model in float32.", floor=floor),
        lang=recipe.lang,
    )


def _picture(
    say: Words, rows: Sequence[Priced], floor: Floor, decision: Decision, recipe: Recipe
) -> str:
    currency = recipe.machine.currency
    priced = [(row, row.cost_per_1000) for row in rows if row.cost_per_1000 is not None]
    if not priced:
        return note(say("No variant keeps the p95 bound at any load, so none has a cost."), "warn")
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
        x=say("cost per 1,000 requests ({currency})", currency=currency),
        y=say("{metric} on dev", metric=floor.metric),
        title=say("Cost against quality"),
        log_x=all(cost > 0 for _, cost in priced),
        path=[row.id for row in rows if row.on_frontier],
        floor=(floor.threshold(base), say("floor")),
    )
    numbers = table(
        [say("variant"), say("cost per 1,000 ({currency})", currency=currency), floor.metric,
         say("95 % interval")],
        [
            [row.id, money(cost, "").strip(), f"{row.quality.value:.4f}", _interval(row)]
            for row, cost in priced
        ],
        numeric={1, 2, 3},
    )  # fmt: skip
    caption = say(
        "Bars are 95 % intervals on dev. The line joins the frontier: nothing else is both cheaper "
        "and better. The level line is the floor."
    )
    return figure(svg, caption, numbers, say("The numbers"))


def _table(say: Words, rows: Sequence[Priced], decision: Decision, recipe: Recipe) -> str:
    currency = recipe.machine.currency
    ordered = sorted(rows, key=lambda row: (row.cost_per_1000 is None, row.cost_per_1000 or 0))
    cells = [
        [
            row.id,
            _role(say, row, decision),
            say("too slow") if row.cost_per_1000 is None else money(row.cost_per_1000, "").strip(),
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
        say("variant"),
        "",
        say("cost per 1,000 ({currency})", currency=currency),
        rows[0].quality.metric,
        say("95 % interval"),
        "p50 (ms)",
        "p95 (ms)",
        say("requests/s"),
        say("peak memory (MiB)"),
        say("on disk (MiB)"),
    ]
    strong = {place for place, row in enumerate(ordered) if row.id == decision.chosen}
    return table(headings, cells, numeric=range(2, len(headings)), strong=strong)


def _proof(say: Words, floor: Floor, decision: Decision) -> str:
    proof = decision.proof
    if proof is None:
        return note(
            say("Nothing keeps {floor} on dev, so test was not asked.", floor=floor), "warn"
        )
    side = say("{margin} above the floor", margin=f"{abs(proof.margin):.4f}")
    if proof.margin < 0:
        side = say("{margin} below the floor", margin=f"{abs(proof.margin):.4f}")
    what = say(
        "{candidate} is the cheapest on dev; test was asked once, about it alone: {metric} {value} "
        "where the full model has {base}, {side}. With one-sided 95 % confidence it is at least "
        "{lower} from the floor (paired bootstrap over {rows} rows).",
        candidate=decision.candidate, metric=floor.metric, value=f"{proof.value:.4f}",
        base=f"{proof.base:.4f}", side=side, lower=f"{proof.lower:+.4f}", rows=f"{proof.rows:,}",
    )  # fmt: skip
    return paragraph(what) + _verdict(say, decision, proof)


def _verdict(say: Words, decision: Decision, proof: Proof) -> str:
    if proof.proved:
        return note(say("Proved: {chosen} keeps the floor.", chosen=decision.chosen), "good")
    more = say("its margin on test is not above the floor, so more rows alone would not settle it")
    if proof.more is not None:
        more = say("about {rows} more test rows would settle it", rows=f"{proof.more:,}")
    text = say("Not proved: {more}. Served meanwhile: {chosen}.", more=more, chosen=decision.chosen)
    return note(text, "warn")


def _method(
    say: Words, rows: Sequence[Priced], recipe: Recipe, machine: Mapping[str, str | int]
) -> str:
    tariff, bound = recipe.machine, recipe.price.p95_ms
    traffic = say("the test split")
    if recipe.price.traffic is not None:
        traffic = recipe.price.traffic.name
    fastest = say("Requests per second: the best of a closed loop with 1, 8 or 32 clients.")
    if bound is not None:
        fastest = say(
            "Requests per second: the best of a closed loop with 1, 8 or 32 clients whose 95th "
            "percentile is within {bound} ms.",
            bound=f"{bound:g}",
        )
    return bullets(
        [
            say(
                "Machine: {cpu}, cores {cores}, threads {threads}, torch {torch}, at {price} "
                "{currency} an hour.",
                cpu=machine["cpu"], cores=machine["cores"], torch=machine["torch"],
                threads=tariff.threads or machine["cores"], price=tariff.price_per_hour,
                currency=tariff.currency,
            ),
            say(
                "Cost per 1,000 requests = price per hour / 3.6 / requests per second / "
                "utilisation ({share}: the share of the sustained rate that is really used).",
                share=f"{recipe.price.utilisation:g}",
            ),
            say(
                "Traffic: the length mix of {traffic}; tokenizing is part of every time.",
                traffic=traffic,
            ),
            say(
                "Each variant ran in a process of its own, rounds taking turns; rates are medians "
                "over rounds, latencies are of single requests, peak memory is that of the process."
            ),
            fastest,
            say(
                "int8 and bfloat16 compute one text at a time, so that no text changes the answer "
                "to its neighbour; that is how they were scored and how they are served."
            ),
            *_bound(say, rows),
        ]
    )  # fmt: skip


def _bound(say: Words, rows: Sequence[Priced]) -> list[str]:
    if all(row.id != BASELINE for row in rows):
        return []
    told = "The baseline is {baseline}: nothing that is below it on dev is ever chosen."
    return [say(told, baseline=BASELINE)]


def _role(say: Words, row: Priced, decision: Decision) -> str:
    if row.id == decision.chosen:
        return say("served")
    return say("frontier") if row.on_frontier else ""


def _interval(row: Priced) -> str:
    return f"{row.quality.low:.3f} – {row.quality.high:.3f}"
