"""From questions about contexts to spans, and back to the very characters."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tael.data.record import Record
from tael.data.tokenizer import train_tokenizer
from tael.errors import CheckpointError, DataError, RecipeError
from tael.model.config import ModelConfig
from tael.model.network import build
from tael.recipe.schema import Columns, Recipe
from tael.recipe.schema import Tokenizer as Spec
from tael.task.base import Example
from tael.task.match import SEGMENTS
from tael.task.qa import Qa
from tael.task.qa_data import check, forms, guess, line, survey

CONTEXTS = [
    "Rome lies on the Tiber. It was founded, they say, in 753 BC 🙂 by twins.",
    "北京是中国的首都🙂，也是一座有三千多年历史的古城。 The Great Wall 在其北面。",
]
_LETTERS = "ab 北京首都🙂.，\n"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(CONTEXTS * 5, Spec(kind="unigram", vocab=120))


def ask(context: str, start: int = 0, end: int = 0, question: str = "who?") -> Record:
    answer = {"text": context[start:end], "start": start}
    answers = [answer] if end else []
    return {"context": context, "question": question, "answers": answers, "@": "q.json:1"}


def told(examples: list[Example]) -> list[np.ndarray]:
    """Return the scores of a network that is sure of the targets."""
    scores = []
    for example in examples:
        one_TC = np.zeros((len(example), 2), np.float32)
        start, end = example.target
        one_TC[start, 0] = one_TC[end, 1] = 20
        scores.append(one_TC)
    return scores


def cover(context: str, offsets: list[tuple[int, int]], start: int, end: int) -> str:
    """Return the tokens that touch a span, as text: what can be answered at all."""
    touched = [(a, b) for a, b in offsets if a < end and b > start]
    return context[touched[0][0] : touched[-1][1]] if touched else ""


@settings(max_examples=150, deadline=None)
@given(data=st.data(), most=st.integers(16, 40), stride=st.none() | st.integers(1, 30))
def test_what_is_encoded_decodes_to_the_given_answer(
    data: st.DataObject, most: int, stride: int | None
) -> None:
    words = train_tokenizer(CONTEXTS * 5, Spec(kind="unigram", vocab=120))
    task = Qa(words, most, stride=stride, longest=50)
    context = data.draw(st.sampled_from(CONTEXTS) | st.text(_LETTERS, min_size=1, max_size=60))
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, min(len(context), start + 6)))
    examples = task.encode_many([ask(context, start, end)])
    inside = [example for example in examples if example.target != (0, 0)]
    (answer,) = task.decode(told(examples), examples)
    assert context[answer["start"] : answer["end"]] == answer["answer"] or not answer["answer"]
    if inside:  # a span that no window holds whole cannot be taught
        offsets = inside[0].note.offsets
        wanted = cover(context, offsets, start, end)
        assert answer["answer"].strip() == wanted.strip()
        assert set(context[start:end].split()) <= set(wanted.split()) or wanted in context


def test_an_answer_of_whole_tokens_comes_back_to_the_character(tokenizer: Tokenizer) -> None:
    task = Qa(tokenizer, 24, stride=5)
    records = [ask(CONTEXTS[0], 10, 22), ask(CONTEXTS[1], 8, 9), ask(CONTEXTS[1], 0, 2)]
    examples = task.encode_many(records)
    answers = task.decode(told(examples), examples)
    for record, answer in zip(records, answers, strict=True):
        assert record["answers"][0]["text"] in answer["answer"]
        assert record["context"][answer["start"] : answer["end"]] == answer["answer"]
    assert task.metrics(answers, task.references(records))["f1"] > 0.75


def test_every_token_of_a_long_context_is_in_a_window(tokenizer: Tokenizer) -> None:
    for stride in (None, 1, 7, 1000):
        task = Qa(tokenizer, 20, stride=stride)
        examples = task.encode_many([ask(CONTEXTS[0] * 3)])
        seen = [offset for example in examples for offset in example.note.offsets]
        whole = tokenizer.encode(CONTEXTS[0] * 3, add_special_tokens=False)
        assert {end for _, end in seen} == {end for _, end in whole.offsets}
        assert all(len(example) <= 20 for example in examples)
        assert {example.of for example in examples} == {0}


def test_the_question_never_answers_itself(tokenizer: Tokenizer) -> None:
    task = Qa(tokenizer, 48)
    record = ask("北京是首都。", question="Rome Rome Rome")
    examples = task.encode_many([record])
    scores = np.full((len(examples[0]), 2), -5, np.float32)
    scores[1 : examples[0].note.head, :] = 50  # the network insists on the question
    (answer,) = task.decode([scores], examples)
    assert "Rome" not in answer["answer"]
    assert answer["answer"] in record["context"]


def test_an_answer_ends_where_it_begins_or_later_and_is_not_too_long(tokenizer: Tokenizer) -> None:
    task = Qa(tokenizer, 64, longest=3)
    examples = task.encode_many([ask(CONTEXTS[0])])
    head, size = examples[0].note.head, len(examples[0])
    scores = np.zeros((size, 2), np.float32)
    scores[size - 3, 0] = scores[head, 1] = 9  # the end before the start, and far away
    (answer,) = task.decode([scores], examples)
    assert answer["start"] < answer["end"]
    kept = [one for one in examples[0].note.offsets if answer["start"] <= one[0] < answer["end"]]
    assert 1 <= len(kept) <= 3


def test_no_answer_is_given_only_where_training_had_questions_without(
    tokenizer: Tokenizer,
) -> None:
    for always in (True, False):
        task = Qa(tokenizer, 64, always=always)
        examples = task.encode_many([ask(CONTEXTS[0])])
        scores = np.zeros((len(examples[0]), 2), np.float32)
        scores[0] = 20  # "not here"
        (answer,) = task.decode([scores], examples)
        assert (answer["answer"] != "") == always
        assert (answer["start"] is not None) == always


def test_a_damaged_model_is_not_answered_with(tokenizer: Tokenizer) -> None:
    task = Qa(tokenizer, 64)
    examples = task.encode_many([ask(CONTEXTS[0])])
    with pytest.raises(CheckpointError, match="NaN"):
        task.decode([np.full((len(examples[0]), 2), np.nan, np.float32)], examples)


def test_what_stands_in_the_question_is_marked_where_asked_for(tokenizer: Tokenizer) -> None:
    record = ask(CONTEXTS[1], question="中国的首都？")
    plain, marked = (Qa(tokenizer, 96, match=match).encode(record) for match in (False, True))
    assert plain.ids == marked.ids
    assert set(plain.types) == {0, 1}
    assert max(marked.types) == SEGMENTS - 1
    config = ModelConfig(vocab=200, hidden=16, layers=1, heads=2, ffn=16)
    with pytest.raises(RecipeError, match=r"qa\.match"):
        Qa(tokenizer, 96, match=True).head(config)


def test_the_loss_is_that_of_start_and_end_among_the_places_allowed(tokenizer: Tokenizer) -> None:
    task = Qa(tokenizer, 48)
    config = ModelConfig(
        vocab=tokenizer.get_vocab_size(), hidden=16, layers=1, heads=2, ffn=16, max_positions=64
    )
    network = build(config, task.head(config), seed=2).eval()
    batch = task.collate(task.encode_many([ask(CONTEXTS[0], 9, 22), ask("北京", 0, 2)]))
    with torch.inference_mode():
        logits_BTC = task.logits(network, batch)
    assert batch.targets is not None
    expected = 0.0
    for row_TC, ids_T, (start, end) in zip(logits_BTC, batch.ids_BT, batch.targets, strict=True):
        open_T = torch.isfinite(row_TC[:, 0])
        first = int((ids_T == 3).nonzero()[0])  # behind the question's [SEP] the context begins
        assert not open_T[1 : first + 1].any()
        for column, at in enumerate((start, end)):
            expected -= float(
                torch.log_softmax(row_TC[open_T, column], 0)[int(open_T[: int(at)].sum())]
            )
    assert task.loss(logits_BTC, batch).item() == pytest.approx(expected / 2, rel=1e-4)
    assert task.supervised(batch) == len(batch.ids_BT)


def columns() -> Columns:
    return Columns()


def lay(row: Record) -> tuple[Record, Counter[str]]:
    counts: Counter[str] = Counter()
    (form,) = forms(columns())
    return form.lay({"@": "q.json:7", **row}, str, counts), counts


def test_records_keep_their_context_to_the_character_and_are_known_by_both_texts() -> None:
    context = " two  spaces\u00a0and ﬁ "
    record, _ = lay({"context": context, "question": "q", "answers": []})
    assert record["context"] == record["text_pair"] == context
    assert record["text"] == "q"
    assert not forms(columns())[0].near  # questions about one context are no near copies


@pytest.mark.parametrize("answers", [[3], {"text": "a"}, {"text": ["a"], "start": []}, 5, [{}]])
def test_answers_of_another_shape_are_refused(answers: Any) -> None:
    with pytest.raises(DataError, match=r"q\.json:7: answers must be a list"):
        lay({"context": "a", "question": "b", "answers": answers})


def test_a_misplaced_answer_is_found_and_an_absent_one_is_counted() -> None:
    context = "abc 北京 abc"
    answers = [
        {"text": "北京", "answer_start": 0},
        {"text": "abc", "start": 5},
        {"text": "abd", "start": 0},
    ]
    record, counts = lay({"context": context, "question": "q", "answers": answers})
    assert counts == {
        "answers found elsewhere than the file says": 2,
        "answers that do not stand in their context: scored, not learned": 1,
    }
    assert [one["text"] for one in record["answers"]] == ["北京", "abc", "abd"]


def test_the_answer_of_most_annotators_is_learned(tokenizer: Tokenizer) -> None:
    record = ask(CONTEXTS[0])
    record["answers"] = [
        {"text": "Rome", "start": 0},
        {"text": "Tiber", "start": 17},
        {"text": "Tiber", "start": 17},
    ]
    example = Qa(tokenizer, 96).encode(record)
    where = example.note
    start, end = example.target
    first, last = where.offsets[start - where.head], where.offsets[end - where.head]
    assert "Tiber" in record["context"][first[0] : last[1]]


def test_records_without_what_is_learned_are_told_with_their_places() -> None:
    recipe = Recipe.model_validate({"name": "x", "task": "qa", "data": {"train": ["x.json"]}})
    rows = [ask("a", 0, 1), ask(" ", 0, 0), {**ask("b"), "answers": None}]
    with pytest.raises(DataError, match=r"1 with no context \(q\.json:1\); 1 with no list"):
        check("train", rows, recipe)
    with pytest.raises(DataError, match="none of 1 records has an answer"):
        survey({"train": [ask("a")]}, recipe)
    assert line(ask("Rome", 0, 4)) == "who?  →  Rome"
    assert guess([{**ask("a"), "title": "t"}]) == ["data.group=title"]
    assert guess([{"text": "a"}]) is None
