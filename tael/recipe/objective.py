"""What pretraining is to learn: as the recipe says, else as the architecture has it."""

from typing import Literal

from tael.errors import RecipeError
from tael.recipe.schema import Recipe

__all__ = ["Architecture", "Objective", "objective_of"]

Architecture = Literal["encoder", "decoder", "encoder-decoder"]
Objective = Literal["mlm", "clm", "span", "denoise"]

_FITTING: dict[Architecture, tuple[Objective, ...]] = {  # the first one is the usual one
    "encoder": ("mlm",),
    "decoder": ("clm",),
    "encoder-decoder": ("span", "denoise"),
}


def objective_of(recipe: Recipe, architecture: Architecture | None = None) -> Objective:
    """Return the objective; RecipeError where `pretrain.objective` is another architecture's.

    `architecture` is the checkpoint's, where `model.from` brings one.
    """
    architecture = architecture or recipe.model.architecture
    fitting, wanted = _FITTING[architecture], recipe.pretrain.objective
    if wanted == "auto":
        return fitting[0]
    if wanted not in fitting:
        home = next(name for name, objectives in _FITTING.items() if wanted in objectives)
        raise RecipeError(
            [
                f"pretrain.objective: {wanted} teaches {_a(home)}, this is {_a(architecture)}; set "
                f"pretrain.objective={' or '.join(fitting)}, or model.architecture={home}"
            ]
        )
    return wanted


def _a(architecture: Architecture) -> str:
    return f"{'a' if architecture == 'decoder' else 'an'} {architecture}"
