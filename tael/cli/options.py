"""The arguments and options that several verbs share, each described once."""

from pathlib import Path
from typing import Annotated

import typer

from tael.errors import UsageError

__all__ = [
    "Database",
    "Json",
    "Language",
    "Out",
    "Overrides",
    "Quiet",
    "Reading",
    "RecipeFile",
    "RunFolder",
    "ServedRun",
    "Terms",
    "Variant",
    "spoken",
]


def spoken(overrides: list[str] | None, lang: str | None) -> list[str]:
    """Return the overrides with `--lang` laid over them."""
    return [*(overrides or []), *([f"lang={lang}"] if lang else [])]


def _language(value: str | None) -> str | None:
    if value not in (None, "en", "zh"):
        raise UsageError(f"--lang {value}: the pages are written in en or zh")
    return value


RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Laid over the recipe: train.rate=3e-4."),
]
Terms = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", help="price.*, machine.price_per_hour or machine.currency."
    ),
]
Reading = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", help="How FILE is read, if unlike the run's: data.columns.text=review."
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder: runs/NAME.")]
ServedRun = Annotated[
    Path | None, typer.Argument(metavar="RUN", help="The served run's folder; or --db.")
]
Database = Annotated[
    str | None, typer.Option("--db", metavar="URL", help="The ledger that was served.")
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The run's folder; default: runs/NAME.")
]
Variant = Annotated[
    str | None, typer.Option(metavar="ID", help="Take this variant, not the chosen one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Language = Annotated[
    str | None,
    typer.Option(
        "--lang",
        metavar="en|zh",
        help="Language of the pages; default: the recipe's `lang`.",
        callback=_language,
    ),
]
