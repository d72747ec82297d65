"""Columns in Arrow's memory layout: parquet, feather, Arrow files and streams, batch by batch.

Files are checked before values are made of them: offsets that point elsewhere would otherwise read
foreign memory. pyarrow is imported on use.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from tael.data.reading import Reading
from tael.data.record import AT, Record
from tael.data.source import opened
from tael.data.table import unique
from tael.data.values import plain
from tael.errors import DataError

if TYPE_CHECKING:
    import pyarrow

__all__ = ["arrow_records", "batch_records", "parquet_records"]

_ROWS = 1000  # made into records at once
_IN_MEMORY = 256 << 20  # bytes of an archive's member: these formats are read from several places
_INDEX = re.compile(r"__index_level_\d+__")  # what pandas adds for an index


def parquet_records(reading: Reading) -> Iterator[Record]:
    """Yield the rows of a parquet file; their places count rows from 1."""
    import pyarrow.parquet

    with _file(reading) as file:
        parquet = pyarrow.parquet.ParquetFile(file)
        unique(parquet.schema_arrow.names, reading.source.full)
        yield from batch_records(parquet.iter_batches(_ROWS), reading)


def arrow_records(reading: Reading) -> Iterator[Record]:
    """Yield the rows of an Arrow file or stream (`.arrow`), or of feather version 2."""
    with _file(reading) as file:
        yield from batch_records(_batches(file), reading)


def batch_records(batches: Iterable["pyarrow.RecordBatch"], reading: Reading) -> Iterator[Record]:
    """Yield records of Arrow batches. Dates become ISO text, NaN becomes None, counted."""
    row = 0
    for batch in batches:
        names = unique(batch.schema.names, reading.source.full)
        batch.validate(full=True)
        for start in range(0, batch.num_rows, _ROWS):
            part = batch.slice(start, _ROWS)
            columns = [_values(column) for column in part.columns]
            for values in zip(*columns, strict=True):
                row += 1
                record = _record(dict(zip(names, values, strict=True)), row, reading)
                if record is not None:
                    yield record


def _record(values: dict[str, Any], row: int, reading: Reading) -> Record | None:
    record: Record = {}
    for name, value in values.items():
        if _INDEX.fullmatch(name):
            reading.counts[f"pandas index {name} left out"] = 1
            continue
        try:
            record[name] = plain(value, reading.counts)
        except TypeError as error:
            what = f"column {name!r} holds {error}; expected text, numbers, lists or objects"
            reading.malformed(row, "values that are no text or number", what)
            return None
    return record | {AT: reading.at(row)}


def _values(column: "pyarrow.Array") -> list[Any]:
    import pyarrow

    kind = column.type
    # Python's own dates stop at the year 9999 and at microseconds; text does not.
    if pyarrow.types.is_temporal(kind) and not pyarrow.types.is_duration(kind):
        column = column.cast(pyarrow.string())
    return cast(list[Any], column.to_pylist())


def _batches(file: "pyarrow.NativeFile") -> Iterator["pyarrow.RecordBatch"]:
    from pyarrow import ipc

    magic = file.read(6)
    file.seek(0)
    if magic == b"ARROW1":
        reader = ipc.open_file(file)
        yield from (reader.get_batch(n) for n in range(reader.num_record_batches))
    elif magic[:4] == b"FEA1":
        raise ValueError("feather version 1; write it again as version 2")
    else:
        yield from ipc.open_stream(file)


@contextmanager
def _file(reading: Reading) -> Iterator["pyarrow.NativeFile"]:
    """Open the source for pyarrow; what pyarrow finds wrong with it becomes a DataError."""
    import pyarrow

    source = reading.source
    if source.packing:
        raise DataError(
            f"{source.full}: {source.format} packs itself. Unpack {source.path.name}, and name "
            "the file in it."
        )
    try:
        if source.member is None:
            with pyarrow.memory_map(str(source.path)) as file:
                yield file
            return
        if source.member.file_size > _IN_MEMORY:
            raise DataError(
                f"{source.full}: over {_IN_MEMORY >> 20} MiB of {source.format} in an archive. "
                "Unpack it, and name the file."
            )
        with opened(source) as inside:
            content = inside.read()
        yield pyarrow.BufferReader(content)
    except (pyarrow.ArrowException, ValueError, ArithmeticError, OSError) as error:
        if getattr(error, "errno", None) is not None:  # not pyarrow's, but the system's
            raise DataError(f"{source.full}: cannot be read: {error}.") from error
        why = " ".join(str(error).split())
        raise DataError(
            f"{source.full}: not {source.format.lstrip('.')}, or damaged ({why:.200}). Write it "
            "again."
        ) from error
