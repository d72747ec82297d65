"""A record: one row of named columns, with the place it came from."""

from typing import Any

__all__ = ["AT", "Record", "place"]

Record = dict[str, Any]  # role or column name → value
AT = "@"  # key under which a record keeps its place, `file:line`; no column may have this name


def place(record: Record) -> str:
    """Return where a record came from, `file:line`; `record` where nothing is known."""
    return str(record.get(AT, "record"))
