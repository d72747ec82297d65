"""Cleaning: roles, repairs, and what is dropped or refused."""

from collections import Counter
from typing import Any

import ftfy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tael.data.clean import CHANGING, _ftfy, clean, repair
from tael.errors import DataError
from tael.recipe.schema import Clean, Columns


def cleaned(*records: dict[str, Any], columns: Columns | None = None, **options: Any) -> Any:
    counts: Counter[str] = Counter()
    rules = options.pop("rules", Clean())
    return list(clean(records, columns or Columns(), rules, counts, **options)), counts


def test_columns_become_roles_and_others_keep_their_names() -> None:
    record = {"review": "good", "stars": "5", "shop": "x", "@": "a.csv:2"}
    found, _ = cleaned(record, columns=Columns(text="review", label="stars"))
    assert found == [{"text": "good", "label": "5", "shop": "x", "@": "a.csv:2"}]


def test_a_column_in_the_way_of_a_role_is_renamed_and_counted() -> None:
    found, counts = cleaned({"body": "b", "text": "t", "label": "1"}, columns=Columns(text="body"))
    assert found == [{"text": "b", "label": "1", "text_column": "t"}]
    assert counts["columns text renamed text_column"] == 1


def test_a_missing_column_is_refused_with_the_columns_and_the_key() -> None:
    with pytest.raises(DataError, match=r"a\.csv:2: no column 'label'.*are text, x.*data\.columns"):
        cleaned({"text": "a", "x": "b", "@": "a.csv:2"})
    found, _ = cleaned({"text": "a"}, labelled=False)
    assert found == [{"text": "a"}]


@pytest.mark.parametrize(
    ("value", "label"),
    [("pos ", "pos"), (1, "1"), (0.5, "0.5"), (True, "true"), (None, ""), (["a", 2], "a|2")],
)
def test_a_label_is_a_string_however_the_file_wrote_it(value: Any, label: str) -> None:
    assert cleaned({"text": "a", "label": value})[0][0]["label"] == label


@pytest.mark.parametrize("label", [{"a": 1}, ["a|b"]])
def test_a_label_that_is_no_label_is_refused(label: Any) -> None:
    with pytest.raises(DataError, match="label"):
        cleaned({"text": "a", "label": label})


def test_a_text_that_is_no_string_is_refused_with_its_place() -> None:
    with pytest.raises(DataError, match=r"b\.jsonl:3: text must be a string, found int 5"):
        cleaned({"text": 5, "label": "1", "@": "b.jsonl:3"})


def test_empty_texts_are_dropped_and_counted_unless_every_row_needs_an_answer() -> None:
    records = [{"text": text, "label": "1"} for text in ("\u3000 ", "ab", "", "\x07")]
    found, counts = cleaned(*records)
    assert [record["text"] for record in found] == ["ab"]
    assert counts["dropped: text under 1 characters"] == 3
    assert len(cleaned(*records, keep_empty=True)[0]) == 4
    assert not cleaned(*records, rules=Clean(min_characters=3))[0]


def test_a_pair_needs_both_texts() -> None:
    columns = Columns(text_pair="other")
    found, counts = cleaned(
        {"text": "a", "other": " ", "label": "1"},
        {"text": "a", "other": "b ", "label": "1"},
        columns=columns,
    )
    assert found == [{"text": "a", "text_pair": "b", "label": "1"}]
    assert counts["dropped: text_pair under 1 characters"] == 1


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("schÃ¶n", "schön"),
        ("the â€œquotesâ€\x9d", "the “quotes”"),
        ("e\u0301", "é"),
        ("彼得&#183;林奇", "彼得·林奇"),
        ("a\x00b\x1fc\ufeffd", "abcd"),
        (" a \u3000 b\t\tc\r\n\r\nd ", "a b c\nd"),
        ("“你好”，世界！（ＡＢＣ）ﬁ", "“你好”，世界！（ＡＢＣ）ﬁ"),  # as the writer meant it
        ("👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦"),
    ],
)
def test_only_what_is_broken_is_mended(broken: str, mended: str) -> None:
    assert repair(broken, Clean()) == mended


def test_each_rule_can_be_switched_off() -> None:
    rules = {"unicode": False, "controls": False, "whitespace": False}
    text = " schÃ¶n\x07  &#183; "
    assert repair(text, Clean(**rules)) == text
    for rule in rules:
        assert repair(text, Clean(**(rules | {rule: True}))) != text


