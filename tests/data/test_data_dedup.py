"""Duplicates: what counts as one, that near ones are found and none is false."""

import random
from collections import Counter
from itertools import combinations

import pytest

from tael.data.dedup import dedup, leaks, near, normalised
from tael.errors import DataError
from tael.recipe.schema import Clean

HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 800)]


def record(text: str, label: str = "1", **others: str) -> dict[str, str]:
    return {"text": text, "label": label, **others}


def jaccard(one: str, other: str) -> float:
    """The definition, said again without a line of the code under test."""
    a, b = ({text[i : i + 3] for i in range(len(text) - 2)} for text in (one, other))
    return len(a & b) / len(a | b)


def planted(pairs: int, similarity: float, seed: int) -> list[tuple[str, str]]:
    """Pairs whose similarity is as low as it can be and still at least `similarity`."""
    generator = random.Random(seed)
    found = []
    for _ in range(pairs):
        text = "".join(generator.choices(HAN, k=generator.randint(40, 200)))
        other = text
        while True:
            at = generator.randrange(len(other))
            changed = other[:at] + generator.choice(HAN) + other[at + 1 :]
            if jaccard(text, changed) < similarity:
                break
            other = changed
        found.append((text, other))
    return found


@pytest.mark.parametrize("threshold", [0.55, 0.8, 0.95])
def test_nearly_all_planted_pairs_are_found_and_none_below_the_threshold(threshold: float) -> None:
    pairs = [pair for pair in planted(300, threshold, seed=1) if pair[0] != pair[1]]
    keys = [one for one, _ in pairs] + [other for _, other in pairs]
    found = near(keys, threshold)
    assert found[: len(pairs)] == [None] * len(pairs)  # the first of each pair stays
    hits = [match for match in found[len(pairs) :] if match]
    assert len(hits) >= 0.95 * len(pairs)
    for n, match in enumerate(found[len(pairs) :]):
        if match:
            assert match[0] == n
            assert match[1] == pytest.approx(jaccard(*pairs[n]), abs=1e-12)
            assert match[1] >= threshold


def test_pairs_just_below_the_threshold_stay() -> None:
    pairs = planted(200, 0.72, seed=2)
    below = [pair for pair in pairs if jaccard(*pair) < 0.8]
    assert len(below) > 100
    assert not any(near([text for pair in below for text in pair], 0.8))


def test_no_two_kept_texts_are_near_duplicates() -> None:
    generator = random.Random(3)
    base = "".join(generator.choices(HAN, k=60))
    keys = []
    for _ in range(150):  # a cloud of variants of one text, similar in all degrees
        text = list(base)
        for at in generator.sample(range(60), generator.randint(0, 9)):
            text[at] = generator.choice(HAN)
        keys.append("".join(text))
    found = near(keys, 0.8)
    kept = [key for key, match in zip(keys, found, strict=True) if match is None]
    missed = sum(jaccard(a, b) >= 0.8 for a, b in combinations(kept, 2))
    assert 1 < len(kept) < 150
    assert missed <= 1


def test_short_texts_are_compared_exactly() -> None:
    assert near(["服务不错房间很好啊", "服务不错房间很好呀"], 0.51) == [None, None]
    assert near(["很好很好很好很好很好", "很好很好很好很好很好很"], 0.51)[1] is not None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Very good!", "very GOOD", True),
        ("酒店不错，很好。", "酒店 不错 很好！！", True),
        ("ＡＢＣ１２３", "abc123", True),
        ("好👍", "好👎", False),
        ("！！！", "？？？", False),
        ("a b", "ab", True),
        ("3星", "4星", False),
    ],
)
def test_width_case_spaces_and_punctuation_do_not_make_a_text_another(
    one: str, other: str, same: bool
) -> None:
    assert (normalised(record(one)) == normalised(record(other))) is same


def test_a_pair_repeats_another_only_if_both_texts_do() -> None:
    a, b = record("x", text_pair="y"), record("x", text_pair="z")
    assert normalised(a) != normalised(b)
    assert normalised(record("xy", text_pair="z")) != normalised(record("x", text_pair="yz"))


def test_the_first_of_a_group_stays_and_the_rest_is_counted() -> None:
    counts: Counter[str] = Counter()
    records = [record("Same."), record("other"), record("same"), record("SAME!")]
    found = dedup(records, Clean(), counts)
    assert found.kept == records[:2]
    assert [(match.record, match.kept) for match in found.duplicates] == [
        (records[2], records[0]),
        (records[3], records[0]),
    ]
    assert counts["exact duplicates removed"] == 2
    assert dedup(records, Clean(dedup="off"), counts).kept == records


def test_contradicting_labels_are_dropped_kept_or_refused_as_the_recipe_says() -> None:
    records = [record("same", "1"), record("same", "0"), record("same", "1"), record("fine", "1")]
    counts: Counter[str] = Counter()
    dropped = dedup(records, Clean(conflicts="drop"), counts)
    assert [one["text"] for one in dropped.kept] == ["fine"]
    assert len(dropped.conflicts) == 1
    assert counts["rows dropped for contradicting labels"] == 3
    kept = dedup(records, Clean(conflicts="keep"), Counter())
    assert [(one["text"], one["label"]) for one in kept.kept] == [
        ("same", "1"),
        ("same", "0"),
        ("fine", "1"),
    ]
    with pytest.raises(DataError, match="1 texts stand with different labels"):
        dedup(records, Clean(conflicts="fail"), Counter())


def test_a_near_duplicate_with_another_label_is_counted() -> None:
    text = "这家酒店的位置非常方便房间也很干净服务员态度很好下次还会来住的推荐给大家"
    counts: Counter[str] = Counter()
    found = dedup([record(text, "1"), record(text + "啊", "0")], Clean(), counts)
    assert len(found.kept) == 1
    assert counts["near duplicates with another label"] == 1


def test_leaks_take_rows_out_of_train_only_for_what_is_held_out() -> None:
    (near_pair,) = planted(1, 0.8, seed=5)
    train = [record("only train"), record("Both!", "0"), record(near_pair[0]), record(near_pair[1])]
    kept, found = leaks(train, [record("both", "1"), record(near_pair[1])], Clean())
    assert kept == train[:1]
    assert [match.record for match in found] == train[1:]
    assert [match.exact for match in found] == [True, False, True]
    kept, found = leaks(train, [record(near_pair[1])], Clean(dedup="exact"))
    assert kept == train[:3]


def test_templates_do_not_make_it_quadratic_and_giving_up_is_counted() -> None:
    generator = random.Random(7)
    frame = "".join(HAN[:40])
    keys = [frame + "".join(generator.choices(HAN, k=18)) for _ in range(1500)]
    counts: Counter[str] = Counter()
    found = near(keys, 0.8, counts=counts)
    assert not any(match and match[1] < 0.8 for match in found)
    assert counts["near-duplicate comparisons given up: very many alike"] > 0
