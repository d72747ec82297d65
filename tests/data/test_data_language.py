"""The language filter: what is clearly in another language goes, all else stays."""

import sys
from collections import Counter
from typing import Any

import pytest

from tael.data import language
from tael.data.clean import clean
from tael.data.language import is_in
from tael.errors import UsageError
from tael.recipe.schema import Clean, Columns

ZH = [
    "房间很干净，服务员也很热情。",
    "这个酒店的位置很好，就是早餐差一点",
    "本文研究了一种新的计算方法",
]
EN = ["The room was clean and the staff were friendly.", "a quiet, moving and honest film"]
OTHERS = [
    "Das Zimmer war sauber und das Personal sehr freundlich.",
    "La chambre était propre et le personnel très aimable.",
    "部屋はとてもきれいで、スタッフも親切でした。",
    "Номер был чистым, а персонал очень приветливым.",
    "객실은 깨끗했고 직원들은 친절했습니다.",
]
UNSURE = ["", "5/5!!!", "👍👍", "123 456"]


def kept(texts: list[str], languages: list[str]) -> list[str]:
    return [text for text in texts if is_in(text, languages)]


def test_the_wanted_languages_stay_and_others_go() -> None:
    assert kept(ZH + EN + OTHERS, ["zh", "en"]) == ZH + EN
    assert kept(ZH + EN + OTHERS, ["zh"]) == ZH
    assert kept(ZH + EN + OTHERS, ["en"]) == EN
    assert kept(ZH + EN + OTHERS, ["de", "fr"]) == OTHERS[:2]


def test_a_text_without_letters_is_in_any_language() -> None:
    assert kept(UNSURE, ["zh"]) == UNSURE


def test_what_goes_is_counted_and_a_prediction_answers_every_row() -> None:
    records = [{"text": text} for text in ZH + OTHERS]
    rules, counts = Clean(languages=("zh", "en")), Counter[str]()
    options: dict[str, Any] = {"labelled": False}
    assert len(list(clean(records, Columns(), rules, counts, **options))) == len(ZH)
    assert counts["dropped: text in another language than zh, en"] == len(OTHERS)
    assert len(list(clean(records, Columns(), rules, counts, keep_empty=True, **options))) == 8


def test_an_unknown_language_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no language 'qqq'; known: .*\ben\b.*\bzh\b"):
        is_in("text", ["qqq"])


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    language._identifier.cache_clear()
    with pytest.raises(UsageError, match=r"py3langid.*tael\[text\]"):
        is_in("text", ["en"])
