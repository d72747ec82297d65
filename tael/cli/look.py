"""The verbs that look and change nothing: at data, at runs, at what a run would take, at here."""

from pathlib import Path
from typing import Annotated

import typer

from tael.cli.options import Json, Language, Overrides, RecipeFile, Variant, spoken
from tael.cli.show import show_json, show_lines, show_next
from tael.errors import UsageError

__all__ = ["compare", "data", "data_diff", "doctor", "plan", "runs"]


def data(
    recipe: RecipeFile,
    overrides: Overrides = None,
    show: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show N records as the model sees them.")
    ] = 0,
    apply: Annotated[
        Path | None,
        typer.Option(metavar="FIXES.csv", help="Correct labels first; the same as data.fixes."),
    ] = None,
    suspects: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write the 200 labels most worth a look there."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the records and their report there.")
    ] = None,
    lang: Language = None,
    as_json: Json = False,
) -> None:
    """Prepare the data of RECIPE and count every step. Trains nothing.

    `tael data diff RUN_A RUN_B` compares two runs, as `tael data-diff` does.
    """
    settings = spoken(overrides, lang)
    if str(recipe) == "diff" and not recipe.exists():
        if len(settings) != 2:
            raise UsageError("two runs are compared: `tael data diff RUN_A RUN_B`")
        return data_diff(Path(settings[0]), Path(settings[1]), as_json)
    from tael.recipe.load import load_recipe
    from tael.recipe.write import scalar

    if apply is not None:
        settings.append(f"data.fixes={scalar(str(apply))}")
    loaded = load_recipe(recipe, settings)
    from tael.road.data import prepare_data

    prepared = prepare_data(loaded, show=show, out=out, suspects=suspects)
    if as_json:
        show_json(prepared.to_json())
        return None
    from tael.cli.records import show_prepared

    show_prepared(prepared)
    return show_next(" ".join(["tael run", str(recipe), *settings]))


def data_diff(
    old: Annotated[Path, typer.Argument(metavar="RUN_A", help="The run before.")],
    new: Annotated[Path, typer.Argument(metavar="RUN_B", help="The run after.")],
    as_json: Json = False,
) -> None:
    """Say what differs between the data of two runs. Recipe, files, counts, and each row."""
    from tael.road.diff import data_diff as compare

    found = compare(old, new)
    if as_json:
        show_json(found.to_json())
    else:
        show_lines(found.lines())


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder that holds them.")
    ] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs in DIR. Each with its quality, what it took, and the variant that serves."""
    from tael.road.runs import runs as list_runs

    found = list_runs(folder)
    if as_json:
        show_json(found.to_json())
    else:
        show_lines(found.lines())


def compare(
    a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run's folder.")],
    b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The run it is compared with.")],
    variant: Variant = None,
    as_json: Json = False,
) -> None:
    """Say whether RUN_A is better than RUN_B. Both answer the same test records anew."""
    from tael.road.compare import compare as compare_runs

    found = compare_runs(a, b, variant)
    if as_json:
        show_json(found.to_json())
    else:
        show_lines(found.lines())


def plan(
    recipe: RecipeFile,
    overrides: Overrides = None,
    gpus: Annotated[int, typer.Option(metavar="N", min=1, help="How many devices.")] = 1,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which ones: h100, a100, l4, …; default: this machine."),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            metavar="X", min=0, help="Of a device and hour; default: machine.price_per_hour."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what RECIPE would take on N devices: memory, time, money. Spends no compute."""
    from tael.recipe.load import load_recipe
    from tael.road.plan import plan as plan_recipe

    settings = overrides or []
    found = plan_recipe(
        load_recipe(recipe, settings), gpus, gpu, price, named=" ".join([str(recipe), *settings])
    )
    if as_json:
        show_json(found.to_json())
    else:
        show_lines(found.lines())


def doctor(as_json: Json = False) -> int:
    """Check this machine and installation. Trains, serves and bills once, in a minute."""
    from tael.road.doctor import doctor as diagnose

    if as_json:
        found = diagnose()
        show_json(found.to_json())
    else:
        found = diagnose(lambda check: show_lines([check.line()]))
        failed = sum(not check.ok for check in found.checks)
        show_lines([f"{failed} failed" if failed else "tael works here"])
    return 0 if found.ok else 1
