"""Rewriting: what is read and written, and scores that are sacrebleu's and rouge-score's."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from tokenizers import Tokenizer

from tael.data.clean import clean
from tael.data.tokenizer import train_tokenizer
from tael.errors import DataError, RecipeError
from tael.recipe.schema import Recipe
from tael.recipe.schema import Tokenizer as Spec
from tael.task import seq2seq_data
from tael.task.marks import Marks
from tael.task.outcomes import figures
from tael.task.seq2seq import Seq2Seq
from tael.task.seq2seq_score import outcomes

WORDS = st.lists(st.sampled_from(["a", "red", "dog", "runs", "fast", "."]), max_size=9).map(
    " ".join
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = ["a clean room and a kind staff", "b c", "red dog runs"]
    return train_tokenizer(texts * 5, Spec(kind="wordpiece", vocab=120))


def recipe(**sections: Any) -> Recipe:
    own = {"data": {"train": ["x.jsonl"], "max_tokens": 16}}
    return Recipe.model_validate({"name": "x", "task": "seq2seq", **own, **sections})


def laid(row: dict[str, Any], **columns: str) -> dict[str, Any]:
    found = recipe(data={"train": ["x.jsonl"], "columns": columns})
    forms = seq2seq_data.forms(found.data.columns)
    rows = clean([row | {"@": "x:1"}], found.data.columns, found.data.clean, Counter(), forms=forms)
    return next(iter(rows))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=2, max_size=2)), min_size=1, max_size=6))
def test_bleu_and_chrf_are_those_of_sacrebleu(pairs: list[tuple[str, list[str]]]) -> None:
    said, references = [text for text, _ in pairs], [some for _, some in pairs]
    found = figures(outcomes(said, references))
    streams = [list(stream) for stream in zip(*references, strict=True)]
    assert found["bleu"] == pytest.approx(BLEU().corpus_score(said, streams).score, abs=1e-6)
    assert found["chrf"] == pytest.approx(CHRF().corpus_score(said, streams).score, abs=1e-6)


def test_a_draw_of_records_has_the_bleu_of_its_records() -> None:
    said = ["a red dog runs fast", "the dog runs .", "a b c d e"]
    references = [["a red dog runs slowly"], ["a dog runs ."], ["a b c d f"]]
    weight_RN = np.array([[1.0, 0, 1], [0, 2, 1]])
    drawn_R = outcomes(said, references).metrics(weight_RN)["bleu"]
    for at, numbers in enumerate(([0, 2], [1, 1, 2])):
        texts = [said[n] for n in numbers]
        stream = [references[n][0] for n in numbers]
        assert drawn_R[at] == pytest.approx(BLEU().corpus_score(texts, [stream]).score, abs=1e-6)


def test_chinese_summaries_are_compared_by_characters() -> None:
    found = figures(outcomes(["今天天气很好"], [["今天天气不好"]]))
    assert found["rougeL"] == pytest.approx(5 / 6)  # rouge-score alone finds no word in either
    assert found["bleu"] > 0


def test_rouge_is_the_mean_over_references_with_stems() -> None:
    found = figures(outcomes(["the dogs are running"], [["a dog is run", "nothing alike"]]))
    assert found["rouge1"] == pytest.approx((2 * 2 / 8 + 0) / 2)


def test_rows_are_read_as_pairs_as_several_references_and_as_questions() -> None:
    assert laid({"en": "a", "de": "b"}, source="en", target="de")["target"] == ["b"]
    several = laid({"d": "long", "s1": "x", "s2": "y", "t1": "z"}, source="d", target="s")
    assert several["target"] == ["x", "y"]
    answers = {"text": ["Rome"], "answer_start": [0]}
    asked = laid({"context": "Rome is old.", "question": "Where?", "answers": answers})
    assert (asked["source"], asked["target"]) == ("Where?\nRome is old.", ["Rome"])


def test_records_with_nothing_to_read_or_write_are_refused() -> None:
    records = [{"source": "a", "target": ["b"]}, {"source": "a", "target": [""]}]
    rows = [record | {"@": f"x.jsonl:{n + 2}"} for n, record in enumerate(records)]
    with pytest.raises(DataError, match=r"1 of 2 records have no target, first x\.jsonl:3"):
        Seq2Seq.check("train", rows, recipe())


def test_an_encoder_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(RecipeError, match=r"set model\.architecture=encoder-decoder"):
        Seq2Seq.from_records([], recipe(), tokenizer)


@pytest.mark.parametrize("kind", ["encoder-decoder", "decoder"])
def test_the_end_is_learned_once_and_nothing_that_is_read_is(
    kind: str, tokenizer: Tokenizer
) -> None:
    task = Seq2Seq.from_records([], recipe(model={"architecture": kind}), tokenizer)
    records = [
        {"source": "a clean room", "target": ["kind staff"]},
        {"source": "b", "target": ["c"]},
    ]
    examples = task.encode_many(records)
    batch = task.collate(examples)
    assert batch.targets is not None
    assert batch.targets.tolist() == [id_ for example in examples for id_ in example.target]
    for example in examples:
        assert example.target.count(task.marks.eos) == 1
        assert example.target[-1] == task.marks.eos
        assert task.marks.bos is None or example.ids.count(task.marks.bos) == 1  # never doubled
    if kind == "decoder":  # each target is told from the token before it
        assert batch.where_N is not None
        flat, where = batch.ids_BT.flatten().tolist(), batch.where_N.tolist()
        first = len(examples[0].ids) - 1
        assert where[0] == first
        assert flat[where[1]] == examples[0].target[0]
    else:
        assert batch.source is not None
        assert batch.ids_BT[:, 0].tolist() == [task.start, task.start]


def test_what_is_cut_is_counted_and_a_cut_target_still_ends(tokenizer: Tokenizer) -> None:
    sections = {"model": {"architecture": "encoder-decoder"}, "seq2seq": {"longest": 4}}
    task = Seq2Seq.from_records([], recipe(**sections), tokenizer)
    whole = task.encode({"source": "a", "target": ["b"]})
    assert whole.cut == 0
    long = task.encode({"source": "a " * 40, "target": ["b " * 10]})
    read = len(tokenizer.encode("a " * 40, add_special_tokens=True).ids) - 1
    written = len(tokenizer.encode("b " * 10, add_special_tokens=True).ids) - 1
    assert (len(long.ids), len(long.target)) == (16, 4)
    assert long.cut == read - 15 + written - 3
    assert long.target[-1] == task.marks.eos


def test_a_prompt_frames_what_a_decoder_reads(tokenizer: Tokenizer) -> None:
    marks = Marks(None, 3, 0)
    task = Seq2Seq(tokenizer, marks, 32, kind="clm", prompt="room {source} staff")
    ids = task.encode({"source": "clean"}).ids
    assert ids == tokenizer.encode("room clean staff", add_special_tokens=False).ids


def test_a_known_source_is_remembered_and_long_ones_are_led() -> None:
    task = Seq2Seq.__new__(Seq2Seq)
    train = [
        {"source": "the red dog", "target": ["der rote Hund"]},
        {"source": "a cat", "target": ["e"]},
    ]
    found = task.baselines(train, [])
    assert found["memory"].predict([{"source": "red dog"}])[0]["text"] == "der rote Hund"
    lines = "one.\ntwo.\nthree.\nfour."
    assert found["lead"].predict([{"source": lines}])[0]["text"] == "one. two. three."
