"""What a path of the recipe stands for: a file, a folder, a pattern or a saved dataset."""

import glob
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tael.data.source import ending
from tael.errors import DataError

__all__ = ["files", "is_pattern"]

_SIGNS = "*?["
_MARKERS = ("_SUCCESS", "_metadata", "_common_metadata")  # Spark's and Parquet's own
_SHOWN = 5


def files(paths: Iterable[Path], known: Sequence[str], counts: Counter[str]) -> dict[Path, str]:
    """Return the files that `paths` stand for, each once, folders and patterns sorted by name.

    The value is the file's name for places: as short as tells it from others that the path names.

    A path that exists is itself, whatever signs it has; else `*`, `?`, `[…]` and `**` match. A
    folder is read with its subfolders and must hold files of one of the formats `known`; a folder
    that Hugging Face datasets saved is its Arrow files. Hidden files are left out and counted.
    Raises DataError for what matches nothing, other formats, and mixed ones.
    """
    found = [pair for path in paths for pair in _files(path, known, counts)]
    once = dict(reversed(found))  # the first name of each
    once = {path: once[path] for path, _ in found}
    counts["files named twice, read once"] += len(found) - len(once)
    return once


def is_pattern(path: Path) -> bool:
    """Tell whether `path` stands for the files it matches: it has a `*`, `?` or `[`, and no file.

    A file whose name has such a sign is itself.
    """
    return any(sign in str(path) for sign in _SIGNS) and not path.exists()


def _files(path: Path, known: Sequence[str], counts: Counter[str]) -> Iterator[tuple[Path, str]]:
    if path.is_dir():
        above = path.absolute().parent
        for file in _inside(path, known, counts):
            yield file, file.absolute().relative_to(above).as_posix()
    elif is_pattern(path):
        yield from _matches(path, known, counts)
    else:
        yield path, path.name


def _matches(
    pattern: Path, known: Sequence[str], counts: Counter[str]
) -> Iterator[tuple[Path, str]]:
    matches = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
    if not matches:
        raise DataError(f"{pattern}: no file matches this pattern. Mend the path.")
    signed = [any(sign in part for sign in _SIGNS) for part in pattern.parts]
    above = Path(*pattern.parts[: signed.index(True)])
    folders = {match for match in matches if match.is_dir()}
    for match in matches:
        if not folders.isdisjoint(match.parents):
            continue  # its folder brings it
        for file, _ in _files(match, known, counts):
            yield file, file.relative_to(above).as_posix()


def _inside(folder: Path, known: Sequence[str], counts: Counter[str]) -> Iterable[Path]:
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(state.parent.name for state in folder.glob("*/state.json"))
        raise DataError(
            f"{folder}: a saved dataset with the splits {', '.join(splits) or '(none)'}. Name one, "
            f"such as {folder / (splits or ['train'])[0]}."
        )
    if (folder / "state.json").is_file():
        return _saved(folder)
    found = list(_walk(folder, counts))
    kinds = {file: ending(file.name)[0] for file in found}
    unknown = [str(file.relative_to(folder)) for file in found if kinds[file] not in known]
    if unknown:
        more = f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
        raise DataError(
            f"{folder}: {', '.join(unknown[:_SHOWN])}{more}: unknown format. Name the files by a "
            f"pattern, such as {folder / '*.csv'}; formats: {', '.join(known)}."
        )
    if not found:
        raise DataError(f"{folder}: no files in this folder.")
    if len(set(kinds.values())) > 1:
        mixed = ", ".join(sorted(set(kinds.values())))
        raise DataError(
            f"{folder}: mixed formats {mixed}, perhaps the same rows twice. Name the files by "
            f"patterns, such as {folder / ('*' + min(kinds.values()))}."
        )
    return found


def _walk(folder: Path, counts: Counter[str]) -> Iterator[Path]:
    """Yield the files below `folder` by path; links to folders are not followed: no circles."""
    found = []
    for here, folders, names in os.walk(folder):
        seen = [name for name in names if not name.startswith(".") and name not in _MARKERS]
        counts["hidden files left out"] += len(names) - len(seen)
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in seen]
    yield from sorted(found)


def _saved(folder: Path) -> list[Path]:
    """Return the Arrow files of a folder that `datasets.Dataset.save_to_disk` wrote, in order."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        names = [str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{folder / 'state.json'}: not the state of a saved dataset.") from error
    if any(Path(name).name != name or name in ("", "..") for name in names):
        raise DataError(f"{folder / 'state.json'}: names a file outside the folder.")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise DataError(
            f"{folder}: the dataset keeps its rows by an index. Save it again after "
            "`flatten_indices()`."
        )
    return [folder / name for name in names]
