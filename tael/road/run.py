"""The main job: data → train → variants → report → price, each stage only where it is missing."""

import json
from pathlib import Path

from tael.compress.variant import make_variants
from tael.errors import FloorError
from tael.price.frontier import price
from tael.price.sentence import overview
from tael.recipe.load import load_recipe
from tael.recipe.schema import Recipe
from tael.road.check import check_terms
from tael.road.report import report
from tael.train import guard
from tael.train.costs import costs_of
from tael.train.progress import make_progress
from tael.train.run import Run
from tael.train.track import Track
from tael.train.train import train

__all__ = ["run"]


def run(
    recipe: Recipe | str | Path, out: str | Path | None = None, *, progress: bool = True
) -> Path:
    """Do all that `recipe` (or the recipe's file) says; return the run's folder, `runs/<name>`.

    Goes on where an earlier call stopped; a finished run is left untouched. Raises what its stages
    raise: DataError, RecipeError, RunError, CheckpointError, StoppedError at a signal, and
    FloorError where no variant keeps the floor (the report and the frontier are written even then).
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    check_terms(recipe)
    folder = train(recipe, Path(out) if out is not None else None, progress=progress)
    if _is_priced(folder):
        return folder
    opened = Run(folder)
    shown = make_progress(progress, recipe.machine.currency)
    with guard.writable(folder), guard.locked(folder), guard.catch_signals(folder):
        guard.sweep(folder)
        track = Track(folder, costs_of(folder, recipe.machine, opened.lock.threads), shown)
        try:
            with track.phase("variants"):
                make_variants(opened, progress=progress)
            frontier, failed = None, None
            with track.phase("price"):
                try:
                    frontier = price(folder, recipe, progress=progress)
                except FloorError as error:  # its files are written; the report is still to come
                    failed = error
            with track.phase("report"):  # last, for it asks what was chosen
                shown.say(report(opened, lang=recipe.lang, say=shown.say))
            if frontier is None:
                assert failed is not None, "nothing was chosen"
                raise failed
            for line in (*overview(frontier.variants, frontier.chosen), frontier.sentence):
                shown.say(line)
        finally:
            track.close()
    return folder


def _is_priced(folder: Path) -> bool:
    """Say whether the run has been priced; FloorError where it was and nothing kept the floor."""
    path = folder / "price" / "frontier.json"
    if not path.exists() or not (folder / "report.html").exists():
        return False
    frontier = json.loads(path.read_text("utf-8"))
    if frontier["chosen"] is None:
        raise FloorError(
            f"{path}: no variant keeps the floor {frontier['floor']}; lower it with "
            f"`tael price {folder} price.floor=…`, or train longer"
        )
    return True
