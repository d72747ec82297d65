"""Where a parameter stands in the network, by its name: what freezing and layer-wise rates go by.

The embeddings are the lowest layer, then come the blocks in order (of an encoder-decoder first the
encoder's), then what stands on the last block, then the head.
"""

import re
from collections.abc import Iterable, Mapping

from torch import nn

from tael.errors import RecipeError
from tael.recipe.schema import Freeze

__all__ = ["depths", "freeze", "is_embedding", "is_head"]

_BLOCK = re.compile(r"(?:.*\.)?blocks\.\d+(?=\.)")


def depths(names: Iterable[str]) -> dict[str, int]:
    """Return the layer of each parameter: 0 embeddings, 1 the lowest block, the head on top.

    `names` are in the network's own order and name all its blocks.
    """
    names = list(names)
    blocks: dict[str, int] = {}
    for name in names:
        found = _BLOCK.match(name)
        if found:
            blocks.setdefault(found[0], len(blocks) + 1)
    top = len(blocks)
    return {name: _depth(name, blocks, top) for name in names}


def is_embedding(name: str) -> bool:
    """Say whether a parameter belongs to what tokens, places and types become."""
    return "embedding" in name.split(".")


def is_head(name: str) -> bool:
    """Say whether a parameter belongs to what turns states into answers."""
    return name.startswith("head.")


def freeze(network: nn.Module, below: Freeze) -> None:
    """Let the lowest parts of `network` learn nothing, in place: `below` says how far up.

    Raises RecipeError where there are not so many layers.
    """
    parameters: Mapping[str, nn.Parameter] = dict(network.named_parameters())
    layer = depths(parameters)
    layers = max(depth for name, depth in layer.items() if not is_head(name))
    if isinstance(below, int) and below > layers:
        raise RecipeError(
            [f"train.freeze: {below} is more than the {layers} layers of the model; lower it"]
        )
    highest = below if isinstance(below, int) else {"embeddings": 0, "body": layers}[below]
    for name, parameter in parameters.items():
        if not is_head(name) and layer[name] <= highest:
            parameter.requires_grad_(False)


def _depth(name: str, blocks: Mapping[str, int], top: int) -> int:
    if is_head(name):
        return top + 1
    if is_embedding(name):
        return 0
    found = _BLOCK.match(name)
    return blocks[found[0]] if found else top
