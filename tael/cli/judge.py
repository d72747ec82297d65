"""The verbs that judge: a variant's scores, a run's report, a change of the recipe, a rate."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from tael.cli.options import (
    Json,
    Language,
    Overrides,
    Quiet,
    Reading,
    RecipeFile,
    RunFolder,
    Variant,
    spoken,
)
from tael.cli.show import show_json, show_lines, show_next, show_scores
from tael.errors import UsageError
from tael.files import write_text
from tael.page.words import Lang

__all__ = ["ablate", "evaluate", "report", "tune"]


def evaluate(
    run: RunFolder,
    reading: Reading = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Labelled records; default: the run's test split."),
    ] = None,
    variant: Variant = None,
    served: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Score the service at http://HOST:PORT in its place."),
    ] = None,
    key: Annotated[
        str, typer.Option(metavar="KEY", envvar="TAEL_KEY", help="API key for --served.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Score the chosen variant of RUN. Intervals are 95 % ones."""
    from tael.road.evaluate import evaluate as evaluate_run

    scores = evaluate_run(run, data, variant, reading or [], served=served, key=key)
    if as_json:
        show_json(scores)
    else:
        show_scores(scores)


def tune(
    recipe: RecipeFile,
    overrides: Overrides = None,
    find_rate: Annotated[
        bool,
        typer.Option("--find-rate", help="Try 100 learning rates, a step each; NAME-rates.html."),
    ] = False,
    lang: Language = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find what would make RECIPE better, in small trials. Changes no run and no recipe."""
    from tael.recipe.load import load_recipe

    if not find_rate:
        raise UsageError("tael tune: say what to look for: --find-rate")
    loaded = load_recipe(recipe, spoken(overrides, lang))
    from tael.tune.find_rate import find_rate as try_rates
    from tael.tune.find_rate import page

    found = try_rates(loaded, progress=not (quiet or as_json))
    target = Path(f"{loaded.name}-rates.html")
    write_text(target, page(loaded, found))
    if as_json:
        show_json(asdict(found))
        return
    show_lines([*found.lines(), f"wrote {target}"])
    show_next(f"tael run {recipe} {found.stage}.rate={found.suggested:.1e}")


def report(
    run: RunFolder,
    learning_curve: Annotated[
        bool,
        typer.Option("--learning-curve", help="Train on 25 and 50 % first: would more data help?"),
    ] = False,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Write the report and model card of RUN anew. Answers are computed afresh."""
    from tael.road.report import write

    def say(line: str) -> None:
        if not quiet:
            show_lines([line])

    told = write(
        run,
        lang=cast(Lang | None, lang),
        learning_curve=learning_curve,
        progress=not quiet,
        say=say,
    )
    say(told)
    say(str(run / "report.html"))


def ablate(
    recipe: RecipeFile,
    changes: Overrides = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Trainings of each of the two recipes, 3 at least.")
    ] = 3,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Its runs; default: runs/NAME-ablation.")
    ] = None,
    lang: Language = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say what KEY=VALUE does to RECIPE. Trains both with several seeds.

    Each training is a run of its own, so the same command goes on where it stopped.
    """
    from tael.evaluate.wording import speaking
    from tael.road.ablate import ablate as ablate_recipe

    silent = quiet or as_json

    def say(line: str) -> None:
        if not silent:
            show_lines([line])

    found, folder = ablate_recipe(
        recipe,
        changes or [],
        seeds=seeds,
        out=out,
        lang=cast(Lang | None, lang),
        progress=not silent,
        say=say,
    )
    if as_json:
        show_json(found.to_json(speaking(cast(Lang, lang or "en"))))
    elif not quiet:
        show_lines([str(folder / "ablation.html")])
