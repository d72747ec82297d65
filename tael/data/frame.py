"""Records from tables that are in memory already: pandas, polars, pyarrow and their like."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, cast

from tael.data.arrow import batch_records
from tael.data.reading import OnError, Reading
from tael.data.record import AT, Record
from tael.data.source import Source
from tael.data.table import unique
from tael.data.values import plain
from tael.errors import DataError, UsageError

__all__ = ["read_frame"]


def read_frame(
    frame: Any,
    *,
    name: str = "frame",
    on_error: OnError = "fail",
    counts: Counter[str] | None = None,
    limit: int | None = None,
) -> Iterator[Record]:
    """Yield the rows of `frame` as `read` yields those of a file; the place is `name:row`, from 1.

    A frame is whatever hands out Arrow (`__arrow_c_stream__`), `iter_rows(named=True)` as polars
    does, `to_dict("records")` as pandas does, or dicts, as a list or a dataset does. Raises
    UsageError for anything else, DataError for no rows, duplicate columns and values that are no
    text or number.
    """
    counts = Counter() if counts is None else counts
    reading = Reading(Source(Path(name), name), counts, on_error=on_error)
    return islice(_counted(_records(frame, reading), name, counts), limit)


def _records(frame: Any, reading: Reading) -> Iterator[Record]:
    batches = _batches(frame) if hasattr(frame, "__arrow_c_stream__") else None
    if batches is not None:
        return batch_records(batches, reading)
    if hasattr(frame, "iter_rows"):
        return _of_rows(frame.iter_rows(named=True), reading)
    if hasattr(frame, "to_dict") and hasattr(frame, "columns"):
        unique([str(name) for name in frame.columns], reading.source.full)
        return _of_rows(frame.to_dict("records"), reading)
    if isinstance(frame, Iterable) and not isinstance(frame, str | bytes | Mapping):
        return _of_rows(frame, reading)
    raise UsageError(
        f"read_frame: expected a pandas, polars or pyarrow table, found {type(frame).__name__}; "
        "files are read by `read`."
    )


def _batches(frame: Any) -> Iterable[Any] | None:
    """Return Arrow batches; None where the columns hold mixed types, which Arrow does not have."""
    import pyarrow

    try:
        return cast(Iterable[Any], pyarrow.RecordBatchReader.from_stream(frame))
    except (pyarrow.ArrowException, ImportError, TypeError, ValueError):
        return None


def _of_rows(rows: Iterable[Any], reading: Reading) -> Iterator[Record]:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UsageError(
                f"read_frame: expected rows that are dicts, found {type(row).__name__}."
            )
        try:
            record = {str(name): plain(value, reading.counts) for name, value in row.items()}
        except TypeError as error:
            what = f"the row holds {error}; expected text, numbers, lists or objects"
            reading.malformed(number, "values that are no text or number", what)
            continue
        yield record | {AT: reading.at(number)}


def _counted(records: Iterator[Record], name: str, counts: Counter[str]) -> Iterator[Record]:
    empty = True
    for record in records:
        empty = False
        counts["rows read"] += 1
        yield record
    if empty:
        raise DataError(f"{name}: no rows. Expected at least one record.")
