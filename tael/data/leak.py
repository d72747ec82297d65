"""How many of the rows that judge a model were taught to it: measured, told, and bounded.

Training rows that repeat dev or test are taken out where `data.clean.dedup` says so, and the leak
is stopped. It is measured before that all the same: splits of which every fifth held-out row stands
in train too were not split but copied, and what is left of them judges nothing. (Seven public sets
that were split with care have 0 to 3 %.)
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tael.data.dedup import Match, leaks, normalised
from tael.data.record import Record, place
from tael.errors import DataError
from tael.recipe.schema import Data

__all__ = ["LEFT_OUT", "check_leak", "unseen"]

Parts = Mapping[str, Sequence[Record]]

LEFT_OUT = "texts left out: they stand in dev or test"


def check_leak(given: Parts, made: Parts, data: Data, counts: Counter[str], near: bool) -> None:
    """Count the dev and test rows that repeat train, near copies included; refuse too many.

    `given` are the records of the recipe's files, `made` the splits that come out. Files of dev and
    test are held against the training files; splits that tael makes only where duplicates may have
    been left in, since without those no two splits share a text. Without `near` only exact copies
    are looked for. Raises DataError where more than `data.max_leak` of the rows repeat train.
    """
    files = {name: given[name] for name in ("dev", "test") if given.get(name)}
    if files:
        held_out, train = files, given["train"]
    elif data.clean.dedup != "near":
        held_out, train = {name: made[name] for name in ("dev", "test")}, made["train"]
    else:
        return
    rules = data.clean.model_copy(update={"dedup": "near" if near else "exact"})
    found: list[Match] = []
    for name, records in held_out.items():
        repeats = leaks(records, train, rules)[1]
        counts[f"{name} rows that repeat train"] = len(repeats)
        found += repeats
    total = sum(map(len, held_out.values()))
    if len(found) > data.max_leak * total:
        raise DataError(_message(found, total, data, bool(files)))


def unseen(texts: Iterable[str], held_out: Iterable[Record], counts: Counter[str]) -> Iterator[str]:
    """Yield the texts whose normalised form is not that of a held-out text; count the others.

    Text without labels teaches what it says too, so what dev and test hold is kept from it. A text
    that only contains a held-out one, or nearly repeats it, is not recognised.
    """
    roles = ("text", "text_pair")
    keys = {
        normalised({"text": record[role]})
        for record in held_out
        for role in roles
        if record.get(role)
    }
    for text in texts:
        if normalised({"text": text}) in keys:
            counts[LEFT_OUT] += 1
        else:
            yield text


def _message(found: Sequence[Match], total: int, data: Data, files: bool) -> str:
    first = max(found, key=lambda match: match.similarity)
    mend = (
        "Leave out data.dev and data.test, so that tael splits data.train"
        if files
        else "Set data.clean.dedup=near, which takes copies out before the split"
    )
    return (
        f"{place(first.record)}: {len(found):,} of the {total:,} dev and test rows "
        f"({len(found) / total:.0%}) repeat train, this one {place(first.kept)}; data.max_leak "
        f"allows {data.max_leak:g}. {mend}, or set data.max_leak=1 to go on."
    )
