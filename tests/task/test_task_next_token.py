"""Bits and choices: the same whatever the windows, and nothing of a text is left out."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from tael.data.record import Record
from tael.data.split import split_by_order
from tael.data.tokenizer import train_tokenizer
from tael.errors import DataError
from tael.recipe.schema import Tokenizer as Spec
from tael.task import text_data
from tael.task.marks import Marks
from tael.task.next_token import NextToken
from tael.task.ngram import CharacterGrams

TEXTS = ["the cat sat on the mat\n", "很好的酒店，服务也好。", "a", "emoji 🙂 and\ttabs  too"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS * 20, Spec(kind="bytes", vocab=300))


def task(tokenizer: Tokenizer, max_tokens: int = 8) -> NextToken:
    return NextToken(tokenizer, Marks(2, 3, 0, 4), max_tokens)


def test_the_byte_tokenizer_gives_back_every_character(tokenizer: Tokenizer) -> None:
    for text in [*TEXTS, "  全角　，[SEP] \r\n\n 𠀀 ﬁ é é", ""]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        assert not {2, 3} & set(ids)  # what a user writes is never a control token


def test_windows_hold_every_token_as_a_target_once(tokenizer: Tokenizer) -> None:
    made = task(tokenizer)
    for number, text in enumerate(TEXTS):
        examples = made.encode_many([{"text": other} for other in TEXTS])
        mine = [example for example in examples if example.of == number]
        inside = tokenizer.encode(text, add_special_tokens=False).ids
        assert [id_ for example in mine for id_ in example.ids[1:]] == [*inside, 3]
        assert mine[0].ids[0] == 2  # one beginning, in the first window only
        assert sum(example.ids.count(2) for example in mine) == 1
        assert all(example.cut == 0 and len(example) <= 9 for example in mine)


def test_what_stands_before_a_window_is_half_a_window(tokenizer: Tokenizer) -> None:
    text = "the cat sat on the mat. " * 8
    examples = task(tokenizer).encode_many([{"text": text}])
    whole = [2, *tokenizer.encode(text, add_special_tokens=False).ids, 3]
    for number, example in enumerate(examples):
        start = 8 * number
        assert list(example.note.before) == whole[max(0, start - 4) : start]
        assert example.ids == whole[start : start + 9]


def test_the_answer_is_summed_over_the_windows_of_a_text(tokenizer: Tokenizer) -> None:
    made = task(tokenizer)
    records: list[Record] = [{"text": text} for text in TEXTS]
    examples = made.encode_many(records)
    outputs = [np.array([-1.5 * (len(e) - 1), len(e) - 1, 1]) for e in examples]
    answers = made.decode(outputs, examples)
    for answer, text in zip(answers, TEXTS, strict=True):
        tokens = len(tokenizer.encode(text, add_special_tokens=False).ids) + 1
        assert answer["tokens"] == tokens
        assert answer["perplexity"] == pytest.approx(math.exp(1.5))
        assert answer["bits_per_char"] == pytest.approx(
            1.5 * tokens / math.log(2) / (len(text) + 1)
        )
    metrics = made.metrics(answers, made.references(records))
    total = 1.5 * sum(answer["tokens"] for answer in answers) / math.log(2)
    assert metrics["bits_per_char"] == pytest.approx(total / sum(len(t) + 1 for t in TEXTS))
    assert metrics["bits_per_byte"] == pytest.approx(
        total / sum(len(t.encode()) + 1 for t in TEXTS)
    )
    assert metrics["perplexity"] == pytest.approx(math.exp(1.5))


@pytest.mark.parametrize(
    ("text", "words"), [("the cat sat", 3), ("很好 hotel", 3), ("", 1), ("a  b\nc", 3)]
)
def test_a_chinese_character_is_a_word(text: str, words: int) -> None:
    assert text_data.size_of({"text": text})["words"] == words


def laid(row: Record) -> Record:
    from collections import Counter

    from tael.data.form import by_role, chosen, roles_in
    from tael.recipe.schema import Columns

    forms = text_data.forms(Columns())
    record = {**row, "@": "x.jsonl:1"}
    form = chosen(forms, record)
    roles = roles_in(form, record, labelled=True)
    return form.lay(by_role(record, roles, Counter(), form.made), lambda text: text, Counter())


def test_a_sentence_of_a_pair_is_judged_in_a_line_of_its_own(tokenizer: Tokenizer) -> None:
    record = laid({"sentence_good": "the cat sat", "sentence_bad": "the sat cat", "UID": "x"})
    assert (record["choices"], record["answer"]) == (["the cat sat", "the sat cat"], 0)
    good, bad = task(tokenizer, 64).encode_many([record])
    for example, sentence in ((good, "the cat sat"), (bad, "the sat cat")):
        whole = [2, *tokenizer.encode(f"\n{sentence}\n", add_special_tokens=False).ids]
        assert [*example.note.before, *example.ids] == whole
        # What both share, the line end before them, is not judged, and cannot tell them apart.
        assert tokenizer.decode(example.ids[1:]) == f"{sentence}\n"


@pytest.mark.parametrize("answer", [1, "B", "b", "a dog"])
def test_the_right_choice_is_given_by_number_letter_or_text(answer: Any) -> None:
    row = {"question": "It barks:", "choices": ["a cat", "a dog"], "answer": answer}
    assert laid(row)["answer"] == 1


@pytest.mark.parametrize("answer", [2, -1, "C", "a cow", True, None])
def test_an_answer_that_is_no_choice_is_refused(answer: Any) -> None:
    row = {"question": "It barks:", "choices": ["a cat", "a dog"], "answer": answer}
    with pytest.raises(DataError, match="none of the 2 choices"):
        laid(row)


def test_choices_are_judged_and_never_learned_from(tokenizer: Tokenizer) -> None:
    record = laid({"sentence_good": "x", "sentence_bad": "y"})
    with pytest.raises(DataError, match="judged, not learned from"):
        text_data.check("train", [record], None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="measured apart"):
        task(tokenizer).check_known("test", [record, {"text": "a", "@": "x:2"}])


def test_a_choice_longer_than_a_window_is_refused_and_a_long_question_is_cut_in_front(
    tokenizer: Tokenizer,
) -> None:
    made = task(tokenizer, 8)
    short = laid({"question": "the cat " * 9, "choices": ["sat", "mat"], "answer": 0})
    for example in made.encode_many([short]):
        assert len(example.note.before) + len(example.ids) <= 9
        assert example.cut > 0
    long = laid({"question": "?", "choices": ["the cat " * 9, "mat"], "answer": 0})
    with pytest.raises(DataError, match="longer than the 8"):
        made.encode_many([long])


@pytest.mark.parametrize("shares", [(0.93, 0.02, 0.05), (0.8, 0.1, 0.1), (0.9, 0.0, 0.1)])
def test_a_split_by_order_is_the_text_cut_in_three(shares: tuple[float, float, float]) -> None:
    records: list[Record] = [{"text": text, "@": str(n)} for n, text in enumerate(TEXTS * 3)]
    whole = "".join(str(record["text"]) for record in records)
    parts = split_by_order(records, shares)
    joined = {name: "".join(str(r["text"]) for r in rows) for name, rows in parts.items()}
    assert joined["train"] + joined["dev"] + joined["test"] == whole
    for name, share in zip(("train", "dev"), shares, strict=False):
        assert len(joined[name]) == pytest.approx(share * len(whole), abs=1)


def test_a_long_text_is_split_into_parts_that_are_told_as_the_whole_is(
    tokenizer: Tokenizer,
) -> None:
    lines = "".join(f"{n} the cat sat on the mat\n" for n in range(400))
    parts = split_by_order([{"text": lines, "@": "x"}], (0.5, 0.0, 0.5))
    pieces = [*parts["train"], *parts["test"]]
    assert "".join(str(piece["text"]) for piece in pieces) == lines
    assert all(len(str(piece["text"])) <= 4000 for piece in pieces)
    assert [bool(piece.get("goes_on")) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    made = task(tokenizer)
    examples = made.encode_many(pieces)
    whole = [2, *tokenizer.encode(lines, add_special_tokens=False).ids, 3]
    told = [id_ for example in examples for id_ in example.ids[1:]]
    assert told == whole[1:]  # nothing twice, nothing left out, one end
    at = 0
    for example in examples:  # each from what stands before it, across the parts too
        seen = [*example.note.before, example.ids[0]]
        assert seen == whole[max(0, at - len(seen) + 1) : at + 1]
        assert len(seen) == 5 or at < 5
        at += len(example) - 1
    sizes = [reference["characters"] for reference in made.references(pieces)]
    assert sum(sizes) == len(lines) + 1
    grams = CharacterGrams([lines])
    apart = sum(answer["log_probability"] for answer in grams.predict(pieces))
    assert apart == pytest.approx(grams.predict([{"text": lines}])[0]["log_probability"])


def test_the_5_gram_model_is_a_code_that_sums_to_one() -> None:
    grams = CharacterGrams(["abab", "abc"])
    for before in ("", "a", "ab", "\nab", "zzzz"):
        seen = sum(grams._share(before, character) for character in "abc\n")
        unseen = (0x110000 - 4) * grams._share(before, "龘")
        assert seen + unseen == pytest.approx(1)


def test_the_5_gram_model_answers_what_the_network_answers(tokenizer: Tokenizer) -> None:
    grams = CharacterGrams(["the cat sat on the mat"] * 3)
    made = task(tokenizer)
    records = [{"text": "the cat sat"}, {"text": "狗"}]
    answers = grams.predict(records)
    metrics = made.metrics(answers, made.references(records))
    assert set(metrics) == set(made.metric_names(None))  # type: ignore[arg-type]
    assert answers[0]["bits_per_char"] < 2 < 10 < answers[1]["bits_per_char"]
    pair = laid({"sentence_good": "the cat", "sentence_bad": "tac eht"})
    assert grams.predict([pair])[0]["choice"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bits"),
    [("lm_en_tinyshakespeare/input.txt", 2.513), ("lm_zh_shop_reviews/reviews.txt", 5.480)],
)
def test_the_5_gram_model_has_the_known_figures_of_real_text(name: str, bits: float) -> None:
    path = Path(os.environ.get("TAEL_DATA", "../shared/data")) / name
    if not path.exists():
        pytest.skip(f"{path} is not there; TAEL_DATA names the folder of real data")
    text = path.read_text("utf-8")
    border = int(0.95 * len(text))
    last = {"text": text[border:], "before": text[border - 9 : border], "goes_on": True}
    (answer,) = CharacterGrams([text[:border]]).predict([last])
    assert answer["bits_per_char"] == pytest.approx(bits, abs=6e-4)
