"""The verb `price`: measure a finished run's variants and choose, also on other terms."""

from collections.abc import Sequence
from pathlib import Path

from tael.errors import UsageError
from tael.price.frontier import TERMS, Frontier
from tael.price.frontier import price as measure
from tael.recipe.load import load_recipe
from tael.road.check import check_terms
from tael.train import guard
from tael.train.run import Run

__all__ = ["price"]


def price(
    run: str | Path,
    terms: Sequence[str] = (),
    *,
    lang: str | None = None,
    progress: bool = True,
) -> Frontier:
    """Price `run` on the terms of its recipe, with `terms` (`price.floor=…`) laid over them.

    `lang` is the language of the page; None: as the recipe says.
    Raises UsageError for a term that would need another model, RecipeError for a wrong value,
    FloorError where no variant keeps the floor (the files are written even then), RunError where
    another process works in the run.
    """
    folder = Run(Path(run)).folder
    for term in terms:
        key = term.partition("=")[0].strip()
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in TERMS):
            raise UsageError(
                f"override {term}: a finished run is priced on other price.*, "
                f"machine.price_per_hour and machine.currency only; for another model "
                f"`tael run RECIPE {term} --out DIR`"
            )
    recipe = load_recipe(folder / "recipe.yaml", [*terms, *([f"lang={lang}"] if lang else [])])
    check_terms(recipe)
    with guard.writable(folder), guard.locked(folder), guard.catch_signals(folder):
        return measure(folder, recipe, progress=progress)
