"""Zip archives: their members are read where they lie, within limits; nothing goes to disk."""

import stat
import struct
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

from tael.data.source import Source
from tael.errors import DataError

__all__ = ["members"]

_MEMBERS = 10_000
_TOTAL = 64 << 30  # bytes unpacked
_RATIO = 200  # text packs to a tenth; more than this over all members is no text
_SMALL = 64 << 20  # bytes up to which no ratio is suspicious
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def members(source: Source, counts: Counter[str]) -> list[Source]:
    """Return the files in the archive by name; hidden ones are left out and counted.

    Raises DataError before anything is unpacked: no zip file, encrypted, a name that leaves the
    folder or stands twice, a link, more than 10,000 members, more than 64 GiB, or more than 64 MiB
    at over 200 times the size of the archive.
    """
    path = source.path
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise DataError(f"{path}: not a zip file, or damaged ({error}). Fetch it again.") from error
    inside = [one for one in archive.infolist() if not one.is_dir()]
    _check_size(path, inside)
    twice = [name for name, n in Counter(one.filename for one in inside).items() if n > 1]
    if twice:
        raise DataError(f"{path}: {twice[0]!r:.80} stands twice in the archive. Pack it again.")
    for member in inside:
        _check(path, member)
    seen = [one for one in inside if not _hidden(one.filename)]
    counts["hidden files left out"] += len(inside) - len(seen)
    seen.sort(key=lambda one: one.filename)
    return [Source(path, source.name, archive, member) for member in seen]


def _check_size(path: Path, inside: list[zipfile.ZipInfo]) -> None:
    # zipfile reads no more of a member than its header claims, so the claims bind. They are held
    # against the file's own size: members that overlap share their packed bytes.
    packed, unpacked = path.stat().st_size, sum(one.file_size for one in inside)
    if len(inside) > _MEMBERS:
        problem = f"holds {len(inside):,} files, more than {_MEMBERS:,}"
    elif unpacked > _TOTAL:
        problem = f"unpacks to {unpacked:,} bytes, more than {_TOTAL >> 30} GiB"
    elif unpacked > _SMALL and unpacked > _RATIO * packed:
        problem = f"unpacks from {packed:,} to {unpacked:,} bytes, more than {_RATIO} times as much"
    else:
        return
    raise DataError(f"{path}: {problem}. If you trust it, unpack it and name the folder.")


def _check(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts or name.startswith(("/", "\\")) or ":" in name[:2]:
        problem = "leaves the folder"
    elif not name.isprintable():
        problem = "has control characters in its name"
    elif member.flag_bits & 0x1:
        problem = "is encrypted"
    elif stat.S_ISLNK(member.external_attr >> 16):
        problem = "is a link"
    elif member.compress_type not in _METHODS:
        problem = f"is packed by method {member.compress_type}, which is not deflate"
    else:
        return
    raise DataError(f"{path}: the entry {name!r:.80} {problem}. Unpack it, and name the files.")


def _hidden(name: str) -> bool:
    """Tell what systems leave behind (`__MACOSX/._a.csv`, `.DS_Store`) from data."""
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)
