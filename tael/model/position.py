"""Where a token stands: added to its vector, turned into its queries and keys, or added to scores.

Letters: B rows · T query positions · S key positions · H heads · K head size · D hidden.
"""

import math

import torch
from torch import Tensor, nn

from tael.model.config import ModelConfig, Rescale

__all__ = ["Alibi", "LearnedPositions", "RelativeBias", "Rotary", "SinusoidalPositions", "rotate"]

Rotation = tuple[Tensor, Tensor]  # cos and sin, (B or 1, 1, T, K), or K smaller: the rest stands


class LearnedPositions(nn.Embedding):
    """A table with one vector a position (Devlin et al. 2019, arXiv:1810.04805, figure 2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.max_positions + config.position_offset, config.token_width)
        self.offset = config.position_offset

    def forward(self, positions_BT: Tensor | None, length: int) -> Tensor:  # type: ignore[override]  # the table is asked by position, not by any ids
        """Return (B, T, D), or (T, D) for rows that all count 0, 1, 2, … (None)."""
        if positions_BT is None:
            return self.weight[self.offset : self.offset + length]
        return super().forward(positions_BT + self.offset if self.offset else positions_BT)


class SinusoidalPositions(nn.Module):
    """Sines in the first half, cosines in the second (Vaswani et al. 2017, section 3.5).

    The paper has them in turns; that is the same up to the order of the numbers.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.size = config.token_width
        # Checkpoints that store the table were saved with one of this many rows.
        self.offset = config.position_offset

    def forward(self, positions_BT: Tensor | None, length: int) -> Tensor:
        """Return (B, T, D), or (T, D) for rows that all count 0, 1, 2, … (None), in float32."""
        at = torch.arange(length) if positions_BT is None else positions_BT
        half = (self.size + 1) // 2
        steps_K = torch.arange(half, dtype=torch.float64, device=at.device)
        angles = (at + self.offset)[..., None] / 10_000 ** (2 * steps_K / self.size)
        table = torch.cat([angles.sin(), angles.cos()[..., : self.size // 2]], dim=-1)
        return table.float()


class Rotary(nn.Module):
    """Turns pairs of numbers by an angle that grows with the position (Su, arXiv:2104.09864).

    Pairs are a number of a head's first half and the one as far into its second half.
    """

    def __init__(self, config: ModelConfig, base: float, rescale: Rescale | None) -> None:
        super().__init__()
        self.size = int(config.width * config.rotary_share)
        self.base, self.rescale, self.trained = base, rescale, config.max_positions
        # No parameter and no buffer: a change of dtype must leave the frequencies exact.
        self.frequencies_K = _frequencies(self.size, base, rescale)

    def forward(self, positions_BT: Tensor, dtype: torch.dtype) -> Rotation:
        """Return cos and sin for positions (B, T) or (T,), computed in float32.

        The sine of a pair's first number is negative: from it the second is taken.
        """
        frequencies_K = self.frequencies_K
        if self.rescale is not None and self.rescale.kind == "dynamic":
            frequencies_K = self._grown(int(positions_BT.max()) + 1)
        factor = 1.0
        if self.rescale is not None and self.rescale.kind == "longrope":
            frequencies_K = self._stretched(int(positions_BT.max()) + 1, self.rescale)
            factor = self.rescale.factor
        angles_BTK = positions_BT[..., None].float() * frequencies_K.to(positions_BT.device)
        cos, sin = (factor * angles_BTK.cos()).to(dtype), (factor * angles_BTK.sin()).to(dtype)
        return torch.cat([cos, cos], -1).unsqueeze(-3), torch.cat([-sin, sin], -1).unsqueeze(-3)

    def _stretched(self, length: int, rescale: Rescale) -> Tensor:
        """Divide by one list or the other (Ding et al. 2024, LongRoPE, arXiv:2402.13753)."""
        divisors = rescale.short if length <= rescale.original else rescale.long
        return self.frequencies_K / torch.tensor(divisors)

    def _grown(self, length: int) -> Tensor:
        assert self.rescale is not None, "only rescaled positions grow"
        length = max(length, self.trained)
        factor = self.rescale.factor
        grown = self.base * (factor * length / self.trained - (factor - 1)) ** (
            self.size / (self.size - 2)
        )
        return _frequencies(self.size, grown, None)


def rotate(x_BHTK: Tensor, rotation: Rotation) -> Tensor:
    """Turn every head's vector to its position; numbers beyond the rotation's size stand still."""
    cos, sin = rotation
    size = cos.shape[-1]
    turning = x_BHTK if size == x_BHTK.shape[-1] else x_BHTK[..., :size]
    turned = torch.addcmul(turning * cos, turning.roll(size // 2, dims=-1), sin)
    return turned if size == x_BHTK.shape[-1] else torch.cat([turned, x_BHTK[..., size:]], -1)


def _frequencies(size: int, base: float, rescale: Rescale | None) -> Tensor:
    steps_K = torch.arange(0, size, 2, dtype=torch.int64, device="cpu").float()
    frequencies_K = 1.0 / base ** (steps_K / size)
    if rescale is None or rescale.kind in ("dynamic", "longrope"):
        return frequencies_K
    if rescale.kind == "linear":
        return frequencies_K / rescale.factor
    # Llama 3: few turns over the trained length are slowed down, many are kept, a ramp between.
    turns_K = rescale.original * frequencies_K / (2 * math.pi)
    kept_K = ((turns_K - rescale.low) / (rescale.high - rescale.low)).clamp(0, 1)
    return (1 - kept_K) * frequencies_K / rescale.factor + kept_K * frequencies_K


class RelativeBias(nn.Module):
    """A learned number a head and distance, in widening buckets (Raffel, arXiv:1910.10683).

    Added to the scores of every layer of a stack.
    """

    def __init__(self, config: ModelConfig, *, both_ways: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(config.relative_buckets, config.heads)
        self.both_ways, self.farthest = both_ways, config.relative_distance

    def forward(self, queries_BT: Tensor, keys_BS: Tensor) -> Tensor:
        """Return (B, H, T, S) for positions (B or 1, T) and (B or 1, S)."""
        distance_BTS = keys_BS[:, None, :] - queries_BT[:, :, None]
        bias_BTSH: Tensor = self.table(self._bucket(distance_BTS))
        return bias_BTSH.permute(0, 3, 1, 2)

    def _bucket(self, distance: Tensor) -> Tensor:
        """Number each distance: one bucket each while near, logarithmic ones beyond."""
        buckets = self.table.num_embeddings
        start = torch.zeros_like(distance)
        if self.both_ways:
            buckets //= 2
            start = (distance > 0) * buckets
            away = distance.abs()
        else:
            away = (-distance).clamp(min=0)
        near = buckets // 2
        ratio = torch.log(away.float().clamp(min=1) / near) / math.log(self.farthest / near)
        far = (near + (ratio * (buckets - near)).to(torch.int64)).clamp(max=buckets - 1)
        return start + torch.where(away < near, away, far)


class Alibi(nn.Module):
    """A penalty that grows with the distance, at another slope a head (Press et al. 2108.12409)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        whole = 2 ** math.floor(math.log2(config.heads))
        powers = [2 ** (-8 * (h + 1) / whole) for h in range(whole)]
        between = [2 ** (-4 * (2 * h + 1) / whole) for h in range(config.heads - whole)]
        self.slopes_H = torch.tensor([*powers, *between], device="cpu")

    def forward(self, queries_BT: Tensor, keys_BS: Tensor) -> Tensor:
        """Return (B, H, T, S) for positions (B or 1, T) and (B or 1, S)."""
        distance_BTS = (keys_BS[:, None, :] - queries_BT[:, :, None]).abs()
        return -self.slopes_H.to(distance_BTS.device)[:, None, None] * distance_BTS[:, None]
