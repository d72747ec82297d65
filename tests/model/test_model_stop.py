"""Text grows in whole characters, adds up to the whole, and ends just before a stop string."""

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tael.model.stop import Growing

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level(*words: str) -> Tokenizer:
    """A token for every byte and for some words."""
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spelled = ["".join(part for part, _ in cut.pre_tokenize_str(word)) for word in words]
    vocab = {piece: n for n, piece in enumerate([*BYTES, *spelled])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="!"))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


TOKENIZER = byte_level("stop", " st", "op!", "房间", "ab", "aba")


def spell(text: str) -> list[int]:
    """The ids of a text's bytes, one by one."""
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelled = "".join(part for part, _ in cut.pre_tokenize_str(text))
    return [BYTES.index(character) for character in spelled]


def words(*tokens: str) -> list[int]:
    ids = [TOKENIZER.token_to_id(token) for token in tokens]
    assert None not in ids
    return ids


def grow(ids: list[int], *stop: str) -> list[str]:
    growing = Growing(TOKENIZER, (), stop)
    pieces = [growing.feed(id_) for id_ in ids]
    return [*pieces, growing.end()]


@profile(max_examples=100)
@given(st.lists(st.integers(0, TOKENIZER.get_vocab_size() - 1), max_size=20))
def test_pieces_add_up_to_the_text_of_any_ids(ids: list[int]) -> None:
    assert "".join(grow(ids)) == TOKENIZER.decode(ids)


def test_half_a_character_is_held_back() -> None:
    pieces = grow(spell("a房😀b"))
    assert pieces == ["a", "", "", "房", "", "", "", "😀", "b", ""]


TEXTS = st.text("ab房 ", max_size=14)


@profile(max_examples=200)
@given(TEXTS, st.lists(st.text("ab房 ", min_size=1, max_size=4), min_size=1, max_size=3))
def test_a_text_ends_before_the_stop_string_that_is_complete_first(
    text: str, stops: list[str]
) -> None:
    growing = Growing(TOKENIZER, (), stops)
    found = "".join([growing.feed(id_) for id_ in spell(text)] + [growing.end()])
    ends = [n for n in range(1, len(text) + 1) if any(text[:n].endswith(stop) for stop in stops)]
    assert growing.stopped == bool(ends)
    if ends:
        longest = max(len(stop) for stop in stops if text[: ends[0]].endswith(stop))
        assert found == text[: ends[0] - longest]
    else:
        assert found == text


@pytest.mark.parametrize(
    "ids",
    [spell("x stop! y"), words("x", "Ġst", "op!", "Ġ", "y"), words("x", "Ġ", "stop", "!", "y")],
)
def test_how_a_stop_string_is_cut_into_tokens_makes_no_difference(ids: list[int]) -> None:
    pieces = grow(ids, "stop")
    assert "".join(pieces) == "x "


def test_what_may_become_a_stop_string_is_shown_when_it_cannot() -> None:
    assert grow(spell("abac"), "abab") == ["", "", "", "abac", ""]
    assert grow(spell("aba"), "abab") == ["", "", "", "aba"]


def test_a_text_goes_on_behind_its_prompt() -> None:
    """SentencePiece drops the space before a text's first word, not before a later one."""
    vocab = {"▁one": 0, "▁two": 1, "<unk>": 2}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    assert Growing(tokenizer).feed(1) == "two"
    assert Growing(tokenizer, [0]).feed(1) == " two"
