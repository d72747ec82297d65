"""Whether a folder's vocabulary fits its embedding: read from the files, without a tokenizer."""

import json
from pathlib import Path

from tael.errors import CheckpointError

__all__ = ["check_vocabulary"]


def check_vocabulary(folder: Path, vocab: int) -> list[str]:
    """Return warnings about `tokenizer.json` or `vocab.txt` beside weights for `vocab` units.

    CheckpointError where a unit would have no embedding, or where units are empty or the same.
    A folder without either file is fine: a tokenizer may come from elsewhere.
    """
    for name, read in (("tokenizer.json", _from_json), ("vocab.txt", _from_text)):
        path = folder / name
        if path.is_file():
            units = read(path)
            if units > vocab:
                raise CheckpointError(
                    f"{path}: has {units:,} units, but config.json says vocab_size {vocab:,}: ids "
                    "from there on have no embedding; use the tokenizer of these weights"
                )
            if units < vocab:
                few = f"{path}: has {units:,} units, config.json says vocab_size {vocab:,}"
                return [f"{few}: the last {vocab - units:,} embeddings are never used"]
            return []
    return []


def _from_json(path: Path) -> int:
    """Return the highest id + 1."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        units = raw["model"]["vocab"]
        ids = units.values() if isinstance(units, dict) else range(len(units))
        added = [token["id"] for token in raw.get("added_tokens") or []]
        return max((*ids, *added), default=-1) + 1
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a tokenizer: {error!r}") from error


def _from_text(path: Path) -> int:
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not UTF-8 at byte {error.start:,}") from error
    units = [line.rstrip("\r") for line in lines]
    seen: set[str] = set()
    problems = []
    for number, unit in enumerate(units, 1):
        if not unit:
            problems.append(f"line {number} is empty")
        elif unit in seen:
            problems.append(f"line {number} repeats {unit!r}")
        seen.add(unit)
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        shown = ", ".join(problems[:4])
        raise CheckpointError(f"{path}: expected one unit a line, each once: {shown}{more}")
    return len(units)
