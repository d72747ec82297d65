"""The header of a GGUF file: what it says of itself and where its tensors lie, checked first.

The format (little-endian): "GGUF", version, number of tensors, number of keys; for each key its
name, type and value; for each tensor its name, sizes (fastest first), type and offset; padding; the
tensors. Read here, and not by the library, since that makes an array of every string (seconds for a
vocabulary) and believes every length.
"""

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tael.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType
    from numpy.typing import NDArray

__all__ = ["Header", "Stored", "dequantised", "read_gguf"]

_PLAIN = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8",
    11: "<i8", 12: "<f8",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4
_LEAST_KEY, _LEAST_TENSOR = 13, 24  # bytes: an empty name, a type, the shortest value or sizes


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor as it lies in the file: blocks of `kind` along the last dimension."""

    kind: "GGMLQuantizationType"
    shape: tuple[int, ...]  # slowest dimension first, as torch has it
    data: "NDArray[np.uint8]"  # (rows, bytes of a row), mapped


@dataclass(frozen=True, slots=True)
class Header:
    """What a file holds; values are bool, int, float, str or lists of these."""

    path: Path
    keys: dict[str, Any]
    tensors: dict[str, Stored]


def read_gguf(path: Path) -> Header:
    """Return a file's header, its tensors mapped; CheckpointError where it is damaged or lies.

    UsageError where the library that knows the types is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise UsageError(
            f"{path}: GGUF files are read with the gguf library; "
            "install it: pip install 'tael[gguf]'"
        ) from error
    try:
        with path.open("rb") as file:
            raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    reader = _Reader(path, raw)
    try:
        return reader.header(gguf.GGMLQuantizationType, gguf.GGML_QUANT_SIZES)
    except _Broken as error:
        raise CheckpointError(f"{path}: not a whole GGUF file: {error}; fetch it again") from error


def dequantised(path: Path, stored: Stored, rows: slice = slice(None)) -> "NDArray[np.float32]":
    """Return some rows of a tensor as float32; CheckpointError where the library cannot."""
    import gguf

    try:
        return gguf.dequantize(stored.data[rows], stored.kind)
    except NotImplementedError as error:
        raise CheckpointError(
            f"{path}: tensors of type {stored.kind.name} cannot be turned into numbers by the gguf "
            "library; convert the file to Q8_0"
        ) from error


class _Broken(Exception):
    """What is wrong with the file, in words."""


class _Reader:
    """Reads forward; nothing is taken before it is known to lie within the file."""

    def __init__(self, path: Path, raw: mmap.mmap) -> None:
        self.path, self.raw, self.at, self.size = path, raw, 0, len(raw)

    def header(
        self, kinds: "type[GGMLQuantizationType]", blocks: dict[Any, tuple[int, int]]
    ) -> Header:
        """Return all of it."""
        if self.take(4) != b"GGUF":
            raise _Broken("it does not begin with GGUF")
        version = self.number("<u4")
        if version not in (2, 3):
            raise _Broken(f"its version is {version}, only 2 and 3 of little-endian files are read")
        tensors = self.count(_LEAST_TENSOR, "tensors", more=8)
        count = self.count(_LEAST_KEY, "keys")
        keys = self.table(count, "key", lambda: self.value(self.number("<u4")))
        found = self.table(tensors, "tensor", lambda: self.tensor(kinds))
        alignment = keys.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise _Broken(f"general.alignment is {alignment!r}, expected a power of two")
        start = -(-self.at // alignment) * alignment
        stored = {
            name: self.stored(name, *entry, start=start, blocks=blocks)
            for name, entry in found.items()
        }
        return Header(self.path, keys, stored)

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count > self.size - self.at:
            raise _Broken(
                f"it asks for {count:,} bytes at byte {self.at:,}, and has {self.size:,} in all"
            )
        self.at += count
        return self.raw[self.at - count : self.at]

    def number(self, kind: str) -> Any:
        """Return the next number of a numpy type."""
        return np.frombuffer(self.take(int(kind[-1]) if kind != "?" else 1), kind)[0].item()

    def count(self, least: int, what: str, more: int = 0) -> int:
        """Return a number of things that have at least so many bytes each."""
        count: int = self.number("<u8")
        if count * least > self.size - self.at - more:
            raise _Broken(f"it says to hold {count:,} {what}, and has {self.size:,} bytes in all")
        return count

    def text(self) -> str:
        """Return the next string."""
        start = self.at
        (length,) = struct.unpack("<Q", self.take(8))
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Broken(f"the text at byte {start:,} is not UTF-8") from error

    def value(self, kind: int, *, inside: bool = False) -> Any:
        """Return the next value; arrays become lists."""
        if kind == _STRING:
            return self.text()
        if kind in _PLAIN:
            return self.number(_PLAIN[kind])
        if kind != _ARRAY or inside:
            raise _Broken(f"a value of the unknown type {kind} ends at byte {self.at:,}")
        each: int = self.number("<u4")
        if each in _PLAIN:
            dtype = np.dtype(_PLAIN[each])
            count = self.count(dtype.itemsize, "numbers")
            return np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()
        return [self.value(each, inside=True) for _ in range(self.count(8, "values"))]

    def table(self, count: int, what: str, read: Callable[[], Any]) -> dict[str, Any]:
        """Return so many named things."""
        table: dict[str, Any] = {}
        for _ in range(count):
            name = self.text()
            if name in table:
                raise _Broken(f"it has the {what} {name!r} twice")
            table[name] = read()
        return table

    def tensor(
        self, kinds: "type[GGMLQuantizationType]"
    ) -> tuple[tuple[int, ...], "GGMLQuantizationType", int]:
        """Return the shape, type and offset of the next tensor."""
        dimensions: int = self.number("<u4")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise _Broken(
                f"the tensor that ends its name at byte {self.at:,} has {dimensions} dimensions"
            )
        shape = tuple(self.number("<u8") for _ in range(dimensions))[::-1]
        number: int = self.number("<u4")
        try:
            return shape, kinds(number), self.number("<u8")
        except ValueError as error:
            known = ", ".join(kind.name for kind in kinds)
            raise _Broken(
                f"tensor type {number} is unknown to the gguf library ({known})"
            ) from error

    def stored(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: "GGMLQuantizationType",
        offset: int,
        *,
        start: int,
        blocks: dict[Any, tuple[int, int]],
    ) -> Stored:
        """Return a tensor's bytes, mapped."""
        numbers, size = blocks[kind]
        if shape[-1] % numbers:
            raise _Broken(f"tensor {name!r}: rows of {shape[-1]:,} are no blocks of {numbers}")
        rows, width = prod(shape[:-1]), shape[-1] // numbers * size
        first, last = start + offset, start + offset + rows * width
        if last > self.size:
            raise _Broken(f"tensor {name!r} ends at byte {last:,}, the file has {self.size:,}")
        data = np.frombuffer(self.raw, np.uint8, rows * width, first) if rows * width else _NOTHING
        return Stored(kind, shape, data.reshape(rows, width))


_NOTHING = np.zeros(0, np.uint8)
