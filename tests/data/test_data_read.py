"""Reading: columns, true line numbers, encodings, and what stops at which line."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tael.data.encoding import locate
from tael.data.read import read
from tael.errors import DataError

CHINESE = "我住过的酒店里，这个是最好的。房间很大，服务也不错，就是价格有点贵，下次还会来的。\n" * 8


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path: Path, **options: object) -> list[dict[str, object]]:
    return list(read([path], **options))  # type: ignore[arg-type]


def test_csv_rows_keep_their_columns_and_the_line_on_which_they_start(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one\ntwo, ""three""",1\n\nfour,0\n')
    assert rows(path) == [
        {"text": 'one\ntwo, "three"', "label": "1", "@": "a.csv:2"},
        {"text": "four", "label": "0", "@": "a.csv:5"},
    ]


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ";"), ("tsv", "\t"), ("csv", "\t")])
def test_the_delimiter_is_that_of_the_header(tmp_path: Path, suffix: str, delimiter: str) -> None:
    path = write(tmp_path / f"a.{suffix}", f"text{delimiter}label\na, b{delimiter}1\n")
    assert rows(path)[0]["text"] == "a, b"


def test_only_line_feeds_and_carriage_returns_end_a_row(tmp_path: Path) -> None:
    text = "one\u2028two\u2029three\x85four\x0bfive\x0c"
    path = write(tmp_path / "a.txt", f"{text}\r\nsix\rseven\n")
    assert [row["text"] for row in rows(path)] == [text, "six", "seven"]
    assert [row["@"] for row in rows(path)] == ["a.txt:1", "a.txt:2", "a.txt:3"]


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8))
def test_what_the_csv_writer_wrote_is_read_back(
    tmp_path: Path, pairs: list[tuple[str, str]]
) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"'

    lines = [f"{quoted(one)},{quoted(two)}\n" for one, two in pairs]
    path = write(tmp_path / "h.csv", "a,b\n" + "".join(lines))
    assert [(row["a"], row["b"]) for row in rows(path, encoding="utf-8")] == pairs


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(cells, min_size=1, max_size=8))
def test_what_json_wrote_is_read_back_in_any_escaping(tmp_path: Path, texts: list[str]) -> None:
    for ascii_only in (True, False):
        lines = (json.dumps({"text": t}, ensure_ascii=ascii_only) + "\n" for t in texts)
        path = write(tmp_path / "h.jsonl", "".join(lines))
        assert [row["text"] for row in rows(path, encoding="utf-8")] == texts


def test_a_ragged_row_is_named_with_the_others_that_follow(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b\n1,2\n3\n4,5\n6,7,8\n")
    with pytest.raises(DataError, match=r"a\.csv:3: .*2 fields.*line 3 \(1\), line 5 \(3\)"):
        rows(path)
    counts: Counter[str] = Counter()
    kept = rows(path, on_error="skip", counts=counts)
    assert [row["@"] for row in kept] == ["a.csv:2", "a.csv:4"]
    assert counts["rows skipped: wrong number of fields"] == 2


def test_a_quote_that_is_never_closed_costs_its_own_line_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'a,b\n1,2\n"3,4\n5,6\n7,8\n')
    with pytest.raises(DataError, match=r"a\.csv:3: the quote .* never closed"):
        rows(path)
    counts: Counter[str] = Counter()
    kept = rows(path, on_error="skip", counts=counts)
    assert [row["@"] for row in kept] == ["a.csv:2", "a.csv:4", "a.csv:5"]
    assert counts["rows skipped: quotes"] == 1


def test_a_quote_inside_a_quoted_field_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:3: a quote stands inside"):
        rows(write(tmp_path / "a.csv", 'a,b\n1,2\n"3"x,4\n'))


