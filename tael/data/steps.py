"""The names of what preparation counts, in the reader's language.

The counts themselves are named in English, in the files that programs read; a page shows this.
"""

import re
from functools import cache

from tael.page.words import Words

__all__ = ["step_name"]

_SPLITS = ("train", "dev", "test")
# Names with a part that differs; the others stand in the words as they are.
_SHAPES = (
    "{split} rows",
    "{split} groups",
    "{split} rows that repeat train",
    "dropped: {role} under {number} characters",
    "dropped: {role} over {number} characters",
    "dropped: {role} in another language than {languages}",
    "rows skipped: {reason}",
    "personal data masked: {kind}",
    "files read as {codec}",
    "files of {shape} lines",
    "columns {old} renamed {new}",
    "pandas index {index} left out",
)


def step_name(say: Words, step: str) -> str:
    """Return the name of a count in words: `train: rows read` becomes `训练集：读入的行`."""
    split, colon, rest = step.partition(": ")
    if colon and split in _SPLITS:
        return say("{split}: {step}", split=say(split), step=step_name(say, rest))
    for shape, pattern in _patterns().items():
        found = pattern.fullmatch(step)
        if found:
            return say(shape, **{name: say(part) for name, part in found.groupdict().items()})
    return say(step)


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    found = {}
    for shape in _SHAPES:
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(shape))
        found[shape] = re.compile(pattern.replace("(?P<split>.+)", "(?P<split>train|dev|test)"))
    return found
