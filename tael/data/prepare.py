"""From the recipe's files to train, dev and test: read, clean, take duplicates out, split.

Labels are corrected first (`data.fixes`). Duplicates go before the split; where dev or test have
files of their own, those stay as they are, and the training rows that repeat them go. What leaks
from train into dev and test is measured and bounded. Every step is counted.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from tael.data.clean import clean, name_after
from tael.data.dedup import Deduped, Match, dedup, leaks, normalised
from tael.data.fixes import fix_splits, read_fixes
from tael.data.form import Form
from tael.data.leak import check_leak
from tael.data.read import input_files, read
from tael.data.record import Record
from tael.data.samples import Samples
from tael.data.split import split, split_by_group, split_by_order, split_by_time
from tael.errors import DataError
from tael.files import sha256
from tael.recipe.schema import Clean, Columns, Data

__all__ = ["Splits", "prepare", "texts"]


@dataclass(frozen=True)
class Splits:
    """The records of a run, and how they came to be."""

    train: list[Record]
    dev: list[Record]
    test: list[Record]
    counts: dict[str, int] = field(default_factory=dict)  # step → number, in order
    duplicates: list[Match] = field(default_factory=list)
    conflicts: list[list[Record]] = field(default_factory=list)
    leaks: list[Match] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)  # input file → SHA-256
    repairs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # step → before, after


def prepare(
    data: Data,
    seed: int,
    *,
    limit: int | None = None,
    labelled: bool = True,
    near: bool = True,
    look: Callable[[str, list[Record]], None] = lambda name, records: None,
    forms: Sequence[Form] = (),
) -> Splits:
    """Return the clean splits of `data`; `forms` are those of a task with other roles than a label.

    `limit` reads only so many rows of each of train, dev and test, and hashes no file; without
    `near` only exact duplicates are looked for: both for a quick check. `look` sees all cleaned
    records of train, dev and test before any goes: faults are told of the files as they are. Raises
    DataError for files that cannot be read, malformed rows, fixes that fit nothing, a leak above
    `data.max_leak`, and too few rows.
    """
    near = near and all(form.near for form in forms)
    rules = data.clean if near or data.clean.dedup != "near" else _exactly(data.clean)
    given = {"train": data.train, "dev": data.dev, "test": data.test}
    counts, samples = Counter[str](), Samples(masked=data.clean.personal == "mask")
    records = {}
    for name, paths in given.items():
        if paths is not None:
            records[name] = _records(
                name, paths, data, counts, limit=limit, labelled=labelled, samples=samples,
                forms=forms,
            )  # fmt: skip
    if data.fixes is not None:
        records, found = fix_splits(
            records, read_fixes(data.fixes), kind=data.labels, partial=limit is not None
        )
        counts.update(found)
    for name, part in records.items():
        look(name, part)
    deduped = dedup(records["train"], rules, counts)
    held_out = [record for name in ("dev", "test") for record in records.get(name, ())]
    train, leaked = leaks(deduped.kept, held_out, rules)
    if held_out:
        counts["train rows removed: they repeat dev or test"] = len(leaked)
        _count_held_out(records, rules, counts)
    parts = _parts(train, records, data, seed, counts=counts, forms=forms)
    check_leak(records, parts, data, counts, near)
    counts.update({f"{name} rows": len(part) for name, part in parts.items()})
    _check_sizes(parts, data, deduped)
    files = {path for paths in given.values() if paths for path in input_files(paths)}
    files |= {data.fixes} if data.fixes else set()
    return Splits(
        parts["train"],
        parts["dev"],
        parts["test"],
        dict(counts),
        deduped.duplicates,
        deduped.conflicts,
        leaked,
        {str(path): sha256(path) for path in sorted(files)} if limit is None else {},
        samples.steps,
    )


def texts(paths: tuple[Path, ...], data: Data, counts: Counter[str]) -> Iterator[str]:
    """Yield the cleaned texts of `paths`, each once, for learning without labels.

    The text column is `data.columns.text`, or the only column where a file has one.
    """
    seen: set[bytes] = set()
    columns = Columns(text=data.columns.text, label=data.columns.label)
    for path in input_files(paths):
        records = read(
            [path], encoding=data.encoding, on_error=data.on_error, txt=data.txt, counts=counts
        )
        first = next(records, {})
        names = [name for name in first if name != "@"]
        alone = columns.text not in names and (len(names) == 1 or "text" in names)
        here = Columns(text="text" if "text" in names else names[0]) if alone else columns
        stream = (record for part in ([first], records) for record in part)
        for record in clean(stream, here, data.clean, counts, labelled=False):
            digest = blake2b(normalised(record).encode(), digest_size=16).digest()
            if digest in seen and data.clean.dedup != "off":
                counts["exact duplicates removed"] += 1
                continue
            seen.add(digest)
            yield record["text"]


def _records(
    name: str,
    paths: tuple[Path, ...],
    data: Data,
    counts: Counter[str],
    *,
    limit: int | None,
    labelled: bool,
    samples: Samples,
    forms: Sequence[Form],
) -> list[Record]:
    found: Counter[str] = Counter()
    rows = read(
        paths,
        encoding=data.encoding,
        on_error=data.on_error,
        txt=data.txt,
        counts=found,
        limit=limit,
    )
    records = list(
        clean(
            rows, data.columns, data.clean, found, labelled=labelled, samples=samples, forms=forms
        )
    )
    counts.update({f"{name}: {step}": number for step, number in found.items() if number})
    counts[f"{name}: rows after cleaning"] = len(records)
    return records


def _exactly(rules: Clean) -> Clean:
    return rules.model_copy(update={"dedup": "exact"})


def _count_held_out(records: dict[str, list[Record]], rules: Clean, counts: Counter[str]) -> None:
    """Count what stands twice in dev, twice in test, or in both; nothing is removed there."""
    keys = {
        name: [normalised(record) for record in records.get(name, ())] for name in ("dev", "test")
    }
    for name in keys:
        if name in records:
            counts[f"{name}: exact duplicates, kept"] = len(keys[name]) - len(set(keys[name]))
    if "dev" in records and "test" in records:
        _, both = leaks(records["dev"], records["test"], rules)
        counts["dev rows that repeat test, kept"] = len(both)


def _parts(
    train: list[Record],
    records: dict[str, list[Record]],
    data: Data,
    seed: int,
    *,
    counts: Counter[str],
    forms: Sequence[Form],
) -> dict[str, list[Record]]:
    """Split off train what has no file of its own; the shares of the others are scaled up."""
    shares = [data.split[0]] + [
        0.0 if name in records else share
        for name, share in zip(("dev", "test"), data.split[1:], strict=True)
    ]
    total = sum(shares)
    scaled = (shares[0] / total, shares[1] / total, shares[2] / total)
    if data.order:
        parts = split_by_order(train, scaled)
    elif data.time is not None:
        parts = split_by_time(train, scaled, name_after(data.time, data.columns, forms))
    elif data.group is not None:
        column = name_after(data.group, data.columns, forms)
        parts = split_by_group(train, scaled, seed, column, counts)
    else:
        parts = split(train, scaled, seed)
    return parts | {name: records[name] for name in ("dev", "test") if name in records}


def _check_sizes(parts: dict[str, list[Record]], data: Data, deduped: Deduped) -> None:
    least_train = 1 if data.order else 2  # one text in its order is enough to learn from
    needed = {"train": least_train, "dev": int(data.split[1] > 0), "test": int(data.split[2] > 0)}
    short = [name for name, least in needed.items() if len(parts[name]) < least]
    if short:
        sizes = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
        places = ", ".join(map(str, islice(data.train, 3)))
        gone = sum(map(len, deduped.conflicts)) + len(deduped.duplicates)
        raise DataError(
            f"{places}: too few rows for {' and '.join(short)}: {sizes} after {gone} rows went as "
            "duplicates or contradictions. Give more rows, or own files for data.dev and data.test."
        )