def test_repairs_are_counted_by_kind() -> None:
    counts: Counter[str] = Counter()
    repair(" schÃ¶n\x07 ", Clean(), counts)
    repair("fine", Clean(), counts)
    assert +counts == {
        "texts with Unicode repaired": 1,
        "texts with control characters removed": 1,
        "texts with white space squeezed": 1,
    }


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_repairing_twice_changes_nothing_more_without_unicode_repairs(text: str) -> None:
    rules = Clean(unicode=False)
    once = repair(text, rules)
    assert repair(once, rules) == once
    assert once == once.strip()


mojibake = st.builds(
    lambda text: text.encode().decode("latin-1"), st.text("好é€“”ö—ж", min_size=1, max_size=6)
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(mojibake, st.text(max_size=30)))
def test_texts_that_skip_the_slow_repair_would_not_have_changed(text: str) -> None:
    rules = Clean(controls=False, whitespace=False)
    text = text.encode("utf-8", "replace").decode()
    assert repair(text, rules) == ftfy.fix_text(text, _ftfy())


def test_a_text_that_is_too_long_is_dropped_and_counted_unless_every_row_needs_an_answer() -> None:
    records = [{"text": "a" * size, "label": "1"} for size in (3, 4, 5)]
    rules = Clean(max_characters=4)
    found, counts = cleaned(*records, rules=rules)
    assert [len(record["text"]) for record in found] == [3, 4]
    assert counts["dropped: text over 4 characters"] == 1
    assert len(cleaned(*records, rules=rules, keep_empty=True)[0]) == 3


@pytest.mark.parametrize(
    ("text", "fold", "nfkc"),
    [
        ("ＡＢｃ１２３，！\u3000x", "ABc123,! x", "ABc123,! x"),
        ("ｶﾞｯﾂ", "ガッツ", "ガッツ"),
        ("①㎡ﬁ²™。“好”", "①㎡ﬁ²™。“好”", "1m2fi2TM。“好”"),
        ("plain", "plain", "plain"),
    ],
)
def test_width_is_kept_folded_or_wholly_resolved(text: str, fold: str, nfkc: str) -> None:
    assert repair(text, Clean(whitespace=False)) == text
    assert repair(text, Clean(width="fold")) == fold
    assert repair(text, Clean(width="nfkc")) == nfkc
    counts: Counter[str] = Counter()
    repair(text, Clean(width="nfkc"), counts)
    assert counts["texts with width folded"] == (text != nfkc)


def test_html_is_removed_and_counted_only_on_request() -> None:
    counts: Counter[str] = Counter()
    text = "<p>fine&nbsp;room</p><p>a &lt; b</p>"
    assert repair(text, Clean()).startswith("<p>fine")
    assert repair(text, Clean(html=True), counts) == "fine room\na < b"
    assert counts["texts with HTML removed"] == 1


FRAGMENTS = (
    "<b> </p> <br/> <script> </script> <!-- --> &lt; &amp; &#60; &gt; & < > ; lt amp \" ' ＜ b "
    "13800138000 138 0013 8000 a@b.cn @ １ + 86 - 010 . 192.168.0.1 ( ) \u3000 \n 好 x"
)
fragments = st.sampled_from(FRAGMENTS.split(" "))


@settings(max_examples=500, deadline=None)
@given(st.lists(fragments, max_size=12).map("".join))
def test_repairing_twice_is_repairing_once_with_every_rule_but_unicode(text: str) -> None:
    rules = Clean(unicode=False, html=True, width="keep", personal="mask")
    once = repair(text, rules)
    assert repair(once, rules) == once


def test_a_served_text_is_repaired_by_every_rule_that_changes_texts() -> None:
    changing = {name for name, value in _all_on() if repair(_EVERYTHING, value) != _EVERYTHING}
    assert changing == CHANGING


_EVERYTHING = "<b>schÃ¶n</b>\x07  ＡＢ 13800138000"
_OFF = {"unicode": False, "controls": False, "whitespace": False}
_ON = {"html": True, "width": "fold", "personal": "mask", "unicode": True, "controls": True}


def _all_on() -> list[tuple[str, Clean]]:
    """Every rule of the schema, on alone (a rule that only decides what stays changes nothing)."""
    others = {"min_characters": 9, "max_characters": 2, "languages": ["fr"], "dedup": "exact"}
    others |= {"near_threshold": 0.9, "conflicts": "keep"}
    values = _ON | {"whitespace": True} | others
    assert values.keys() == Clean.model_fields.keys()
    return [(name, Clean.model_validate(_OFF | {name: value})) for name, value in values.items()]
