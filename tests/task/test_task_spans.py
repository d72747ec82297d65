"""Words cover a text but for its spaces; spans of every format index it exactly, or are refused."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tael.errors import DataError
from tael.task.spans import joined, read_spans, token_list, words_of

TEXT = "小明 likes 北京 🙂"
WANTED = [{"type": "人", "start": 0, "end": 2}, {"type": "place", "start": 9, "end": 11}]
AT = {"@": "x.jsonl:7"}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_words_are_all_that_is_no_space(text: str) -> None:
    places = words_of(text)
    assert all(start < end for start, end in places)
    assert all(a[1] <= b[0] for a, b in pairwise(places))
    covered = "".join(text[start:end] for start, end in places)
    assert covered == "".join(one for one in text if not one.isspace())


def test_chinese_is_cut_into_characters_and_other_scripts_into_words() -> None:
    text = "iPhone14在北京發售，naïve 東京タワー"
    assert [text[a:b] for a, b in words_of(text)] == [
        "iPhone", "14", "在", "北", "京", "發", "售", "，", "naïve", *"東京タワー",
    ]  # fmt: skip


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1)))
def test_joined_tokens_stand_where_they_are_said_to(tokens: list[str]) -> None:
    text, places = joined(tokens)
    assert [text[start:end] for start, end in places] == tokens


def test_no_space_stands_beside_chinese() -> None:
    assert joined(["小", "明", "likes", "it"])[0] == "小明likes it"


@pytest.mark.parametrize(
    "value",
    [
        [{"type": "人", "start": 0, "end": 2}, {"type": "place", "start": 9, "end": 11}],
        [{"label": "place", "start_offset": 9, "end_offset": 11},
         {"label": "人", "start": 0, "end": 2}],
        [[0, 2, "人"], [9, 11, "place"]],
        {"人": {"小明": [[0, 1]]}, "place": {"北京": [[9, 10]]}},
        [{"entity": "人", "start": 0, "end": 1, "word": "小明"},
         {"entity": "place", "start": 9, "end": 11, "word": "北京"}],
        '{"人": {"小明": [[0, 1]]}, "place": {"北京": [[9, 10]]}}',
    ],
)  # fmt: skip
def test_every_format_says_the_same_spans(value: Any) -> None:
    assert read_spans(value, AT, TEXT, Counter()) == WANTED


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"人": {"小明": [[1, 2]]}}, "does not stand at"),
        ([{"type": "人", "start": 5, "end": 50}], "is not in a text of 13 characters"),
        ([{"type": "人", "start": 3, "end": 3}], "is not in a text"),
        ([{"type": "人", "start": 0, "end": 2, "text": "小红"}], "does not stand at 0, 2"),
        ([{"start": 0, "end": 2}], "spans must be"),
        ([{"type": "人", "start": True, "end": 2}], "spans must be"),
        ({"人": [0, 2]}, "spans must be"),
        (7, "spans must be"),
        ("[1", "no JSON"),
    ],
)
def test_a_span_that_is_not_there_is_refused_with_its_place(value: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as refusal:
        read_spans(value, AT, TEXT, Counter())
    assert "x.jsonl:7" in str(refusal.value)


def test_spans_that_overlap_are_counted_and_kept() -> None:
    counts: Counter[str] = Counter()
    assert len(read_spans([[0, 2, "a"], [1, 4, "b"]], AT, TEXT, counts)) == 2
    assert sum(counts.values()) == 1


def test_tokens_may_be_a_list_or_text_with_spaces() -> None:
    assert token_list("a b", AT, "tokens") == token_list('["a", "b"]', AT, "tokens") == ["a", "b"]
    with pytest.raises(DataError, match="list of strings"):
        token_list({"a": 1}, AT, "tokens")
