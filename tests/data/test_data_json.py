"""JSON files, SQuAD and conversations: what becomes a record, and what is refused where."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tael.data import reading
from tael.data.chat import conversations, messages
from tael.data.read import read
from tael.errors import DataError


def rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    return list(read([path], **options))


def write(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text("ab[{\"\\", max_size=3),
                                                                  inside, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.dictionaries(st.text("xy\"]}", min_size=1), values, max_size=3), min_size=1),
    st.sampled_from([None, 1]),
    st.integers(1, 40),
)  # fmt: skip
def test_json_files_are_read_back_however_they_are_cut_into_pieces(
    tmp_path: Path, objects: list[dict[str, Any]], indent: int | None, piece: int
) -> None:
    path = write(tmp_path / "h.json", json.dumps(objects, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_PIECE", piece)
        found = rows(path, encoding="utf-8")
    assert [{key: row[key] for key in row if key != "@"} for row in found] == objects


def test_a_record_of_a_json_file_has_the_line_on_which_it_begins(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[\n  {"text": "a"},\n\n {"text":\n"b"}, {"text": "c"}]\n')
    assert [row["@"] for row in rows(path)] == ["a.json:2", "a.json:4", "a.json:5"]


def test_objects_one_after_the_other_are_records_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '{"text": "a"}\n{"text": "b", "deep": {"data": [1]}}\n')
    assert [row["text"] for row in rows(path)] == ["a", "b"]


def test_under_data_stand_the_records_and_what_stands_beside_is_counted(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    path = write(tmp_path / "a.json", {"version": "1", "data": [{"text": "a"}], "by": {}})
    assert [row["text"] for row in rows(path, counts=counts)] == ["a"]
    assert counts["JSON keys beside data left out"] == 2


@pytest.mark.parametrize(
    ("content", "line", "reason", "kept"),
    [
        ('[{"a": 1},\n {"a": },\n {"a": 3}]', 2, "not valid JSON", 2),
        ('[{"a": 1},\n {"a": [2},\n {"a": 3}]', 2, "not valid JSON", 1),
        ('[{"a": 1},\n \u2028, {"a": 2}]', 2, "not valid JSON", 2),
        ('[{"a": 1}\n {"a": 2}]', 2, "expected a comma", 2),
        ('[{"a": 1},\n]', 2, "a comma stands before", 1),
        ('[\n{"a": 1},,{"a": 2}]', 2, "expected a value, found ','", 2),
        ('[{"a": 1},\n 7,\n {"a": NaN}]', 2, "found a number", 1),
        ('[{"a": 1},\n {"a": "never', 2, "not valid JSON", 1),
        ('[{"a": 1},\n {"a": 2}', 1, "never closed", 2),
        ('[{"a": 1},\n {"a": 1e400}, {"a": 2}]', 2, "out of range", 2),
        ('[{"a": 1},\n {"a": ' + "9" * 5000 + "}]", 2, "whole number of 5,000 digits", 1),
        ('[{"a": 1},\n {"a": ' + "[" * 200 + "]" * 200 + "}]", 2, "nested too deep", 1),
        ('[{"a": 1},\n {"@": 1}]', 2, "the key '@'", 1),
    ],
)
def test_a_broken_element_is_refused_by_line_or_costs_only_itself(
    tmp_path: Path, content: str, line: int, reason: str, kept: int
) -> None:
    path = write(tmp_path / "a.json", content)
    with pytest.raises(DataError, match=rf"a\.json:{line}: .*{reason}") as caught:
        rows(path)
    assert len(str(caught.value)) < 400
    counts: Counter[str] = Counter()
    assert len(rows(path, on_error="skip", counts=counts)) == kept
    assert sum(n for name, n in counts.items() if name.startswith("rows skipped")) >= 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"text": "a"} x', "expected an array of objects, found 'x'"),
        ('"text"', "expected an array of objects"),
        ('{"text" "a"}', "expected a colon"),
        ('{"text": "a"', "goes on with the end of the file"),
        ("[]", "no rows"),
        (" \n", "no rows"),
    ],
)
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_what_is_no_file_of_objects_is_refused_whatever_is_skipped(
    tmp_path: Path, content: str, reason: str, on_error: str
) -> None:
    with pytest.raises(DataError, match=reason):
        rows(write(tmp_path / "a.json", content), on_error=on_error)


def test_a_value_without_an_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tael.data.json_file.LONGEST", 1000)
    path = write(tmp_path / "a.json", '[{"a": 1},\n{"a": "' + "x" * 200_000)
    with pytest.raises(DataError, match=r"a\.json:2: value of over 1,000 characters"):
        rows(path)


CONTEXT = "两在北京。"
ASKED = {"id": "q1", "question": "在哪里？", "answers": [{"text": "北京", "answer_start": 2}]}


def squad(*questions: Any, context: Any = CONTEXT) -> dict[str, Any]:
    paragraphs = [{"context": context, "qas": list(questions)}]
    return {"version": "2", "data": [{"title": "两", "paragraphs": paragraphs}]}


def test_squad_becomes_a_record_a_question(tmp_path: Path) -> None:
    none = {"id": "q2", "question": "谁？", "answers": [], "is_impossible": True}
    unknown = {"id": "q3", "question": "何？", "answers": [{"text": "无", "answer_start": -1}]}
    found = rows(write(tmp_path / "a.json", squad(ASKED, none, unknown)))
    assert found[0] == {
        "id": "q1", "title": "两", "context": CONTEXT, "question": "在哪里？",
        "answers": [{"text": "北京", "start": 2}], "@": "a.json:1",
    }  # fmt: skip
    assert (found[1]["answers"], found[1]["is_impossible"]) == ([], True)
    assert found[2]["answers"] == [{"text": "无", "start": None}]


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"id": "x"}, "an object with a question"),
        ("x", "an object with a question"),
        (ASKED | {"answers": {"text": []}}, "answers must be a list"),
        (ASKED | {"answers": [{"answer_start": 1}]}, "an answer has no text"),
        (ASKED | {"answers": [{"text": "北京"}]}, "no answer_start"),
        (ASKED | {"answers": [{"text": "北京", "answer_start": 1}]}, "does not stand at"),
    ],
)
def test_a_question_that_does_not_fit_its_paragraph_is_named(
    tmp_path: Path, question: Any, reason: str
) -> None:
    path = write(tmp_path / "a.json", squad(ASKED, question))
    with pytest.raises(DataError, match=rf"a\.json:1: paragraphs\[0\]\.qas\[1\]: .*{reason}"):
        rows(path)
    counts: Counter[str] = Counter()
    assert len(rows(path, on_error="skip", counts=counts)) == 1
    assert counts["rows skipped: not a question"] == 1


USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "hello"}
SYSTEM = {"role": "system", "content": "be kind"}


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [SYSTEM, USER, ANSWER]},
        {"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "hello"}]}],
         "system": "be kind"},
        {"conversations": [{"from": "system", "value": "be kind"}, {"from": "human", "value": "hi"},
                           {"from": "gpt", "value": "hello"}]},
        {"conversations": [USER, ANSWER], "system": "be kind"},
        {"instruction": "hi", "input": "", "output": "hello", "system": "be kind"},
    ],
)  # fmt: skip
def test_every_shape_of_a_conversation_becomes_the_same_messages(record: dict[str, Any]) -> None:
    found = messages(record | {"score": 1, "@": "a.jsonl:1"})
    assert found == {"messages": [SYSTEM, USER, ANSWER], "score": 1, "@": "a.jsonl:1"}


def test_alpaca_has_a_history_an_input_and_perhaps_no_answer_yet() -> None:
    record = {"instruction": "do", "input": "this", "history": [["hi", "hello"]], "output": None}
    assert messages(record)["messages"] == [USER, ANSWER, {"role": "user", "content": "do\nthis"}]


def test_preferences_and_calls_of_tools_are_messages_too() -> None:
    call = {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'}
    turns = [{"from": "human", "value": "hi"}, call, {"from": "observation", "value": "1"}]
    record = {"conversations": turns, "chosen": {"from": "gpt", "value": "hello"}, "rejected": "no"}
    found = messages(record)
    asked = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    assert found["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [asked]},
        {"role": "tool", "content": "1"},
    ]
    assert found["chosen"] == [ANSWER]
    assert found["rejected"] == [{"role": "assistant", "content": "no"}]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "hi"}, "no conversation: expected a column messages"),
        ({"messages": []}, "an empty conversation"),
        ({"messages": "hi"}, "must be a list of messages"),
        ({"messages": ["hi"]}, "must be an object"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "unknown role 'king'"),
        ({"messages": [{"role": "user"}]}, "has no text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
        ({"conversations": [{"from": "function_call", "value": "f(1)"}]}, "JSON with a name"),
        ({"instruction": 3}, "must be text"),
        ({"instruction": "hi", "history": ["x"]}, "history must be"),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_place_or_counted(
    record: dict[str, Any], reason: str
) -> None:
    record = record | {"@": "a.jsonl:7"}
    with pytest.raises(DataError, match=rf"a\.jsonl:7: .*{reason}"):
        list(conversations([record], "fail", Counter()))
    counts: Counter[str] = Counter()
    good = {"messages": [USER]}
    assert list(conversations([record, good], "skip", counts)) == [good]
    assert counts["rows skipped: no conversation"] == 1
