"""Whether a file's tensors are those that a network needs: said before anything is allocated."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tael.errors import CheckpointError
from tael.model.header import Source
from tael.model.tensors import DTYPES, Place

__all__ = ["compare"]

_SHOWN = 8  # problems; the others are counted
_LOOKED_AT = 5000  # names not used, among which the nearest is looked for


def compare(
    folder: Path,
    where: Mapping[str, Place],
    found: Mapping[str, Sequence[Source]],
    sources: Mapping[str, Source],
    *,
    may_lack: bool,
) -> list[str]:
    """Return the head's parameters that must be new; refuse what is absent or has another shape.

    CheckpointError names each tensor, and for one that is missing the most alike of those that are
    not used. `may_lack`: the head may be new.
    """
    lacking, absent, wrong = [], list[str](), list[str]()
    for name, place in where.items():
        new = may_lack and name.startswith("head.")
        if len(found[name]) < len(place.names) and new:
            lacking.append(name)
        elif len(found[name]) < len(place.names):
            absent += _absent(place, found[name])
        else:
            misfits = list(_misfits(place, found[name]))
            if misfits and new and name.startswith("head.classifier."):
                lacking.append(name)  # of another number of classes
            else:
                wrong += misfits
    if absent or wrong:
        spare = set(sources) - {source.name for parts in found.values() for source in parts}
        problems = [f"{their} is missing{_hint(their, spare)}" for their in absent[:_SHOWN]]
        problems += wrong[: _SHOWN - len(problems)]
        rest = len(absent) + len(wrong) - len(problems)
        more = f" and {rest:,} more" if rest else ""
        raise CheckpointError(f"{folder}: does not fit its config: {'; '.join(problems)}{more}")
    return lacking


def _absent(place: Place, found: Sequence[Source]) -> list[str]:
    known = [source.name for source in found]
    return [their for their in place.names if not any(name.endswith(their) for name in known)]


def _misfits(place: Place, found: Sequence[Source]) -> list[str]:
    problems = []
    for part, source in enumerate(found):
        shape, expected = source.entry.shape, place.shape_of(part)
        if source.entry.dtype not in DTYPES:
            kind, known = source.entry.dtype, ", ".join(DTYPES)
            problems.append(f"{source.name} holds {kind}, weights are one of {known}")
        elif shape != expected:
            problems.append(f"{source.name} is {list(shape)}, expected {list(expected)}")
    return problems


def _hint(their: str, spare: Collection[str]) -> str:
    leaf = their.rpartition(".")[2]
    alike = sorted(name for name in spare if name.endswith(leaf))[:_LOOKED_AT]
    near = difflib.get_close_matches(their, alike, n=1)
    return f" (the file has {near[0]}, which is not used)" if near else ""
