"""Matrices of four and eight bits: each number a code, each 32 of a row with a scale and a least.

    number = scale · code + least

Only the weights are small; what they multiply stays float, so nothing needs calibration. One
kernel of torch does it all. On a CPU it is fast in bfloat16 only (in float32 and float16 torch 2.13
computes number by number, tens of times slower): scales are then rounded to bfloat16's 8 bits, in
float32 they are exact.

Letters: B rows · T positions · N outputs · K inputs · G groups of 32 inputs · V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GROUP", "Bits", "Blocks", "CodedEmbedding", "CodedLinear", "grouped"]

GROUP = 32
_ROWS = 16  # the kernel takes a multiple of so many
Bits = Literal[4, 8]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix in codes; scale and least are float32, one for each group of 32 inputs."""

    bits: Bits
    codes_NK: Tensor  # uint8, below 2 ** bits
    scale_NG: Tensor
    least_NG: Tensor

    def numbers(self) -> Tensor:
        """Return the matrix, float32 (N, K)."""
        codes_NGK = grouped(self.codes_NK).float()
        numbers_NGK = codes_NGK * self.scale_NG[..., None] + self.least_NG[..., None]
        return numbers_NGK.flatten(1)

    def rows(self, index_N: Tensor) -> "Blocks":
        """Return some rows, in another order."""
        return Blocks(
            self.bits, self.codes_NK[index_N], self.scale_NG[index_N], self.least_NG[index_N]
        )

    @staticmethod
    def stacked(parts: Sequence["Blocks"]) -> "Blocks":
        """Return several matrices of the same bits as one, their rows one after another."""
        columns = zip(*((p.codes_NK, p.scale_NG, p.least_NG) for p in parts), strict=True)
        return Blocks(parts[0].bits, *(torch.cat(column) for column in columns))


def grouped(x_NK: Tensor) -> Tensor:
    """Return (..., G, 32) for (..., K)."""
    return x_NK.reshape(*x_NK.shape[:-1], -1, GROUP)


class CodedLinear(nn.Module):
    """A linear layer of four or eight bits; `parts` as in `Stacked`.

    Eight bits are two times four: 16 · high + low, each half multiplied by the same input. That
    keeps a scale for every group (torch's own kernel for eight bits has one for a whole row), and
    took 0.7 of its time for one position.
    """

    def __init__(
        self,
        bits: Bits,
        codes_NK: Tensor,
        scale_GN2: Tensor,
        bias: Tensor | None = None,
        parts: tuple[int, ...] = (),
    ) -> None:
        """Take codes below 16 (of eight bits: high halves, then low) and what they stand for.

        `scale_GN2` holds for each group its scale and the number of code 8; its dtype is what x's
        must be.
        """
        super().__init__()
        self.bits, self.parts = bits, parts
        self.outputs, self.inputs = len(codes_NK), codes_NK.shape[1] * 4 // bits
        more = -self.outputs % _ROWS
        codes_NK = F.pad(codes_NK, (0, 0, 0, more))
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes_NK.int(), 1)
        self.register_buffer("packed_codes", packed)
        self.register_buffer("padded_GN2", F.pad(scale_GN2, (0, 0, 0, more)).contiguous())
        self.bias = None if bias is None else nn.Parameter(bias.to(scale_GN2), requires_grad=False)

    packed_codes: Tensor
    padded_GN2: Tensor

    @property
    def scale_GN2(self) -> Tensor:
        """For each group its scale and the number of code 8."""
        return self.padded_GN2[:, : self.outputs]

    @classmethod
    def of(
        cls,
        blocks: Blocks,
        bias: Tensor | None = None,
        parts: tuple[int, ...] = (),
        dtype: torch.dtype = torch.bfloat16,
    ) -> Self:
        """Return the layer of a matrix in blocks, that multiplies numbers of `dtype`."""
        codes, scale, least = blocks.codes_NK, blocks.scale_NG, blocks.least_NG
        if blocks.bits == 8:
            codes = torch.cat([codes >> 4, codes & 15], 1)
            middle = torch.cat([torch.zeros_like(least), least + 136 * scale], 1)
            scale = torch.cat([16 * scale, scale], 1)
        else:
            middle = least + 8 * scale
        scale_GN2 = torch.stack([scale.T, middle.T], -1).to(dtype)
        return cls(blocks.bits, codes, scale_GN2, bias, parts)

    def forward(self, x_BTK: Tensor) -> Tensor:
        """Return (..., N) for (..., K)."""
        x_NK = x_BTK.reshape(-1, self.inputs)
        if self.bits == 8:
            x_NK = torch.cat((x_NK, x_NK), 1)
        y_NN: Tensor = _multiply(x_NK, self.packed_codes, GROUP, self.padded_GN2)
        if y_NN.shape[1] != self.outputs:
            y_NN = y_NN[:, : self.outputs].contiguous()
        if self.bias is not None:
            y_NN = y_NN + self.bias
        return y_NN.view(*x_BTK.shape[:-1], self.outputs)

    def codes(self) -> Tensor:
        """Return the four-bit codes, uint8, (N, K) or (N, 2 K), out of the kernel's own order.

        The order differs between machines, so files hold these: the kernel itself says them, asked
        for its product with each column of the unit matrix, with scale 1 and 8 in the middle.
        """
        size = len(self.padded_GN2) * GROUP
        plain = torch.ones(self.padded_GN2.shape, dtype=torch.bfloat16)
        plain[..., 1] = 8
        unit_KK = torch.eye(size, dtype=torch.bfloat16)
        codes_KN: Tensor = _multiply(unit_KK, self.packed_codes, GROUP, plain)
        return codes_KN[:, : self.outputs].T.to(torch.uint8).contiguous()

    def numbers(self) -> Tensor:
        """Return the matrix that it multiplies by, float32 (N, K)."""
        codes_NGK = grouped(self.codes()).float() - 8
        scale, middle = (side.T[..., None] for side in self.scale_GN2.float().unbind(-1))
        halves = (codes_NGK * scale + middle).flatten(1)
        return halves if self.bits == 4 else halves[:, : self.inputs] + halves[:, self.inputs :]


class CodedEmbedding(nn.Module):
    """A table of which a row's codes become numbers when it is looked up.

    `scale_VG2` holds for each group its scale and the number of code 0; rows are of its dtype.
    """

    def __init__(self, codes_VK: Tensor, scale_VG2: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes_VK", codes_VK)
        self.register_buffer("scale_VG2", scale_VG2)

    codes_VK: Tensor
    scale_VG2: Tensor

    @classmethod
    def of(cls, blocks: Blocks, dtype: torch.dtype = torch.bfloat16) -> Self:
        """Return the table of a matrix in blocks."""
        scale_VG2 = torch.stack([blocks.scale_NG, blocks.least_NG], -1).to(dtype)
        return cls(blocks.codes_NK, scale_VG2)

    @property
    def weight(self) -> Tensor:
        """The codes: who asks for the table by this name may look at its shape only."""
        return self.codes_VK

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return (B, T, K)."""
        scale, least = self.scale_VG2[ids_BT].float()[..., None, :].unbind(-1)
        codes = grouped(self.codes_VK[ids_BT])
        return (codes * scale + least).flatten(-2).to(self.scale_VG2.dtype)


_multiply: Any = torch.ops.aten._weight_int4pack_mm_for_cpu
