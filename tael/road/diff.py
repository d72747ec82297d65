"""What changed between the data of two runs: recipe, files, counts, and every row."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tael.data.dedup import normalised
from tael.data.record import Record, place
from tael.errors import RunError
from tael.recipe.fingerprint import difference, fingerprint
from tael.recipe.load import load_recipe
from tael.train.lock import read_lock
from tael.train.splits import SPLITS, read_records

__all__ = ["Change", "Difference", "data_diff"]

_SHOWN = 5  # rows of each kind of change, for a reader
_SHORT = 60


@dataclass(frozen=True)
class Change:
    """One text that another run has in another way: its places there, before and after."""

    place: str
    text: str
    before: str  # split and label, "" where it is absent
    after: str


@dataclass
class Difference:
    """All that differs, the old run first."""

    rows: dict[str, tuple[int, int]]
    recipe: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    added: list[Change] = field(default_factory=list)
    removed: list[Change] = field(default_factory=list)
    moved: list[Change] = field(default_factory=list)
    relabelled: list[Change] = field(default_factory=list)

    def changes(self) -> dict[str, list[Change]]:
        """Return the changed rows by what happened to them."""
        return {kind: getattr(self, kind) for kind in ("added", "removed", "moved", "relabelled")}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, every changed row among them."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the difference for a reader, the answer first."""
        changes = self.changes()
        told = ", ".join(f"{len(rows):,} {kind}" for kind, rows in changes.items() if rows)
        sizes = (f"{split} {old:,} → {new:,}" for split, (old, new) in self.rows.items())
        lines = [
            f"texts: {told}" if told else "the same texts, in the same splits, with the same labels"
        ]
        lines.append("rows: " + " · ".join(sizes))
        for name in ("recipe", "files", "counts"):
            found: list[str] = getattr(self, name)
            lines += [f"{name}:", *(f"  {line}" for line in found)] if found else []
        for kind, rows in changes.items():
            lines += [f"{kind}: {len(rows):,}"] if rows else []
            lines += [f"  {_told(change)}" for change in rows[:_SHOWN]]
            lines += [f"  and {len(rows) - _SHOWN:,} more; --json lists all"][: len(rows) > _SHOWN]
        return lines


def data_diff(old: Path, new: Path) -> Difference:
    """Compare the data of two runs, or of folders that `tael data --out` wrote.

    A text is the same where its words are: case, width, spaces and punctuation do not count, as in
    deduplication. A text that stands several times is compared with all its splits and labels.
    Raises RunError for a folder without prepared data.
    """
    folders = [_data(old), _data(new)]
    marks = [json.loads((folder / "splits.json").read_text("utf-8")) for folder in folders]
    rows = {split: (marks[0]["rows"][split], marks[1]["rows"][split]) for split in SPLITS}
    before, after = (_by_text(folder) for folder in folders)
    found = Difference(
        rows,
        recipe=difference(
            *(_fingerprint(run, data) for run, data in zip((old, new), folders, strict=True))
        ),
        files=_files(*(mark["inputs"] for mark in marks)),
        counts=_counts(*(mark["counts"] for mark in marks)),
    )
    for key in dict.fromkeys([*before, *after]):
        _compare(found, before.get(key, []), after.get(key, []))
    return found


Standing = tuple[str, Record]  # a split and a record that stands there


def _data(run: Path) -> Path:
    for folder in (run / "data", run):
        if (folder / "splits.json").is_file():
            return folder
    raise RunError(
        f"{run}: no prepared data (no data/splits.json); name a run's folder, or one that "
        f"`tael data RECIPE --out {run}` writes"
    )


def _fingerprint(run: Path, data: Path) -> Mapping[str, Any]:
    if (run / "recipe.lock.yaml").exists():
        return read_lock(run).recipe
    return fingerprint(load_recipe(data / "recipe.yaml"))


def _by_text(folder: Path) -> dict[str, list[Standing]]:
    found: dict[str, list[Standing]] = defaultdict(list)
    for split in SPLITS:
        for record in read_records(folder / f"{split}.jsonl"):
            key = hashlib.blake2b(normalised(record).encode("utf-8", "surrogatepass"))
            found[key.hexdigest()].append((split, record))
    return found


def _compare(found: Difference, old: list[Standing], new: list[Standing]) -> None:
    splits = [sorted(split for split, _ in rows) for rows in (old, new)]
    labels = [sorted(str(record.get("label")) for _, record in rows) for rows in (old, new)]
    record = (new or old)[0][1]
    change = Change(
        place(record),
        " ".join(str(record["text"]).split()),
        *(" + ".join(f"{split} {one.get('label', '')}".strip() for split, one in rows)
          for rows in (old, new)),
    )  # fmt: skip
    if not old:
        found.added.append(change)
    elif not new:
        found.removed.append(change)
    else:
        if set(splits[0]) != set(splits[1]):
            found.moved.append(change)
        if set(labels[0]) != set(labels[1]):
            found.relabelled.append(change)
        # The same text once more, or once less, in the same splits.
        if len(new) > len(old) and set(splits[0]) == set(splits[1]):
            found.added.append(change)
        if len(new) < len(old) and set(splits[0]) == set(splits[1]):
            found.removed.append(change)


def _files(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    lines = []
    for path in dict.fromkeys([*old, *new]):
        if path not in new:
            lines.append(f"{path}: no longer read")
        elif path not in old:
            lines.append(f"{path}: read now")
        elif old[path] != new[path]:
            lines.append(f"{path}: other content ({old[path][:12]} → {new[path][:12]})")
    return lines


def _counts(old: Mapping[str, int], new: Mapping[str, int]) -> list[str]:
    return [
        f"{step}: {old.get(step, 0):,} → {new.get(step, 0):,}"
        for step in dict.fromkeys([*old, *new])
        if old.get(step, 0) != new.get(step, 0) and not step.endswith(" rows")
    ]


def _told(change: Change) -> str:
    text = change.text if len(change.text) <= _SHORT else f"{change.text[: _SHORT - 1]}…"
    told = " → ".join(filter(None, (change.before, change.after)))
    return f"{change.place}  {told}  {text}"
