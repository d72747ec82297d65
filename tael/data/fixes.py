"""Corrections of labels, from a table that a person has edited.

A row has the columns `place` (file:line, as in every message) and `label`: the right label, or
`drop`. With a column `text` the text there must still be the one at that place, so a table made for
an older file does no harm. `data/suspects.csv` of a run has this form.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tael.data.dedup import normalised
from tael.data.read import read
from tael.data.record import Record, place
from tael.errors import DataError
from tael.recipe.schema import Kind

__all__ = ["DROP", "Fix", "apply_fixes", "escaped", "fix_splits", "read_fixes", "unescaped"]

DROP = "drop"
_PLACES = 3  # named in a message
# What a spreadsheet would take for a formula; "'" itself, so that none is lost on the way back.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True, slots=True)
class Fix:
    """The label that the record at `place` should have, or `drop`; `at` is where this is said."""

    place: str
    label: str
    text: str | None = None
    at: str = "fix"


def escaped(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: such a one begins with a `'`."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def unescaped(cell: str) -> str:
    """Return what `escaped` was given; other cells, typed by hand, stay as they are."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell


def read_fixes(path: Path) -> list[Fix]:
    """Return the rows of a table of fixes; DataError for one without `place` or `label`."""
    fixes = []
    for row in read([path]):
        if "place" not in row or "label" not in row:
            found = ", ".join(name for name in row if name != "@")
            raise DataError(
                f"{place(row)}: a table of fixes needs the columns place and label; found {found}."
            )
        text = row.get("text")
        fixes.append(
            Fix(
                unescaped(str(row["place"] or "").strip()),
                unescaped(str(row["label"] if row["label"] is not None else "").strip()),
                None if text is None else unescaped(str(text)),
                place(row),
            )
        )
    return fixes


def apply_fixes(
    records: Sequence[Record], fixes: Sequence[Fix], *, kind: Kind = "single"
) -> tuple[list[Record], Counter[str]]:
    """Return the corrected records, and how many were relabelled, dropped and left as they were.

    Raises DataError for a place that no record has, a text that is not the one there, two answers
    for one place, and a label that no record has (for a regression: that is no number).
    """
    parts, counts = fix_splits({"": records}, fixes, kind=kind)
    return parts[""], counts


def fix_splits(
    parts: Mapping[str, Sequence[Record]],
    fixes: Sequence[Fix],
    *,
    kind: Kind = "single",
    partial: bool = False,
) -> tuple[dict[str, list[Record]], Counter[str]]:
    """Return the corrected records of each split; `partial` forgives places that were not read."""
    everything = [record for part in parts.values() for record in part]
    labels = _resolve(everything, fixes, kind, partial)
    counts = Counter({"fixes: relabelled": 0, "fixes: dropped": 0, "fixes: left as they were": 0})
    fixed: dict[str, list[Record]] = {name: [] for name in parts}
    index = 0
    for name, part in parts.items():
        for record in part:
            label = labels.get(index)
            index += 1
            if label is None or label == record.get("label"):
                counts["fixes: left as they were"] += label is not None
                fixed[name].append(record)
            elif label == DROP:
                counts["fixes: dropped"] += 1
            else:
                counts["fixes: relabelled"] += 1
                fixed[name].append(record | {"label": label})
    return fixed, counts


def _resolve(
    records: Sequence[Record], fixes: Sequence[Fix], kind: Kind, partial: bool
) -> dict[int, str]:
    """Return the new label of each record, by its index, that a fix is about."""
    standing: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        standing.setdefault(place(record), []).append(index)
    known = {part for record in records for part in _parts(str(record.get("label", "")), kind)}
    labels: dict[int, str] = {}
    missing = []
    for fix in fixes:
        if fix.place not in standing:
            missing.append(fix)
            continue
        index = _meant(fix, standing[fix.place], records)
        if labels.setdefault(index, fix.label) != fix.label:
            raise DataError(
                f"{fix.at}: {fix.place} was given {labels[index]!r} before, {fix.label!r} here; "
                "keep one row."
            )
        _check_label(fix, known, kind, partial)
    if missing and not partial:
        places = ", ".join(f"{fix.place} ({fix.at})" for fix in missing[:_PLACES])
        raise DataError(
            f"{missing[0].at}: {len(missing)} fixes for places that hold no record: {places}. "
            "Were the files edited, or the rows dropped in cleaning? Make the table anew."
        )
    return labels


def _meant(fix: Fix, found: Sequence[int], records: Sequence[Record]) -> int:
    """Return the record that is meant; two files of one name are told apart by the text."""
    if fix.text is not None:
        key = normalised({"text": fix.text})
        fitting = [i for i in found if normalised({"text": records[i]["text"]}) == key]
        if not fitting:
            raise DataError(
                f"{fix.at}: {fix.place} holds another text now: {records[found[0]]['text']!r:.60}. "
                "The file was edited since; make the table anew."
            )
        found = fitting
    if len(found) > 1:
        raise DataError(
            f"{fix.at}: {len(found)} records stand at {fix.place}, in files of the same name; "
            "rename one of the files."
        )
    return found[0]


def _check_label(fix: Fix, known: set[str], kind: Kind, partial: bool) -> None:
    if fix.label == DROP:
        if DROP in known:
            raise DataError(
                f"{fix.at}: 'drop' is a label of the data too, so it cannot say that a row goes; "
                "take the row out of the file itself."
            )
        return
    if kind == "regression":
        wrong = [] if _is_number(fix.label) else [fix.label]
    else:
        wrong = [part for part in _parts(fix.label, kind) if part not in known]
        wrong = [] if partial and fix.label else wrong
    if wrong or (not fix.label and kind != "multi"):
        some = ", ".join(sorted(known)[:20])
        what = "a number" if kind == "regression" else f"a label of the data ({some})"
        raise DataError(f"{fix.at}: label {fix.label!r} is not {what}, nor 'drop'.")


def _parts(label: str, kind: Kind) -> list[str]:
    if kind != "multi":
        return [label]
    return [part.strip() for part in label.split("|") if part.strip()]


def _is_number(label: str) -> bool:
    try:
        return float(label) - float(label) == 0  # neither inf nor nan
    except ValueError:
        return False
