"""The best weights by dev so far, one file each: those that `train.keep_best` asks for.

They lie beside the checkpoints until the run is finished. A run that is killed scores the steps
behind its newest checkpoint again, to the same bits, and writes and drops the same files.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tael.files import atomic_file
from tael.train.checkpoint import Position, weights

__all__ = ["load", "offer", "put"]


def offer(
    root: Path,
    position: Position,
    score: tuple[float, float],
    named: Mapping[str, Tensor],
    most: int,
) -> Position:
    """Keep `named`, whose score on dev is `score`, where it is among the `most` best.

    Of equal scores the earlier one is better. What falls out is removed.
    """
    ranks = sorted((*position.ranks, (*score, -position.step)), reverse=True)[:most]
    if (*score, -position.step) in ranks:
        put(root, position.step, named)
    steps = {-rank[2] for rank in ranks}
    for path in root.glob("step-*.safetensors"):
        if path not in {_path(root, step) for step in steps}:
            path.unlink()
    return replace(position, ranks=tuple(ranks))


def put(root: Path, step: int, named: Mapping[str, Tensor]) -> None:
    """Write the weights of `step`."""
    with atomic_file(_path(root, step)) as draft:
        save_file(weights(named), draft)


@torch.no_grad()
def load(root: Path, step: int, network: nn.Module) -> None:
    """Give `network` the weights of `step`; what did not learn is left as it is."""
    own = dict(network.named_parameters())
    for name, tensor in load_file(_path(root, step)).items():
        own[name].copy_(tensor)


def _path(root: Path, step: int) -> Path:
    return root / f"step-{step:06d}.safetensors"
