"""What training would learn, looked at before its first step: most silent failures show here.

A model that is taught nothing, the answer itself, or half of each text trains without complaint and
looks healthy until somebody uses it. Each of these is refused, with the first places.
"""

import re
from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from tael.data.record import Record, place
from tael.errors import DataError
from tael.recipe.schema import Recipe
from tael.task.answer import lengths_by_record
from tael.task.base import Example, Task

__all__ = ["check_lessons"]

_LOOKED_AT = 2000  # examples, evenly spread: what is wrong with all is wrong with these
_MOSTLY = 0.95  # of the records have their label in the text, and no other: it is not by chance
_PLACES = 3


def check_lessons(
    task: Task, records: Sequence[Record], examples: Sequence[Example], recipe: Recipe
) -> list[str]:
    """Return what should be said of the training examples before they are learned.

    Raises DataError where nothing is supervised, the first token stands twice, the label stands in
    the text, or more than `data.max_cut` of the tokens are cut.
    """
    _check_cut(examples, recipe)
    sample = examples[:: -(-len(examples) // _LOOKED_AT)] if examples else []
    _check_start(task.tokenizer, records, sample)
    if task.name == "classify" and recipe.data.labels == "single":
        _check_label(records, task.labels)
    return _check_supervised(task, records, examples, sample)


def _check_cut(examples: Sequence[Example], recipe: Recipe) -> None:
    kept, cut = map(sum, lengths_by_record(examples))
    share = cut / max(1, kept + cut)
    if share > recipe.data.max_cut:
        raise DataError(
            f"train: {share:.0%} of all tokens are cut off by data.max_tokens="
            f"{recipe.data.max_tokens}; data.max_cut allows {recipe.data.max_cut:.0%}. Raise "
            "data.max_tokens, shorten the texts, or set data.max_cut=1 to go on."
        )


def _check_start(
    tokenizer: Tokenizer, records: Sequence[Record], sample: Sequence[Example]
) -> None:
    special = {id_ for id_, one in tokenizer.get_added_tokens_decoder().items() if one.special}
    doubled = [
        example
        for example in sample
        if example.ids[:1] == example.ids[1:2] and example.ids[0] in special
    ]
    if 2 * len(doubled) > len(sample):
        first = doubled[0]
        raise DataError(
            f"{place(records[first.of])}: begins with {tokenizer.id_to_token(first.ids[0])} twice, "
            f"as {len(doubled):,} of {len(sample):,} examples do: the text brings one, and the "
            "tokenizer adds another. Take it out of the text."
        )


def _check_label(records: Sequence[Record], labels: Sequence[str]) -> None:
    find = re.compile("|".join(_patterns(labels)), re.IGNORECASE)
    told = [
        record
        for record in records
        if _found(find, str(record["text"])) == {str(record["label"]).strip().casefold()}
    ]
    if len(told) >= _MOSTLY * len(records):
        places = ", ".join(place(record) for record in told[:_PLACES])
        raise DataError(
            f"train: the label stands in the text of {len(told):,} of {len(records):,} records "
            f"({places}): the model would only learn to copy it. Take it out of the texts; is "
            "`data.columns.text` the right column?"
        )


def _patterns(labels: Sequence[str]) -> Iterator[str]:
    """Yield a pattern a label: a whole word where it is of letters that make words."""
    for label in sorted(labels, key=len, reverse=True):
        edge = r"\b" if label.isascii() and label.isalnum() else ""
        yield f"{edge}{re.escape(label)}{edge}"


def _found(find: re.Pattern[str], text: str) -> set[str]:
    return {match.group().casefold() for match in find.finditer(text)}


def _check_supervised(
    task: Task, records: Sequence[Record], examples: Sequence[Example], sample: Sequence[Example]
) -> list[str]:
    empty = [one for one in sample if not task.supervised(task.collate([one]))]
    if not empty:
        return []
    if len(empty) == len(sample) and not any(
        task.supervised(task.collate([one])) for one in examples
    ):
        raise DataError(
            f"train: none of {len(examples):,} examples has a token that carries loss "
            f"({place(records[empty[0].of])} for one): there is nothing to learn. Look at them: "
            "`tael data RECIPE --show 3`."
        )
    places = ", ".join(place(records[one.of]) for one in empty[:_PLACES])
    return [
        f"{len(empty):,} of {len(sample):,} training examples looked at carry no loss and teach "
        f"nothing ({places})"
    ]
