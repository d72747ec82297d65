"""Dropout whose random numbers cost little on a processor.

Srivastava et al. 2014, Dropout, JMLR 15. torch draws a 32-bit number from a Mersenne Twister for
every element, which took 15 % of a training step; here an element takes 8 or 16 bits of a fast
generator that torch's own seeds, so that the seed of a step still decides all of it.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Dropout", "dropout"]

_COARSE = 1 / 32  # chances from here on are rounded to 256ths, smaller ones to 65,536ths


class Dropout(nn.Module):
    """Set elements to 0 with a chance of `chance` while training, and scale the others."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape and dtype."""
        return dropout(x, self.chance) if self.training else x


def dropout(x: Tensor, chance: float) -> Tensor:
    """Return `x` with some elements 0 and the others divided by the chance to stay.

    On a processor the chance is rounded (0.1 is 26/256), and the scale is that of the rounded one.
    """
    if chance == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, chance)
    levels = 256 if chance >= _COARSE else 65_536
    below = max(1, round(chance * levels))
    kept = _drawn(x.numel(), levels) >= below
    return x * _scaled(kept, levels / (levels - below), x.dtype).view(x.shape)


def _drawn(count: int, levels: int) -> NDArray[np.unsignedinteger]:
    """Return `count` whole numbers below `levels`, each as likely as any other."""
    seed = int(torch.randint(2**62, ()))
    size = 1 if levels == 256 else 2  # bytes
    words: NDArray[np.uint64] = np.random.SFC64(seed).random_raw(-(-count * size // 8))
    return words.view(f"u{size}")[:count]


def _scaled(kept: NDArray[np.bool_], scale: float, dtype: torch.dtype) -> Tensor:
    """Return `scale` where kept and 0 elsewhere; numpy's conversions are 5 times as fast."""
    if dtype in (torch.bfloat16, torch.float16):  # numpy has no bfloat16: by its bits
        bits = torch.tensor(scale, dtype=dtype).view(torch.int16).item()
        mask = kept.view(np.int8).astype(np.int16)
        mask *= np.int16(bits)
        return torch.from_numpy(mask).view(dtype)
    wide = np.float64 if dtype == torch.float64 else np.float32
    return torch.from_numpy(np.multiply(kept, wide(scale), dtype=wide))
