"""The weight files of a folder and their headers, checked before a byte of a tensor is touched.

Only safetensors: pickles run code when they are read. The library refuses damaged files too; this
says which tensor is wrong, and gives the shapes without opening anything. The format: 8 bytes with
the length of the header, the header (JSON), the tensors.
"""

import json
import struct
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from tael.errors import CheckpointError

__all__ = ["INDEX", "WEIGHTS", "Entry", "Source", "find_sources", "read_header"]

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_MOST_HEADER_BYTES = 100_000_000  # the library's own bound
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
    "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file says about one tensor; `start` and `stop` are bytes from the file's first."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where a tensor lies, under which name."""

    path: Path
    name: str
    entry: Entry


def find_sources(folder: Path) -> dict[str, Source]:
    """Return where each tensor of a folder lies, by name; CheckpointError where there are none."""
    return {
        name: Source(path, name, entry)
        for path in _weight_files(folder)
        for name, entry in read_header(path).items()
    }


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if index.is_file():
        return [folder / name for name in _from_index(index)]
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
    if pickles:
        raise CheckpointError(
            f"{folder / pickles[0]}: pickled weights run code when read and are refused; where you "
            'trust their source, write them once as safetensors: python -c "import torch, '
            "safetensors.torch as s; s.save_file({k: v.clone() for k, v in torch.load("
            f"'{pickles[0]}', weights_only=True).items()}}, '{WEIGHTS}')\""
        )
    raise CheckpointError(f"{folder}: no weights: expected {WEIGHTS} or {INDEX}")


def _from_index(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index}: not an index of weight files: {error!r}") from error
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise CheckpointError(f"{index}: names {name!r}, which is not a file beside it")
    return names


def read_header(path: Path) -> dict[str, Entry]:
    """Return every tensor's entry; CheckpointError where the file is damaged or lies."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
        if length > min(size - 8, _MOST_HEADER_BYTES):
            raise CheckpointError(
                f"{path}: not a whole safetensors file: it has {size:,} bytes and its header would "
                f"have {length:,}; fetch or save it again"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw)
        entries = {name: _entry(value) for name, value in header.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: the safetensors header cannot be read: {error}") from error
    _check(path, entries, size - 8 - length)
    body = 8 + length
    return {
        name: replace(entry, start=entry.start + body, stop=entry.stop + body)
        for name, entry in entries.items()
    }


def _entry(value: dict[str, Any]) -> Entry:
    shape, (start, stop) = value["shape"], value["data_offsets"]
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, start, stop)):
        raise ValueError("shapes and offsets must be whole numbers from 0")
    return Entry(str(value["dtype"]), tuple(shape), start, stop)


def _check(path: Path, entries: dict[str, Entry], body: int) -> None:
    end, before = 0, ""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        needed = prod(entry.shape) * _BYTES.get(entry.dtype, 0)
        problem = ""
        if entry.dtype not in _BYTES:
            problem = f"has the unknown dtype {entry.dtype}; known: {', '.join(_BYTES)}"
        elif entry.stop - entry.start != needed:
            shape = list(entry.shape)
            problem = f"has {entry.stop - entry.start:,} bytes, but {shape} needs {needed:,}"
        elif entry.start < end:
            problem = f"overlaps tensor {before!r}"
        elif entry.start > end:
            problem = f"leaves {entry.start - end:,} bytes before it that belong to no tensor"
        elif entry.stop > body:
            problem = f"ends at byte {entry.stop:,}, but the file holds {body:,} bytes of tensors"
        if problem:
            raise CheckpointError(f"{path}: tensor {name!r} {problem}; fetch or save it again")
        end, before = entry.stop, name
    if end != body:
        raise CheckpointError(f"{path}: {body - end:,} bytes after the last tensor belong to none")