@pytest.mark.parametrize("header", ["text,label,text", "text, text ,label", '"a\nb",text,text'])
def test_a_column_name_that_stands_twice_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataError, match="duplicate column 'text'"):
        rows(write(tmp_path / "a.csv", header + "\n1,2,3\n"))
    with pytest.raises(DataError, match=r"\A.*\Z"):  # one line, whatever the names hold
        rows(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": ', "not valid JSON at column"),
        ('{"text": NaN}', "NaN is not a JSON number"),
        ('{"text": 1e400}', "out of range"),
        ('{"n": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ("[1, 2]", "found an array"),
        ("null", "found null"),
        ('{"@": 1}', "found the key '@'"),
    ],
)
def test_a_bad_json_line_is_refused_by_number_or_skipped(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = write(tmp_path / "a.jsonl", f'{{"text": "a"}}\n{line}\n{{"text": "b"}}\n')
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{reason}") as caught:
        rows(path)
    assert len(str(caught.value)) < 400
    counts: Counter[str] = Counter()
    assert len(rows(path, on_error="skip", counts=counts)) == 2
    assert sum(counts[name] for name in counts if name.startswith("rows skipped")) == 1


def test_json_repairs_are_counted(tmp_path: Path) -> None:
    line = '{"text": "a", "text": "b\\ud83d", "deep": {"list": ["\\udc00", "\\ud83d\\ude00"]}}\n'
    counts: Counter[str] = Counter()
    (row,) = rows(write(tmp_path / "a.jsonl", line), counts=counts)
    assert row["text"] == "b\ufffd"
    assert row["deep"] == {"list": ["\ufffd", "😀"]}
    assert counts["duplicate JSON keys, the last kept"] == 1
    assert counts["lone surrogates replaced by U+FFFD"] == 1


def test_txt_is_labelled_only_where_every_line_is_and_labels_are_few(tmp_path: Path) -> None:
    labelled = "".join(f"{('pos', 'neg')[n % 2]}\ttext {n}\tmore\n" for n in range(20))
    first = rows(write(tmp_path / "a.txt", labelled))[0]
    assert first == {"label": "pos", "text": "text 0\tmore", "@": "a.txt:1"}
    titles = "".join(f"title {n}\ttext {n}\n" for n in range(20))
    assert rows(write(tmp_path / "b.txt", titles))[0]["text"] == "title 0\ttext 0"
    mixed = rows(write(tmp_path / "c.txt", labelled + "no tab here\n"))
    assert all("label" not in row for row in mixed)


def test_a_line_without_a_tab_far_down_a_labelled_txt_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "pos\ttext\n" * 1500 + "no tab\n")
    with pytest.raises(DataError, match=r"a\.txt:1501: expected label<TAB>text"):
        rows(path)


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("gb18030", "gb18030"),
        ("gbk", "gb18030"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
    ],
)
def test_an_encoding_is_found_and_said(tmp_path: Path, codec: str, said: str | None) -> None:
    counts: Counter[str] = Counter()
    found = rows(write(tmp_path / "a.txt", CHINESE.encode(codec)), counts=counts)
    assert found[0]["text"] == CHINESE.split("\n")[0]
    assert [name for name in counts if "read as" in name] == (
        [f"files read as {said}"] if said else []
    )


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("latin-1", "café très bon, mauvais goût à côté\n"),
        ("latin-1", "déjà vu théâtre préféré\n"),
        ("cp1251", "Очень хороший отель, всем советую остановиться здесь\n" * 10),
        ("big5", "這家酒店的房間很大服務也不錯就是價格有點貴\n" * 10),
        ("euc_kr", "호텔 방이 아주 깨끗하고 직원들이 친절해서 좋았습니다\n" * 20),
        ("euc_jp", "このホテルの部屋はとても広くてサービスもよかったです\n" * 10),
        ("shift_jis", "このホテルの部屋はとても広くてサービスもよかったです\n" * 10),
    ],
)
def test_other_encodings_are_refused_and_never_read_as_chinese(
    tmp_path: Path, codec: str, text: str
) -> None:
    path = write(tmp_path / "a.txt", text.encode(codec))
    with pytest.raises(DataError, match=r"byte \d+ \(line 1\).*data\.encoding="):
        rows(path)
    assert rows(path, encoding=codec)[0]["text"] == text.split("\n")[0]


def test_a_wrong_byte_far_into_a_file_is_named_by_offset_and_line(tmp_path: Path) -> None:
    good = ("好" * 50 + "\n").encode() * 10_000  # 1.5 MB: beyond what detection looks at
    path = write(tmp_path / "a.txt", good + b"bad \xff here\n")
    with pytest.raises(DataError, match=rf"byte {len(good) + 4} \(line 10001\) is not utf-8"):
        rows(path)
    counts: Counter[str] = Counter()
    assert rows(path, on_error="skip", counts=counts)[-1]["text"] == "bad \ufffd here"
    assert counts["lines with U+FFFD for undecodable or unknown characters"] == 1


def test_locate_finds_a_character_cut_by_the_block_or_by_the_end(tmp_path: Path) -> None:
    block = 1 << 20
    path = write(tmp_path / "a.txt", b"x" * (block - 1) + "好".encode() + b"\xff")
    with path.open("rb") as file:
        assert locate(file, "utf-8") == (block + 2, 1)
    with write(tmp_path / "b.txt", "x\n好".encode()).open("rb") as file:
        assert locate(file, "utf-8") == (-1, 0)
    with write(tmp_path / "c.txt", b"x\n" + "好".encode()[:2]).open("rb") as file:
        assert locate(file, "utf-8") == (2, 2)


