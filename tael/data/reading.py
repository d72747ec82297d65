"""One file on its way to records: how it is decoded, and what becomes of a malformed row."""

import io
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NoReturn

from tael.data.encoding import HEAD, detect, locate
from tael.data.source import Source, opened
from tael.errors import DataError

__all__ = ["LONGEST", "Lines", "OnError", "Reading", "Txt"]

OnError = Literal["fail", "skip"]
Txt = Literal["line", "block", "file"]
Lines = Iterator[tuple[int, str]]  # (line number from 1, the line with its "\n")

LONGEST = 1 << 24  # characters in one line, field or object: memory stays bounded
_PIECE = 1 << 16
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """A source, how to read it, and where to count.

    A reader takes one and yields records; it hands rows that it cannot read to `malformed`.
    """

    source: Source
    counts: Counter[str]
    encoding: str = "auto"
    on_error: OnError = "fail"
    txt: Txt = "line"

    @property
    def skip(self) -> bool:
        """Whether malformed rows are skipped and counted."""
        return self.on_error == "skip"

    def at(self, line: int) -> str:
        """Return the place of a record: `name.csv:12`; a row number where there are no lines."""
        return f"{self.source.short}:{line}"

    def malformed(self, line: int, reason: str, what: str) -> None:
        """Count the row under `reason`, or raise DataError with its place and `what` is wrong."""
        if not self.skip:
            raise DataError(
                f"{self.source.full}:{line}: {what}. Mend it, or set data.on_error=skip."
            )
        self.counts[f"rows skipped: {reason}"] += 1

    def refuse(self, line: int, what: str) -> NoReturn:
        """Raise DataError: nothing after this line can be read, whatever `on_error` says."""
        raise DataError(f"{self.source.full}:{line}: {what}")

    def lines(self) -> Lines:
        r"""Yield the lines, ended by LF, CR LF or CR alone; a last one may have no "\n".

        U+2028, U+2029 and U+0085 are text. NUL characters go and are counted. Raises DataError for
        an endless line, and for the first undecodable byte, which becomes U+FFFD under skip.
        """
        number = 0
        with self._text() as text:
            while line := text.readline(LONGEST):
                number += 1
                if len(line) == LONGEST and not line.endswith("\n"):
                    self.refuse(number, f"line of over {LONGEST:,} characters.")
                yield number, self._repaired(line)

    def pieces(self) -> Iterator[str]:
        """Yield the characters in pieces of any length, for formats whose lines mean nothing."""
        with self._text() as text:
            while piece := text.read(_PIECE):
                if self.skip and "\ufffd" in piece:
                    self.counts["characters U+FFFD, undecodable or unknown"] += piece.count(
                        "\ufffd"
                    )
                yield piece

    def _repaired(self, line: str) -> str:
        if "\0" in line:
            self.counts["NUL characters removed"] += line.count("\0")
            line = line.replace("\0", "")
        if self.skip and "\ufffd" in line:
            self.counts["lines with U+FFFD for undecodable or unknown characters"] += 1
        return line

    @contextmanager
    def _text(self) -> Iterator[io.TextIOWrapper]:
        codec = self._codec()
        if codec not in ("utf-8", "utf-8-sig"):
            _log.info("%s is read as %s", self.source.full, codec)
            self.counts[f"files read as {codec}"] += 1
        try:
            with opened(self.source) as file:
                # Universal newlines: LF, CR LF and CR.
                yield io.TextIOWrapper(file, codec, "replace" if self.skip else "strict")
        except UnicodeError as error:
            if not isinstance(error, UnicodeDecodeError):  # UTF-16 named for a file without a BOM
                raise DataError(
                    f"{self.source.full}: cannot be read as {codec} ({error}). Set data.encoding."
                ) from error
            with opened(self.source) as again:
                offset, line = locate(again, codec)
            raise DataError(
                f"{self.source.full}: byte {offset} (line {line}) is not {codec}. "
                "Set data.encoding to the file's encoding, for example gb18030."
            ) from error

    def _codec(self) -> str:
        if self.source.span is not None and self.source.span[0] > 0:
            return "utf-8"  # a byte-order mark is one at the head of a file only
        with opened(self.source) as file:
            head = file.read(HEAD)
        if self.encoding == "auto":
            return detect(head, self.source.full)
        try:
            io.TextIOWrapper(io.BytesIO(), self.encoding)
        except LookupError as error:
            raise DataError(
                f"data.encoding: unknown encoding {self.encoding!r}; for example utf-8, gb18030, "
                "big5."
            ) from error
        plain = self.encoding.lower().replace("_", "-")
        return "utf-8-sig" if plain in ("utf-8", "utf8") else self.encoding
