"""How a row of a file becomes a record of a task: which columns, and what is made of them.

Whatever the task, a record has a `text` (some a `text_pair` too): what it is known by when
duplicates are looked for, splits are made and lengths are counted, and what is learned from it
without labels. A task may add more, and says here how.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tael.data.record import AT, Record, place
from tael.errors import DataError
from tael.recipe.schema import Columns

__all__ = ["Form", "Mend", "by_role", "chosen", "labelled_text", "roles_in", "string"]

Mend = Callable[[str], str]  # the repairs of `data.clean`, for one text
_EXACT = 2.0**53  # below it a float is one whole number


@dataclass(frozen=True)
class Form:
    """The columns of one way to write a record down.

    `given` maps each role that a request has too to its column, `target` those that are only
    learned from. `lay` makes the record of the values by role (places and other columns are in it
    already), mends its texts and counts; DataError for a value of the wrong type.
    """

    given: Mapping[str, str]
    target: Mapping[str, str]
    lay: Callable[[Record, Mend, Counter[str]], Record]
    made: tuple[str, ...] = ()  # keys that `lay` adds: a column of that name gives way
    near: bool = True  # whether texts that are nearly the same say the same


def labelled_text(columns: Columns) -> tuple[Form, ...]:
    """Return the form of a text, or a pair of them, with a label."""
    texts = {"text": columns.text, "text_pair": columns.text_pair}
    given = {role: column for role, column in texts.items() if column is not None}
    return (Form(given, {"label": columns.label}, _lay),)


def chosen(forms: Sequence[Form], record: Record) -> Form:
    """Return the first form whose columns the record has; the first of all where none fits."""
    fits = (form for form in forms if all(column in record for column in form.given.values()))
    return next(fits, forms[0])


def roles_in(form: Form, record: Record, *, labelled: bool) -> dict[str, str]:
    """Return the columns to take, by role; without `labelled` a target may be absent."""
    target = {role: column for role, column in form.target.items() if labelled or column in record}
    return {**form.given, **target}


def string(value: Any, record: Record, role: str) -> str:
    """Return a text, "" for none; DataError for what is no text."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"{place(record)}: {role} must be a string, found {type(value).__name__} {value!r:.40}."
        )
    return value


def _lay(record: Record, mend: Mend, counts: Counter[str]) -> Record:
    for role in ("text", "text_pair"):
        if role in record:
            record[role] = mend(string(record[role], record, role))
    if "label" in record:
        record["label"] = _label(record["label"], record, counts)
    return record


def _label(value: Any, record: Record, counts: Counter[str]) -> str:
    if isinstance(value, list):
        parts = [_label(one, record, counts) for one in value]
        if any("|" in part for part in parts):
            raise DataError(f"{place(record)}: a label in a list may not hold '|': {parts}.")
        return "|".join(parts)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        counts["labels such as 1.0 taken as 1"] += 1
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value).strip()
    raise DataError(
        f"{place(record)}: label must be a string, a number or a list of them, "
        f"found {type(value).__name__} {value!r:.40}."
    )


def by_role(
    record: Record, roles: Mapping[str, str], counts: Counter[str], made: Sequence[str] = ()
) -> Record:
    """Return the record under role names; a column that is in the way gets `_column` added.

    In the way are columns with the name of a role, or of one of `made`.
    """
    for role, column in roles.items():
        if column not in record:
            found = ", ".join(name for name in record if name != AT)
            raise DataError(
                f"{place(record)}: no column {column!r} for {role}; the columns are {found}. "
                f"Say which one holds it: data.columns.{role}=NAME."
            )
    cleaned = {role: record[column] for role, column in roles.items()}
    used = set(roles.values())
    for name, value in record.items():
        if name in used:
            continue
        if name in cleaned or name in made:
            counts[f"columns {name} renamed {name}_column"] = 1
            name = f"{name}_column"
        cleaned[name] = value
    return cleaned
