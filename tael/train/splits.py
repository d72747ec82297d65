"""The records of a run on disk: cleaned and split once, then only read."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tael.data.prepare import Splits, prepare
from tael.data.record import Record
from tael.data.report import lead, write_report
from tael.errors import RunError
from tael.files import sha256, write_text
from tael.page.words import Lang
from tael.recipe.schema import Recipe
from tael.task.base import find

__all__ = [
    "SPLITS", "open_splits", "read_records", "write_records", "write_splits",
]  # fmt: skip

SPLITS = ("train", "dev", "test")
_MARK = "splits.json"  # written last: where it stands and fits, the rest is whole


def open_splits(
    folder: Path, recipe: Recipe, say: Callable[[str], None]
) -> dict[str, list[Record]]:
    """Return the records of each split; prepared, reported and summed up on the first call."""
    data = folder / "data"
    if not _is_whole(data):
        task = find(recipe.task)
        look = partial(task.check, recipe=recipe)
        found = prepare(recipe.data, recipe.seed, look=look, forms=task.forms(recipe.data.columns))
        write_splits(data, found, recipe.lang)
        say(f"data: {lead(found, recipe.lang)}")
    return {split: read_records(data / f"{split}.jsonl") for split in SPLITS}


def write_splits(data: Path, found: Splits, lang: Lang = "en") -> None:
    """Write the records of each split, their report, and last of all what says they are whole."""
    for split in SPLITS:
        write_records(data / f"{split}.jsonl", getattr(found, split))
    write_report(data, found, lang=lang)
    write_text(data / _MARK, json.dumps(_mark(data, found), indent=1, ensure_ascii=False))


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write records as JSON, one a line."""
    lines = (json.dumps(record, ensure_ascii=False) for record in records)
    write_text(path, "".join(line + "\n" for line in lines))


def read_records(path: Path) -> list[Record]:
    """Read what `write_records` wrote; RunError where it is missing or damaged."""
    try:
        # No splitlines: a text may hold U+2028, which it takes for the end of a line.
        with path.open(encoding="utf-8", newline="\n") as file:
            return [json.loads(line) for line in file]
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); train the run anew") from error


def _mark(data: Path, found: Splits) -> dict[str, object]:
    return {
        "rows": {split: len(getattr(found, split)) for split in SPLITS},
        "sha256": {split: sha256(data / f"{split}.jsonl") for split in SPLITS},
        "counts": found.counts,
        "inputs": found.hashes,
    }


def _is_whole(data: Path) -> bool:
    if not (data / _MARK).exists():
        return False
    hashes: dict[str, str] = json.loads((data / _MARK).read_text("utf-8"))["sha256"]
    files = {data / f"{split}.jsonl": expected for split, expected in hashes.items()}
    return all(path.exists() and sha256(path) == expected for path, expected in files.items())
