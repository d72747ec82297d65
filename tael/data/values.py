"""Python values of any library as the plain values of a record: text, numbers, lists, objects."""

import datetime
from collections import Counter
from decimal import Decimal
from typing import Any
from uuid import UUID

from tael.data.objects import without_surrogates

__all__ = ["plain"]

_MISSING = ("NAType", "NaTType")  # pandas' own, which equal nothing, themselves included


def plain(value: Any, counts: Counter[str]) -> Any:
    """Return `value` as str, int, float, bool, None, list or dict of these.

    NaN means missing in tables and becomes None, counted; bytes are taken as UTF-8; dates become
    ISO text; numpy's numbers and arrays become Python's. Raises TypeError, whose text names the
    value's type, for anything else.
    """
    if value is None or isinstance(value, bool | int):
        return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(value, str):
        return _text(str(value), counts)
    if isinstance(value, float):
        return _number(float(value), counts)
    if isinstance(value, dict):
        return {str(key): plain(one, counts) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one, counts) for one in value]
    return _other(value, counts)


def _other(value: Any, counts: Counter[str]) -> Any:
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise TypeError("bytes that are not UTF-8 text") from None
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return plain(value.tolist(), counts)
    raise TypeError(f"a {type(value).__name__}")


def _number(value: float, counts: Counter[str]) -> float | None:
    if value != value:
        counts["NaN read as missing"] += 1
        return None
    return value


def _text(value: str, counts: Counter[str]) -> str:
    if value.isascii():
        return value
    mended = without_surrogates(value)
    counts["lone surrogates replaced by U+FFFD"] += mended != value
    return str(mended)
