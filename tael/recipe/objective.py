"""Which architecture a task and an objective want, and what pretraining is to learn."""

from collections.abc import Iterator
from typing import Literal

from tael.errors import RecipeError
from tael.recipe.schema import Recipe
from tael.recipe.source import KeyPath

__all__ = ["Architecture", "Objective", "misfits", "objective_of", "usual_architecture"]

Architecture = Literal["encoder", "decoder", "encoder-decoder"]
Objective = Literal["mlm", "clm", "span", "denoise"]

_FITTING: dict[Architecture, tuple[Objective, ...]] = {  # the first one is the usual one
    "encoder": ("mlm",),
    "decoder": ("clm",),
    "encoder-decoder": ("span", "denoise"),
}


_TASKS: dict[str, tuple[Architecture, ...]] = {  # of which a task can be made
    "clm": ("decoder",),
    "seq2seq": ("encoder-decoder", "decoder"),
}
_READERS: tuple[Architecture, ...] = ("encoder", "decoder")  # every other task reads


def usual_architecture(task: object) -> Architecture:
    """Return what a task is made of where the recipe does not say."""
    return _TASKS.get(str(task), _READERS)[0]


def misfits(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    """Yield each key whose architecture is not the task's or the objective's, and what to type.

    What `model.from` brings is known once it is opened.
    """
    if recipe.model.from_ is not None:
        return
    here = recipe.model.architecture
    fitting = _TASKS.get(recipe.task, _READERS)
    if here not in fitting:
        yield (
            ("model", "architecture"),
            f"task {recipe.task} is not made of {_a(here)}; set model.architecture="
            f"{' or '.join(fitting)}",
        )
    elif recipe.pretrain.steps:
        yield from ((("pretrain", "objective"), text) for text in _misfit(recipe, here))


def objective_of(recipe: Recipe, architecture: Architecture | None = None) -> Objective:
    """Return the objective; RecipeError where `pretrain.objective` is another architecture's.

    `architecture` is the checkpoint's, where `model.from` brings one.
    """
    here = architecture or recipe.model.architecture
    if problems := _misfit(recipe, here):
        raise RecipeError([f"pretrain.objective: {text}" for text in problems])
    wanted = recipe.pretrain.objective
    return _FITTING[here][0] if wanted == "auto" else wanted


def _misfit(recipe: Recipe, here: Architecture) -> list[str]:
    fitting, wanted = _FITTING[here], recipe.pretrain.objective
    if wanted == "auto" or wanted in fitting:
        return []
    home = next(name for name, objectives in _FITTING.items() if wanted in objectives)
    return [
        f"{wanted} teaches {_a(home)}, this is {_a(here)}; set pretrain.objective="
        f"{' or '.join(fitting)}, or model.architecture={home}"
    ]


def _a(architecture: Architecture) -> str:
    return f"{'a' if architecture == 'decoder' else 'an'} {architecture}"
