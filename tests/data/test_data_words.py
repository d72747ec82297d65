"""Each word segmented once: the ids are the tokenizer's own, whatever the text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tael.data import words
from tael.data.tokenizer import train_tokenizer
from tael.data.words import Encoder
from tael.recipe.schema import Tokenizer as Spec

TEXTS = [
    "The room was clean, and the staff — they were friendly: 3 of 5 stars!",
    "房间很干净，服务员也很热情。早餐一般（太咸了），下次还来！",
    "ＡＢＣ１２３ ﬁne naïve Ångström straße ½ ① ™ $5 <b>bold</b> a_b C++ 100%",
    "第3章 第 4 章\nnew line\n  ，indented\tand tabbed",
] * 20
# Every character that takes the short way, and some that do not.
PLAIN = [chr(n) for n in range(0x10000) if not 0xD800 <= n < 0xE000]
SHORT = [c for c in PLAIN if not words._STRANGE.match(c)]
STRANGE = "😀〇한\u200d\u0301\u00ad\ufeff\x1c\x85\u2028▁[MASK]"
SIGNS = [*SHORT[:300], *"服务，。 \n", *STRANGE]


@pytest.fixture(scope="module", params=["unigram", "bpe", "wordpiece"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(TEXTS, Spec(kind=request.param, vocab=1200))


def check(tokenizer: Tokenizer, texts: list[str], encoder: Encoder | None = None) -> None:
    encoder = encoder or Encoder(tokenizer)
    found = [np.frombuffer(ids, encoder.dtype).tolist() for ids in encoder(texts)]
    wanted = tokenizer.encode_batch(texts, add_special_tokens=False)
    for text, ids, own in zip(texts, found, wanted, strict=True):
        assert ids == own.ids, repr(text)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.text(st.sampled_from(SIGNS)), max_size=9))
def test_ids_are_the_tokenizers_own(tokenizer: Tokenizer, texts: list[str]) -> None:
    check(tokenizer, [*texts, *TEXTS[:4], ""])


@pytest.mark.slow
def test_every_character_of_the_short_way_is_cut_alike(tokenizer: Tokenizer) -> None:
    assert len(SHORT) > 20_000
    some = [c for n, c in enumerate(SHORT) if not "一" <= c <= "龥" or n % 20 == 0]
    frames = ("{0}", "a {0} b", "服{0}务", "x{0}{0}1 {0}9", " {0}\n {0}", "  {0}  \t{0}  ，")
    check(tokenizer, [frame.format(c) for c in some for frame in frames])


def test_forgetting_words_changes_no_ids(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "_KEPT", 5)
    encoder = Encoder(tokenizer)
    for text in TEXTS[:8]:
        check(tokenizer, [text, text[::-1]], encoder)
    assert len(encoder._recent) < 100


def test_a_tokenizer_of_other_make_goes_its_own_way(tokenizer: Tokenizer) -> None:
    assert Encoder(tokenizer)._mark is not None
    other = Tokenizer.from_str(tokenizer.to_str())  # reads "[MASK]" in a text as a special token
    assert Encoder(other)._mark is None
    check(other, [*TEXTS[:4], "a [MASK] b"])
