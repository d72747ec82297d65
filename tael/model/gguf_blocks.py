"""Matrices that a GGUF file holds in blocks of 32, taken over as they are: code by code.

Q4_0, Q4_1 and Q8_0 have a scale (and a least) for each 32 numbers. Q4_K has them too: its blocks of
256 hold eight pairs of six bits, which two float16 multiply.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from tael.model.coded import Bits, Blocks
from tael.model.gguf_header import Stored

__all__ = ["blocks_of"]

_Bytes = NDArray[np.uint8]
_Parts = tuple[_Bytes, NDArray[np.float32], NDArray[np.float32]]  # codes, scales, leasts; by block


def blocks_of(stored: Stored) -> Blocks | None:
    """Return a matrix of the file in codes; None where its type is another."""
    if stored.kind.name not in _KINDS or len(stored.shape) != 2:
        return None
    bits, size, read = _KINDS[stored.kind.name]
    rows, width = stored.shape
    codes, scale, least = read(stored.data.reshape(-1, size))
    columns = ((codes, width), (scale, -1), (least, -1))
    return Blocks(bits, *(torch.from_numpy(x.reshape(rows, n)) for x, n in columns))


def _q4_0(blocks: _Bytes) -> _Parts:
    scale = _float(blocks[:, :2])
    return _nibbles(blocks[:, 2:]), scale, -8 * scale


def _q4_1(blocks: _Bytes) -> _Parts:
    return _nibbles(blocks[:, 4:]), _float(blocks[:, :2]), _float(blocks[:, 2:4])


def _q8_0(blocks: _Bytes) -> _Parts:
    scale = _float(blocks[:, :2])
    return blocks[:, 2:] ^ np.uint8(128), scale, -128 * scale  # signed numbers, from -128 as code 0


def _q4_k(blocks: _Bytes) -> _Parts:
    low, high, both = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scale = np.concatenate([low & 63, (both & 15) | (low >> 2 & 48)], 1)
    least = np.concatenate([high & 63, (both >> 4) | (high >> 2 & 48)], 1)
    codes = [_nibbles(blocks[:, at : at + 32]) for at in range(16, 144, 32)]
    return np.concatenate(codes, 1), _float(blocks[:, :2]) * scale, -_float(blocks[:, 2:4]) * least


def _nibbles(packed: _Bytes) -> _Bytes:
    """Return the low halves of some bytes, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], 1)


def _float(pair: _Bytes) -> NDArray[np.float32]:
    return np.ascontiguousarray(pair).view(np.float16).astype(np.float32)


_KINDS: dict[str, tuple[Bits, int, Callable[[_Bytes], _Parts]]] = {  # bits, bytes a block, reader
    "Q4_0": (4, 18, _q4_0),
    "Q4_1": (4, 20, _q4_1),
    "Q8_0": (8, 34, _q8_0),
    "Q4_K": (4, 144, _q4_k),
}
