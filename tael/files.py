"""Files that are whole or absent: written beside, flushed to disk, renamed into place."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_file", "atomic_folder", "sha256", "write_bytes", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8, so that a reader sees the old file or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, so that a reader sees the old file or the new one, never a part."""
    with atomic_file(path) as draft:
        draft.write_bytes(content)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Hand out a path beside `path`; rename it into place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield draft
        _show_to_others(draft)
        _fsync(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _fsync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Hand out an empty folder beside `path`; it takes the place of `path` when the block ends."""
    draft = path.with_name(f".{path.name}.part")
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(draft, ignore_errors=True)  # left by a process that died here
    draft.mkdir(parents=True)
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    for folder, _, names in os.walk(draft):
        for name in names:
            _show_to_others(Path(folder, name))
            _fsync(Path(folder, name))
        _fsync(Path(folder))
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.rename(path, old)  # a folder cannot be replaced in one step by POSIX rename
    os.rename(draft, path)
    _fsync(path.parent)  # else a power cut can undo the rename
    shutil.rmtree(old, ignore_errors=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _show_to_others(path: Path) -> None:
    """Let those read a file who may read its folder: safetensors writes for its owner alone."""
    mode = path.stat().st_mode & 0o777
    if mode == 0o600:
        path.chmod(mode | path.parent.stat().st_mode & 0o044)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