def test_an_unknown_encoding_format_or_file_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "x\n")
    for name in ("klingon", "rot13"):
        with pytest.raises(DataError, match=f"unknown encoding '{name}'"):
            rows(path, encoding=name)
    with pytest.raises(DataError, match=r"unknown format \.xls"):
        rows(tmp_path / "a.xls")
    with pytest.raises(DataError, match=r"missing\.csv: cannot be read"):
        rows(tmp_path / "missing.csv")


def test_limit_stops_before_what_comes_after(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"good\n" * 100 + b'"never closed\n'))
    assert len(rows(path, limit=50)) == 50
    with pytest.raises(DataError, match=r"a\.csv\.gz:102"):
        rows(path)


def test_several_files_are_read_in_order_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.txt", "a\n"), write(tmp_path / "2.txt", "b\n")
    assert [row["@"] for row in read([two, one])] == ["2.txt:1", "1.txt:1"]
    with pytest.raises(DataError, match=r"3\.txt: no rows"):
        list(read([one, write(tmp_path / "3.txt", "\n \n")]))


@pytest.mark.parametrize("rows_each", [1, 15])
def test_the_label_of_a_txt_may_stand_last_and_its_side_is_counted(
    tmp_path: Path, rows_each: int
) -> None:
    lines = "".join(f"text\t{n}\tpos\nother {n}\tneg\n" for n in range(rows_each))
    counts: Counter[str] = Counter()
    first, second = rows(write(tmp_path / "a.txt", lines), counts=counts)[:2]
    assert first == {"label": "pos", "text": "text\t0", "@": "a.txt:1"}
    assert (second["label"], second["text"]) == ("neg", "other 0")
    assert counts["files of text<TAB>label lines"] == 1
    same = "".join(f"pos\ttext {n}\tsame\nneg\tother\tsame\n" for n in range(20))
    assert rows(write(tmp_path / "b.txt", same))[0]["label"] == "pos"


def test_a_block_of_lines_is_a_record_where_the_recipe_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\n \none\ttwo\r\nthree\n\n\t\n\nfour")
    assert rows(path, txt="block") == [
        {"text": "one\ttwo\nthree", "@": "a.txt:3"},
        {"text": "four", "@": "a.txt:8"},
    ]
    assert len(rows(path)) == 3


def test_conll_sentences_are_tokens_and_tags_whatever_stands_between(tmp_path: Path) -> None:
    tabs = write(tmp_path / "a.conll", "# id = 1\n#two\tO\n两\tB-X\n \t\n\n10 000\tO\n")
    assert rows(tabs) == [
        {"tokens": ["#two", "两"], "tags": ["O", "B-X"], "@": "a.conll:2"},
        {"tokens": ["10 000"], "tags": ["O"], "@": "a.conll:6"},
    ]
    spaces = write(tmp_path / "b.conll", "-DOCSTART- -X- O\n\nEU NNP B-ORG\nbids VBZ O\n\n")
    counts: Counter[str] = Counter()
    assert [row["tags"] for row in rows(spaces, counts=counts)] == [["B-ORG", "O"]]
    assert counts["comment lines"] == counts["columns between token and tag left out"] == 1


def test_a_sentence_with_a_broken_line_is_refused_or_skipped_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "a\tO\nb\tO\n\nc\tO\nd\ne\tO\n\nf\tO\n")
    with pytest.raises(DataError, match=r"a\.conll:5: expected 2 columns, found 1"):
        rows(path)
    counts: Counter[str] = Counter()
    kept = rows(path, on_error="skip", counts=counts)
    assert [row["tokens"] for row in kept] == [["a", "b"], ["f"]]
    assert counts["rows skipped: sentences with a wrong number of columns"] == 1
    with pytest.raises(DataError, match=r"b\.conll:1: expected a token and a tag"):
        rows(write(tmp_path / "b.conll", "a\nb\n"))


def test_utf_16_named_for_a_file_without_its_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as utf-16"):
        rows(write(tmp_path / "a.txt", "some text\n"), encoding="utf-16")


def test_reading_imports_nothing_heavy() -> None:
    code = (
        "import sys, tael.data.read, tael.data.frame, tael.data.chat\n"
        "print([m for m in ('torch', 'sklearn', 'scipy', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
