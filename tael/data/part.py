"""A piece of finished work on disk: arrays and facts in a folder, checked whenever it is read.

There are thousands, so none is flushed to the disk by itself: what a power cut tears is recognised
by its checksum and made again.
"""

import json
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tael.errors import DataError

__all__ = ["facts_of", "is_whole", "read_part", "write_part"]

Arrays = dict[str, NDArray[Any]]


def write_part(folder: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write `arrays` and `facts`, with a checksum of each array."""
    draft = folder.with_name(f".{folder.name}.part")
    for old in (draft, folder):
        shutil.rmtree(old, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(draft / f"{name}.npy", array)
    sums = {name: _checksum(array) for name, array in arrays.items()}
    (draft / "part.json").write_text(json.dumps({**facts, "crc32": sums}), "utf-8")
    draft.rename(folder)


def read_part(folder: Path) -> Arrays:
    """Read the arrays of a part; DataError where one is missing or not what was written."""
    try:
        sums: dict[str, int] = facts_of(folder)["crc32"]
        arrays = {name: np.load(folder / f"{name}.npy") for name in sums}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{folder}: damaged ({error}). Delete it, and run again.") from error
    wrong = [name for name, array in arrays.items() if _checksum(array) != sums[name]]
    if wrong:
        raise DataError(
            f"{folder}: damaged: {wrong[0]}.npy is not what was written. Delete it, and run again."
        )
    return arrays


def facts_of(folder: Path) -> dict[str, Any]:
    """Return the facts of a part; OSError or ValueError where it is not one."""
    facts: dict[str, Any] = json.loads((folder / "part.json").read_text("utf-8"))
    return facts


def is_whole(folder: Path) -> bool:
    """Tell whether a part is there and what was written."""
    try:
        read_part(folder)
    except DataError:
        return False
    return True


def _checksum(array: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)
