"""What tagging promises: nothing cut, legal tags, and spans that index the original text."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_samples import recipe_of
from tokenizers import Tokenizer

from tael.data.clean import clean
from tael.data.record import Record
from tael.data.tokenizer import train_tokenizer
from tael.errors import CheckpointError, DataError
from tael.recipe.schema import Clean, Columns
from tael.recipe.schema import Tokenizer as Spec
from tael.task.base import Example
from tael.task.dictionary import Dictionary
from tael.task.scheme import labels_of
from tael.task.spans import words_of
from tael.task.tag import Tag
from tael.task.tag_data import forms, guess, survey

TYPES = ["person", "place"]
LETTERS = st.characters(exclude_categories=["Cs", "Cn", "Co"])
PIECES = st.sampled_from(
    ["北京", "小明", " ", "Rome ", "👩\u200d👧", "é", "e\u0301", "３", "x2", "，", "\t"]
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["北京 小明 Rome likes it 🙂"] * 5, Spec(kind="wordpiece", vocab=100))


def tag(tokenizer: Tokenizer, max_tokens: int = 32, **options: Any) -> Tag:
    return Tag(tokenizer, labels_of(TYPES), "spans", max_tokens, **options)


def sure_of(examples: list[Example], classes: int) -> list[np.ndarray]:
    """Return logits that are sure of the targets."""
    return [9.0 * np.eye(classes, dtype=np.float32)[example.target] for example in examples]


@st.composite
def spanned(draw: st.DrawFn) -> Record:
    """Draw a text and spans of its words, such as a person would mark."""
    text = "".join(draw(st.lists(st.one_of(PIECES, st.text(LETTERS, max_size=3)), max_size=40)))
    places, spans, at = words_of(text), [], 0
    while at < len(places):
        end = min(at + draw(st.integers(1, 3)), len(places))
        if draw(st.booleans()):
            kind = draw(st.sampled_from(TYPES))
            spans.append({"type": kind, "start": places[at][0], "end": places[end - 1][1]})
        at = end + draw(st.integers(0, 2))
    return {"text": text, "spans": spans}


@settings(max_examples=150, deadline=None)
@given(record=spanned(), most=st.integers(8, 40))
def test_encode_then_decode_gives_the_references_back(
    tokenizer: Tokenizer, record: Record, most: int
) -> None:
    task = tag(tokenizer, most)
    examples = task.encode_many([record])
    (answer,) = task.decode(sure_of(examples, len(task.labels)), examples)
    (reference,) = task.references([record])
    found = [{key: one[key] for key in ("type", "start", "end", "text")} for one in answer["spans"]]
    assert found == reference
    assert all(record["text"][one["start"] : one["end"]] == one["text"] for one in found)
    assert all(len(example) <= most for example in examples)
    assert task.metrics([answer], [reference])["f1"] == (1.0 if reference else 0.0)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), record=spanned())
def test_whatever_the_network_says_no_illegal_tags_come_out(
    tokenizer: Tokenizer, seed: int, record: Record
) -> None:
    task, rng = tag(tokenizer), np.random.default_rng(seed)
    examples = task.encode_many(
        [{"tokens": [record["text"][a:b] for a, b in words_of(record["text"])]}]
    )
    outputs = [rng.normal(size=(len(e.note.at), 5)).astype(np.float32) for e in examples]
    (answer,) = task.decode(outputs, examples)
    for last, now in zip(["O", *answer["tags"]], answer["tags"], strict=False):
        assert not now.startswith("I") or last[1:] == now[1:]


def test_a_long_text_is_read_in_windows_and_every_word_answered_once(tokenizer: Tokenizer) -> None:
    task = tag(tokenizer, 16)
    text = "北京 小明 likes Rome " * 40
    examples = task.encode_many([{"text": text, "spans": []}, {"text": "北京", "spans": []}])
    assert {example.of for example in examples} == {0, 1}
    assert sum(len(e.note.at) for e in examples if e.of == 0) == len(words_of(text))
    assert all(example.cut == 0 for example in examples)
    # All but the first word of a later window has words of the window before to its left.
    assert all(example.note.at[0] > 1 for example in examples[1:-1])


def test_an_empty_text_is_answered_with_nothing(tokenizer: Tokenizer) -> None:
    task = tag(tokenizer)
    examples = task.encode_many([{"text": " \n"}])
    assert task.decode([np.zeros((0, 5), np.float32)], examples) == [{"spans": []}]


def test_tokens_are_answered_with_a_tag_each_and_text_to_count_in(tokenizer: Tokenizer) -> None:
    task = tag(tokenizer)
    record = {
        "tokens": ["小", "明", "likes", "Rome"],
        "tags": ["B-person", "I-person", "O", "B-place"],
    }
    examples = task.encode_many([record])
    (answer,) = task.decode(sure_of(examples, 5), examples)
    assert answer["tags"] == record["tags"]
    assert answer["text"] == "小明likes Rome"
    assert [one["text"] for one in answer["spans"]] == ["小明", "Rome"]


def test_a_text_is_read_as_its_tokens_are(tokenizer: Tokenizer) -> None:
    task = tag(tokenizer)
    tokens = task.encode({"tokens": ["北京", "don't", "Rome"], "tags": ["B-place", "O", "B-place"]})
    text = task.encode({"text": "北京don't Rome"})
    assert tokens.ids == text.ids
    assert [task.labels[c] for c in tokens.target] == [
        "B-place", "I-place", "O", "O", "O", "B-place",
    ]  # fmt: skip


def test_a_network_that_answers_nan_is_told(tokenizer: Tokenizer) -> None:
    task = tag(tokenizer)
    examples = task.encode_many([{"text": "北京"}])
    with pytest.raises(CheckpointError, match="NaN"):
        task.decode([np.full((2, 5), np.nan, np.float32)], examples)


def test_parts_of_speech_are_scored_by_token(tokenizer: Tokenizer) -> None:
    rows = [{"tokens": ["a", "b", "c"], "tags": ["DT", "NN", "VB"]}]
    task = Tag.from_records(rows, recipe_of("tag"), tokenizer)
    assert (task.scheme, task.metric) == ("plain", "accuracy")
    said = [{"tokens": ["a", "b", "c"], "tags": ["DT", "NN", "NN"], "scores": [1, 1, 1]}]
    assert task.metrics(said, task.references(rows)) == pytest.approx(
        {"accuracy": 2 / 3, "f1": (1 + 2 / 3 + 0) / 3}
    )
    assert task.mistake(said[0], rows[0]["tags"]) == ("c VB", "c NN", 1.0)


def span(kind: str, start: int, end: int) -> dict[str, Any]:
    return {"type": kind, "start": start, "end": end}


def test_entity_f1_counts_whole_spans_of_the_right_type(tokenizer: Tokenizer) -> None:
    task = tag(tokenizer)
    truth = [[span("person", 0, 2), span("place", 3, 5)]]
    near = [{"spans": [span("person", 0, 2), span("place", 3, 4), span("person", 3, 5)]}]
    found = task.metrics(near, truth)
    assert found == pytest.approx({"f1": 0.4, "precision": 1 / 3, "recall": 1 / 2})


def rows(
    records: list[Record], columns: Columns | None = None
) -> tuple[list[Record], Counter[str]]:
    counts: Counter[str] = Counter()
    columns = columns or Columns()
    placed = [{**record, "@": f"x:{at}"} for at, record in enumerate(records)]
    return list(clean(placed, columns, Clean(), counts, forms=forms(columns))), counts


def test_texts_keep_their_spaces_so_that_places_hold() -> None:
    text = "  小明\u3000 in  Ｒome \x07"
    (record,), _ = rows([{"text": text, "spans": [[2, 4, "person"]]}])
    assert record["text"] == text


def test_a_span_inside_a_word_is_counted() -> None:
    _, counts = rows([{"text": "Romeward", "spans": [[0, 4, "place"]]}])
    assert counts["spans that begin or end inside a word: learned as the whole word"] == 1


def test_tokens_and_tags_must_be_as_many() -> None:
    with pytest.raises(DataError, match="x:0: 2 tokens have 1 tags"):
        rows([{"tokens": ["a", "b"], "tags": ["O"]}])


def test_a_type_that_train_lacks_is_told_with_its_place() -> None:
    train, _ = rows([{"tokens": ["a"], "tags": ["B-person"]}])
    dev, _ = rows([{"tokens": ["a"], "tags": ["B-persn"]}])
    with pytest.raises(DataError, match=r"dev: 1 types that train does not have: 'persn' \(x:0\)"):
        survey({"train": train, "dev": dev}, recipe_of("tag"))
    with pytest.raises(DataError, match="nothing to learn"):
        survey({"train": [train[0] | {"tags": ["O"]}]}, recipe_of("tag"))


def test_a_model_is_not_scored_on_types_it_cannot_tell(tokenizer: Tokenizer) -> None:
    task = tag(tokenizer)
    task.check_known("test", rows([{"tokens": ["a", "b"], "tags": ["B-person", "O"]}])[0])
    for tags in (["B-city", "O"], ["B", "O"]):
        with pytest.raises(DataError, match="1 types that train does not have"):
            task.check_known("test", rows([{"tokens": ["a", "b"], "tags": tags}])[0])
    with pytest.raises(DataError, match="no tags and no spans"):
        task.check_known("test", [{"text": "a", "@": "x:0"}])


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ({"tokens": ["a"], "ner_tags": ["O"]}, ["data.columns.tags=ner_tags"]),
        ({"tokens": ["a"], "tags": ["O"]}, []),
        ({"text": "小明", "label": {"人": {"小明": [[0, 1]]}}}, ["data.columns.spans=label"]),
        ({"content": "a b", "entities": [[0, 1, "x"]]},
         ["data.columns.text=content", "data.columns.spans=entities"]),
        ({"text": "a", "label": "x"}, None),
        ({"text": "a", "label": ["x", "y"]}, None),
    ],
)  # fmt: skip
def test_a_file_of_tags_or_spans_is_recognised(row: Record, settings: list[str] | None) -> None:
    assert guess([row]) == settings


def test_the_dictionary_knows_what_train_has_and_the_longest_first() -> None:
    train, _ = rows(
        [
            {"tokens": ["New", "York"], "tags": ["B-place", "I-place"]},
            {"tokens": ["York", "May"], "tags": ["B-person", "B-person"]},
            {"tokens": ["in", "May"], "tags": ["O", "O"]},
            {"tokens": ["of", "May"], "tags": ["O", "O"]},
        ]
    )
    (answer,) = Dictionary.learn(train, "spans").predict(
        [{"tokens": ["New", "York", "York", "May"]}]
    )
    assert [(one["text"], one["type"]) for one in answer["spans"]] == [
        ("New York", "place"), ("York", "person"),
    ]  # fmt: skip
