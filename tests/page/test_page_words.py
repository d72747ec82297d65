"""Every sentence of a page has its Chinese, with the same blanks."""

import ast
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tael.page.words import words

PACKAGE = Path(__file__).parents[2] / "tael"
ROOMS = ("evaluate", "price", "data", "train", "tune")
# Where a room's words are said: its own files, and those that gather what it is told.
# A task names its own metrics and baselines.
ELSEWHERE = {"evaluate": [PACKAGE / "road" / "report.py", *(PACKAGE / "task").glob("*.py")]}


def said(room: str) -> set[str]:
    """Return every sentence that the code of a room says: `say("…")`."""
    found = set()
    for path in [*(PACKAGE / room).glob("*.py"), *ELSEWHERE.get(room, [])]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                first = node.args[0] if node.args else None
                if node.func.id in ("say", "words") and isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found - set(ROOMS)


def table(room: str) -> dict[str, str]:
    text = (PACKAGE / room / "zh.yaml").read_text("utf-8")
    read: dict[str, str] = YAML(typ="safe", pure=True).load(text)
    return read


def blanks(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("room", ROOMS)
def test_every_sentence_has_its_chinese(room: str) -> None:
    assert len(said(room)) > 5
    assert said(room) - table(room).keys() == set()


@pytest.mark.parametrize("room", ROOMS)
def test_both_languages_have_the_same_blanks(room: str) -> None:
    assert {key for key, text in table(room).items() if blanks(key) != blanks(text)} == set()


@pytest.mark.parametrize("room", ROOMS)
def test_the_table_holds_nothing_that_no_code_says(room: str) -> None:
    """What is looked up by a name (a metric, a verdict) stands in the room as a string."""
    strings = {
        str(node.value)
        for path in [*(PACKAGE / room).glob("*.py"), *ELSEWHERE.get(room, [])]
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
    }
    # The keys of costs.json, as a page writes them.
    costs = {
        "train tokens", "train steps", "pretrain tokens", "pretrain steps", "texts left out",
        "train bad steps", "pretrain bad steps", "labels never answered",
    }  # fmt: skip
    unsaid = table(room).keys() - strings - costs
    assert {key for key in unsaid if not any(key in string for string in strings)} == set()


def test_a_sentence_is_filled_in_its_language_and_an_unknown_one_stays() -> None:
    english, chinese = words("evaluate", "en"), words("evaluate", "zh")
    assert english("{points} points", points="1.2") == "1.2 points"
    assert chinese("{points} points", points="1.2") == "1.2 个百分点"
    assert chinese("{x} never translated", x=1) == "1 never translated"
    assert (english.percent(0.5), chinese.percent(0.5)) == ("50.0 %", "50.0%")
    assert english("{not filled} without values") == "{not filled} without values"
