"""Streaming: the pieces are the whole text, nothing is half a character, nothing is taken back."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tael.data.detokenize import Detokenizer
from tael.data.tokenizer import train_tokenizer
from tael.recipe.schema import Tokenizer as Spec

TEXTS = ["酒店 is good", "🙂👩‍👩‍👧 bad", "שלום naïve e\u0301", "def f(x):\n\treturn  x"] * 8


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=sorted(alphabet),
        special_tokens=["<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def own(kind: Any) -> Tokenizer:
    return train_tokenizer(TEXTS, Spec(kind=kind, vocab=1000))


def llama() -> Tokenizer:
    tokenizer = own("bpe")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


TOKENIZERS = {
    "byte-level": byte_level(),
    "llama": llama(),
    **{kind: own(kind) for kind in ("unigram", "bpe", "wordpiece")},
}


def stream(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.feed(id_) for id_ in ids), detokenizer.end()]


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(ids=st.lists(st.integers(0, 1010), max_size=40))
def test_the_pieces_of_any_ids_are_the_text_of_all_of_them(name: str, ids: list[int]) -> None:
    tokenizer = TOKENIZERS[name]
    assert "".join(stream(tokenizer, ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize("name", ["byte-level", "llama", "unigram", "bpe"])
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=20))
@example("👩‍👩‍👧👋🏽 龘龘 a\u0301 שלום")
def test_no_piece_holds_half_a_character(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    pieces = stream(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids)
    assert "".join(pieces).count("\ufffd") == text.count("\ufffd")


def test_text_is_shown_as_soon_as_it_is_whole() -> None:
    tokenizer = TOKENIZERS["byte-level"]
    ids = tokenizer.encode("a 龘 k").ids
    pieces = stream(tokenizer, ids)
    assert [piece for piece in pieces if piece] == ["a", " ", "龘", " ", "k"]
    assert pieces[-1] == ""


def test_what_never_becomes_a_character_is_shown_at_the_end() -> None:
    tokenizer = TOKENIZERS["byte-level"]
    ids = tokenizer.encode("ok 龘").ids[:-1]
    assert "".join(stream(tokenizer, ids)) == "ok \ufffd"
    assert stream(tokenizer, ids)[-1] == "\ufffd"


def test_special_tokens_are_left_out_or_kept_as_asked() -> None:
    tokenizer = TOKENIZERS["byte-level"]
    ids = [*tokenizer.encode("a").ids, tokenizer.token_to_id("<|im_end|>")]
    assert "".join(stream(tokenizer, ids)) == "a"
    shown = Detokenizer(tokenizer, special=True)
    assert [shown.feed(id_) for id_ in ids] == ["a", "<|im_end|>"]


def test_a_special_token_within_a_character_parts_nothing() -> None:
    tokenizer = TOKENIZERS["byte-level"]
    first, *rest = tokenizer.encode("龘").ids
    ids = [first, tokenizer.token_to_id("<|im_end|>"), *rest]
    assert stream(tokenizer, ids) == ["", "", *[""] * (len(rest) - 1), "龘", ""]
