"""Which split a record belongs to: by its text, by its group, or by its time.

By text or group: a hash of it and the seed gives each record a fixed point in [0, 1); shares are
intervals. So adding rows never moves old ones, exactly; order plays no part, and copies of a text
(also in other width, case or punctuation) or rows of a group cannot stand on two sides. Within each
label the shares hold as far as chance allows: a rank within the label would hold them exactly, and
move old rows.

By time: the oldest rows are train, then dev, then test. Here added rows can move old ones, since
the borders are shares of all rows.
"""

import hashlib
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from tael.data.dedup import normalised
from tael.data.record import AT, Record, place
from tael.errors import DataError

__all__ = ["split", "split_by_group", "split_by_order", "split_by_time"]

Shares = tuple[float, float, float]
Parts = dict[str, list[Record]]

_NAMES = ("train", "dev", "test")
_PLACES = 3  # named in a message
_PIECE, _BEFORE = 4000, 1000  # characters of a part of a long text, and of what stands before it
_DATE = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?\s*(.*)", re.DOTALL)


def split(records: Iterable[Record], shares: Shares, seed: int) -> Parts:
    """Return `train`, `dev` and `test`, each in the order of `records`, near the given shares."""
    return _by_point(records, shares, lambda record: _point(normalised(record), seed))


def split_by_group(
    records: Sequence[Record], shares: Shares, seed: int, column: str, counts: Counter[str]
) -> Parts:
    """Return splits such that rows with the same value in `column` stand in the same one.

    Shares hold for the groups, so few or unequal groups stray far from them in rows. Rows without a
    value are split by their text, and counted. Raises DataError where no row has the column.
    """
    _check_column(records, column, "data.group")

    def point(record: Record) -> float:
        group = _value(record, column)
        # The mark keeps a group from sharing the point of a text that reads the same.
        return _point(f"group\n{group}" if group else normalised(record), seed)

    alone = sum(not _value(record, column) for record in records)
    if alone:
        counts["rows without a group, split by their text"] = alone
    parts = _by_point(records, shares, point)
    for name, part in parts.items():
        counts[f"{name} groups"] = len({_value(record, column) for record in part} - {""})
    return parts


def split_by_order(records: Sequence[Record], shares: Shares) -> Parts:
    """Return splits of the characters of `text` in their order: train first, test last.

    A border is where the characters before it are the share of all, rounded down; a text that
    stands across is cut there, and nothing is lost. A long text becomes records of some thousand
    characters, cut at line ends, so that a part of it can be looked at: each has under `before` the
    end of what precedes it, and `goes_on` where the text does. Labels do not come with a part of a
    text, so this is for text that is its own answer.
    """
    total = sum(len(str(record["text"])) for record in records)
    ends = [int(total * share + 1e-6) for share in (shares[0], shares[0] + shares[1], 1.0)]
    parts: Parts = {name: [] for name in _NAMES}
    begin = 0
    for record in records:
        text, at = str(record["text"]), 0
        for name, end in zip(_NAMES, ends, strict=True):
            stop = min(len(text), max(at, end - begin))
            parts[name] += _pieces(record, at, stop)
            at = stop
        begin += len(text)
    return parts


def _pieces(record: Record, start: int, end: int) -> Iterator[Record]:
    """Yield the stretch of a text between two places, in records that are not too long."""
    text = str(record["text"])
    while start < end:
        stop = min(end, start + _PIECE)
        if stop < end:
            stop = text.rfind("\n", start, stop) + 1 or stop
        piece = record | {"text": text[start:stop]}
        if start:
            piece["before"] = text[max(0, start - _BEFORE) : start]
        if stop < len(text):
            piece["goes_on"] = True
        yield piece
        start = stop


def split_by_time(records: Sequence[Record], shares: Shares, column: str) -> Parts:
    """Return splits of which train is the oldest and test the newest; equal times stay together.

    `column` holds ISO dates (also 2024/1/5 and 2024年1月5日; UTC where no zone is given) or
    numbers. Raises DataError, with places, for rows without a time and for what is neither.
    """
    _check_column(records, column, "data.time")
    times = _times(records, column)
    ordered = sorted(times)
    names = [name for name, share in zip(_NAMES, shares, strict=True) if share > 0]
    bounds = _bounds(ordered, [share for share in shares if share > 0])
    parts: Parts = {name: [] for name in _NAMES}
    for record, time in zip(records, times, strict=True):
        parts[names[bisect_right(bounds, bisect_left(ordered, time))]].append(record)
    return parts


def _by_point(records: Iterable[Record], shares: Shares, point: Callable[[Record], float]) -> Parts:
    parts: Parts = {"train": [], "dev": [], "test": []}
    for record in records:
        at = point(record)
        # Test first: whoever changes only train's and dev's shares keeps the same test set.
        if at < shares[2]:
            parts["test"].append(record)
        elif at < shares[2] + shares[1]:
            parts["dev"].append(record)
        else:
            parts["train"].append(record)
    return parts


def _point(text: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _bounds(ordered: Sequence[float], shares: Sequence[float]) -> list[int]:
    """Return where each split but the first begins: at a change of time, nearest to its share."""
    changes = [at for at in range(1, len(ordered)) if ordered[at - 1] < ordered[at]]
    bounds: list[int] = []
    for later in range(len(shares) - 2, -1, -1):  # so many bounds are still to come after this one
        target = sum(shares[: len(bounds) + 1]) * len(ordered)
        free = [at for at in changes if not bounds or at > bounds[-1]]
        free = free[: max(0, len(free) - later)]
        bounds.append(min(free, key=lambda at: abs(at - target), default=len(ordered)))
    return bounds


def _check_column(records: Sequence[Record], column: str, key: str) -> None:
    if records and not any(column in record for record in records):
        found = ", ".join(name for name in records[0] if name != AT)
        raise DataError(
            f"{place(records[0])}: no column {column!r} for {key}; the columns are {found}. "
            f"Say which one holds it: {key}=NAME."
        )


def _value(record: Record, column: str) -> str:
    value = record.get(column)
    return "" if value is None else str(value).strip()


def _times(records: Sequence[Record], column: str) -> list[float]:
    values = [_value(record, column) for record in records]
    # The first row says which of the two it is: a mixture has no order.
    read = _number if values and _number(values[0]) is not None else _date
    times = [read(value) for value in values]
    wrong = [record for record, time in zip(records, times, strict=True) if time is None]
    if wrong:
        places = ", ".join(place(record) for record in wrong[:_PLACES])
        what = "a number, as the first row has" if read is _number else "an ISO date"
        raise DataError(
            f"{places}: {len(wrong)} rows whose {column!r} is not {what}; found "
            f"{_value(wrong[0], column)!r:.40}. Correct them, or leave out data.time."
        )
    return [time for time in times if time is not None]


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _date(value: str) -> float | None:
    parts = _DATE.fullmatch(value)
    if parts:
        day = f"{parts[1]}-{parts[2]:0>2}-{parts[3]:0>2}"
        value = f"{day}T{parts[4].lstrip('T ')}" if parts[4] else day
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
