"""Each change is deterministic, does what its name says, and leaves alone what it is not about."""

from random import Random

import pytest

from tael.evaluate.perturb import PERTURBATIONS, coverage, negated

ENGLISH = "The room was clean, and I love the quiet location. Staff could help!"
CHINESE = "房间很干净，服务也好，前台是新人，推荐给大家，下次还会来。"


def changed(kind: str, text: str, seed: int = 0) -> str:
    return PERTURBATIONS[kind](text, Random(seed))


@pytest.mark.parametrize("kind", PERTURBATIONS)
@pytest.mark.parametrize("text", [ENGLISH, CHINESE, "", " ", "a", "字", "\ud800", "😀😀", "…"])
def test_the_same_seed_gives_the_same_text_and_nothing_breaks(kind: str, text: str) -> None:
    assert changed(kind, text) == changed(kind, text)


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_every_kind_changes_a_text_that_it_is_about(kind: str) -> None:
    assert any(changed(kind, text) != text for text in (ENGLISH, CHINESE))


def test_a_typo_changes_one_word_and_keeps_its_first_letter() -> None:
    for seed in range(20):
        pairs = zip(ENGLISH.split(), changed("typos", ENGLISH, seed).split(), strict=True)
        different = [(a, b) for a, b in pairs if a != b]
        assert len(different) <= 1  # a swap of two equal letters changes nothing
        assert all(a[0] == b[0] and abs(len(a) - len(b)) <= 1 for a, b in different)
    assert changed("typos", CHINESE) == CHINESE


def test_a_homophone_is_another_character_and_latin_text_has_none() -> None:
    other = changed("homophones", CHINESE)
    assert len(other) == len(CHINESE)
    assert 1 <= sum(a != b for a, b in zip(CHINESE, other, strict=True)) <= 3
    assert changed("homophones", ENGLISH) == ENGLISH
    assert changed("homophones", "是" * 5) != "是" * 5


def test_nearly_all_chinese_characters_in_use_have_a_homophone_in_the_table() -> None:
    assert coverage([CHINESE]) == 1.0
    assert coverage(["龘"]) == 0.0
    assert coverage([ENGLISH]) == 0.0


def test_zero_width_spaces_do_not_show_and_look_alikes_keep_the_length() -> None:
    hidden = changed("zero-width spaces", ENGLISH)
    assert hidden != ENGLISH
    assert hidden.replace("\u200b", "") == ENGLISH
    alike = changed("look-alike letters", ENGLISH)
    assert len(alike) == len(ENGLISH)
    pairs = [(a, b) for a, b in zip(ENGLISH, alike, strict=True) if a != b]
    assert pairs
    assert all(a.casefold() != b.casefold() for a, b in pairs)  # another case is no look-alike
    assert not any(b.isascii() and b.isalpha() and b not in "lI" for _, b in pairs)


def test_width_is_swapped_and_swapping_twice_gives_the_text_back() -> None:
    assert changed("width of signs", "Ａ,b！") == "A，ｂ!"
    assert changed("width of signs", changed("width of signs", ENGLISH)) == ENGLISH


def test_punctuation_goes_and_words_stay_apart() -> None:
    assert changed("no punctuation", "good,bad - it's 好。坏") == "good bad it's 好 坏"
    assert changed("exclamation marks", CHINESE).endswith("！！！")
    assert changed("exclamation marks", "fine") == "fine!!!"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The room was clean.", "The room was not clean."),
        ("It is not good.", "It is not good."),
        ("I love it", "I do not love it"),
        ("房间很干净", "房间不干净"),
        ("前台是新人", "前台不是新人"),
        ("推荐大家来", "不推荐大家来"),
        ("这里有早餐", "这里没有早餐"),
        ("但是不推荐", "但是不推荐"),
        ("没有早餐", "没有早餐"),
        ("nothing to see", "nothing to see"),
    ],
)
def test_clauses_are_negated_once_and_what_is_negated_stays(text: str, expected: str) -> None:
    assert negated(text) == expected
