"""Training refuses to start on what cannot teach: each silent failure of today's tools, small."""

from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer

from tael.data.record import Record
from tael.data.tokenizer import train_tokenizer
from tael.errors import DataError
from tael.recipe.schema import Recipe
from tael.recipe.schema import Tokenizer as Spec
from tael.task.base import Task, find
from tael.train.lessons import check_lessons

TEXTS = ["good room", "bad bed", "the staff was kind", "never again", "quiet and clean", "so loud"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([*TEXTS, "label : positive negative"] * 3, Spec(vocab=120))


def recipe(**data: Any) -> Recipe:
    settings = {"train": ["x.csv"], "max_tokens": 16} | data
    return Recipe.model_validate({"name": "x", "task": "classify", "data": settings})


def records(texts: list[str]) -> list[Record]:
    return [
        {"text": text, "label": ("positive", "negative")[at % 2], "@": f"x.csv:{at + 2}"}
        for at, text in enumerate(texts)
    ]


def lessons(tokenizer: Tokenizer, rows: list[Record], **data: Any) -> list[str]:
    settings = recipe(**data)
    task: Task = find("classify").from_records(rows, settings, tokenizer)
    return check_lessons(task, rows, task.encode_many(rows), settings)


def test_what_teaches_passes_in_silence(tokenizer: Tokenizer) -> None:
    assert lessons(tokenizer, records(TEXTS)) == []


@pytest.mark.parametrize("form", ["label: {label} {text}", "{text} {label}", "{text} #{label}!"])
def test_a_label_inside_the_text_is_refused(tokenizer: Tokenizer, form: str) -> None:
    rows = [row | {"text": form.format(**row)} for row in records(TEXTS)]
    with pytest.raises(DataError, match=r"the label stands in the text of 6 of 6.*x\.csv:2"):
        lessons(tokenizer, rows)


def test_a_label_as_a_part_of_words_or_beside_the_other_is_no_leak(tokenizer: Tokenizer) -> None:
    for form in ("{label}ly {text}", "positive or negative? {text}", "positive {text}"):
        assert not lessons(tokenizer, [r | {"text": form.format(**r)} for r in records(TEXTS)])


def test_chinese_labels_are_found_without_spaces(tokenizer: Tokenizer) -> None:
    rows = [
        {"text": f"评价{label}房间{at}", "label": label, "@": f"x.csv:{at}"}
        for at, label in enumerate(["正面", "负面"] * 3)
    ]
    with pytest.raises(DataError, match="the label stands in the text"):
        lessons(tokenizer, rows)


def test_more_cut_than_allowed_is_refused(tokenizer: Tokenizer) -> None:
    rows = [row | {"text": f"{row['text']} " * 20} for row in records(TEXTS)]
    with pytest.raises(DataError, match=r"\d\d% of all tokens are cut off by data.max_tokens=16"):
        lessons(tokenizer, rows)
    assert lessons(tokenizer, rows, max_cut=1) == []


def test_a_first_token_that_stands_twice_is_refused(tokenizer: Tokenizer) -> None:
    rows, settings = records(TEXTS), recipe()
    task: Task = find("classify").from_records(rows, settings, tokenizer)
    encoded = task.encode_many(rows)
    doubled = [replace(e, ids=[e.ids[0], *e.ids], types=[0, *e.types]) for e in encoded]
    with pytest.raises(DataError, match=r"x\.csv:2: begins with \[CLS\] twice, as 6 of 6"):
        check_lessons(task, rows, doubled, settings)
    # One text that quotes the token is not the rule.
    assert check_lessons(task, rows, [doubled[0], *encoded[1:]], settings) == []


class Masked:
    """A task whose loss masks are made by hand: `target` holds what is learned."""

    name, max_tokens = "masked", 16

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def collate(self, examples: Any) -> Any:
        return examples

    def supervised(self, batch: Any) -> float:
        return float(sum(len(example.target) for example in batch))


def test_a_mask_that_is_zero_everywhere_is_refused_and_somewhere_is_told(
    tokenizer: Tokenizer,
) -> None:
    rows, settings = records(TEXTS), recipe()
    task: Any = Masked(tokenizer)
    encoded = find("classify").from_records(rows, settings, tokenizer).encode_many(rows)
    nothing = [replace(one, target=[]) for one in encoded]
    with pytest.raises(DataError, match=r"none of 6 examples has a token that carries loss"):
        check_lessons(task, rows, nothing, settings)
    some = [replace(nothing[0], target=[1]), *nothing[1:]]
    (said,) = check_lessons(task, rows, some, settings)
    assert said.startswith("5 of 6 training examples looked at carry no loss")
