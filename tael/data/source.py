"""Where bytes come from: a file, packed or not, or a member of an archive; opened at will.

What is packed is unpacked while it is read, never to disk, and stops where it grows out of all
proportion: a file of kilobytes must not cost hours.
"""

import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, cast

from tael.errors import DataError

__all__ = ["PACKINGS", "Source", "ending", "opened"]

PACKINGS = (".gz", ".zst")
_RATIO = 200  # text packs to a tenth, the same line over and over to a thousandth
_SMALL = 64 << 20  # bytes up to which no ratio is suspicious
_BLOCK = 256 << 10


@dataclass(frozen=True)
class Source:
    """A file on disk, or one member of a zip archive that is open; `name` is for places."""

    path: Path
    name: str
    archive: zipfile.ZipFile | None = None
    member: zipfile.ZipInfo | None = None
    span: tuple[int, int] | None = None  # bytes of a plain file, between two ends of lines

    @property
    def full(self) -> str:
        """The name for messages: the whole path, with the member's after the archive's."""
        return f"{self.path}/{self.member.filename}" if self.member else str(self.path)

    @property
    def short(self) -> str:
        """The name for places: without the folders above what the user named."""
        return f"{self.name}/{self.member.filename}" if self.member else self.name

    @property
    def format(self) -> str:
        """The ending that says the format, such as `.csv` also for `a.csv.gz`; "" for none."""
        return ending(self.full)[0]

    @property
    def packing(self) -> str:
        """The ending of the packing, `.gz` or `.zst`; "" for none."""
        return ending(self.full)[1]


def ending(name: str) -> tuple[str, str]:
    """Return the endings (format, packing) of a file name, in small letters; "" for none."""
    last = PurePath(name).suffix.lower()
    if last in PACKINGS:
        return PurePath(name[: -len(last)]).suffix.lower(), last
    return last, ""


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """Open `source` unpacked; whatever goes wrong while it is read names it, as DataError."""
    try:
        with ExitStack() as stack:
            file = stack.enter_context(_plain(source))
            if source.packing:
                packed = source.member.file_size if source.member else source.path.stat().st_size
                unpacked = stack.enter_context(_unpacked(file, source.packing))
                metered = _Metered(unpacked, packed, source.full)
                file = cast(BinaryIO, io.BufferedReader(metered, _BLOCK))
            yield file
    except gzip.BadGzipFile as error:
        raise DataError(
            f"{source.full}: not a gzip file. Rename it without .gz, or pack it."
        ) from error
    except (EOFError, zlib.error) as error:
        kind = "gzip file" if source.packing == ".gz" else "archive"
        raise DataError(
            f"{source.full}: the {kind} is damaged ({error}). Fetch it again."
        ) from error
    except (zipfile.BadZipFile, lzma.LZMAError, NotImplementedError) as error:
        raise DataError(
            f"{source.full}: cannot be unpacked ({error}). Unpack {source.path.name} and name "
            "the files."
        ) from error
    except OSError as error:
        raise DataError(f"{source.full}: {_reason(error, source)}") from error


def _reason(error: OSError, source: Source) -> str:
    if error.errno is None and source.packing == ".zst":  # pyarrow's errors have no number
        return f"not a zstd file, or damaged ({error}). Fetch it again."
    return f"cannot be read: {error.strerror or error}."


def _plain(source: Source) -> AbstractContextManager[BinaryIO]:
    if source.archive is not None and source.member is not None:
        try:
            return cast(AbstractContextManager[BinaryIO], source.archive.open(source.member))
        except (ValueError, RuntimeError) as error:  # a local header that says something else
            raise zipfile.BadZipFile(str(error)) from error
    if source.span is not None:
        return cast(BinaryIO, io.BufferedReader(_Span(source.path, *source.span), _BLOCK))
    return source.path.open("rb")


def _unpacked(file: BinaryIO, packing: str) -> AbstractContextManager[BinaryIO]:
    if packing == ".gz":
        return cast(AbstractContextManager[BinaryIO], gzip.GzipFile(fileobj=file))
    import pyarrow  # its zstd streams and checks; no other package is needed

    stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, "r"), "zstd")
    return closing(cast(BinaryIO, stream))


class _Span(io.FileIO):
    """The bytes of a file from one place to another."""

    def __init__(self, path: Path, start: int, end: int) -> None:
        super().__init__(path)
        self.seek(start)
        self._left = end - start

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        read = super().readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= read
        return read


class _Metered(io.RawIOBase):
    """Bytes on their way out of a packed file, refused where they outgrow it beyond reason."""

    def __init__(self, file: BinaryIO, packed: int, name: str) -> None:
        super().__init__()
        self._file, self._packed, self._name = file, packed, name
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        self._unpacked += len(piece)
        if self._unpacked > _SMALL and self._unpacked > _RATIO * self._packed:
            raise DataError(
                f"{self._name}: {self._packed:,} bytes unpack to over {self._unpacked:,}, more "
                f"than {_RATIO} times as much. If you trust the file, unpack it and name that."
            )
        return len(piece)
