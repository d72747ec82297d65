"""Answers that are no numbers are refused, with the weights that they come from.

Looked for in what the network answers: to look through the weights when they are opened would read
every byte of them before the first question is put.
"""

import torch
from torch import Tensor

from tael.errors import CheckpointError
from tael.model.network import Network

__all__ = ["check", "nonfinite"]


def check(answer: Tensor, network: Network) -> None:
    """Raise CheckpointError where an answer of the network holds NaN or infinity."""
    if _finite(answer):
        return
    found = nonfinite(network)
    if found:
        shown = ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
        raise CheckpointError(
            f"the model answers NaN or infinity: its weights hold them in {shown}; "
            "fetch or train it again"
        )
    dtype = str(answer.dtype).removeprefix("torch.")
    raise CheckpointError(
        f"the model answers NaN or infinity, though its weights are sound: its numbers grow beyond "
        f"{dtype}; open it with dtype='float32'"
    )


def nonfinite(network: Network) -> tuple[str, ...]:
    """Return the tensors of a network that hold NaN or infinity, by our names."""
    tensors = (*network.named_parameters(), *network.named_buffers())
    return tuple(name for name, tensor in tensors if not _finite(tensor))


def _finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite; a sum shows it at a fraction of the cost."""
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())
