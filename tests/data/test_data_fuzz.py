"""Whatever bytes stand in a file: rows, or one DataError of one line; never a traceback or a hang.

The files are made from the pieces of which the formats are made, so that the search gets deep.
"""

import gzip
import io
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tael.data.read import FORMATS, read
from tael.errors import DataError

TEXT_FORMATS = [name for name in FORMATS if name not in (".parquet", ".arrow", ".feather")]
PIECES = [
    '"', "'", ",", ";", "\t", "\n", "\r", "\r\n", "\n\n", " ", "{", "}", "[", "]", ":", "\\", '\\"',
    "\\ud800", "\\u00e9", "\0", "\ufeff", "\u2028", "text", "label", "data", '"data"', '"text"',
    '"a": 1', "null", "NaN", "-", "1e999", "1.5", "好的，酒店", "é", "😀", "# c", "-DOCSTART-", "O",
    '{"text": "a", "label": 1}', '{"paragraphs": [{"context": "c", "qas": [', '"@"', "text,label\n",
]  # fmt: skip
CODECS = ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-32", "big5"]
many = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
content = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
options = st.fixed_dictionaries(
    {
        "on_error": st.sampled_from(["fail", "skip"]),
        "txt": st.sampled_from(["line", "block"]),
        "encoding": st.sampled_from(["auto", "auto", "auto", "utf-8", "gb18030", "utf-16"]),
    }
)


def try_to_read(path: Path, **options: Any) -> None:
    """Read the file to its end; a DataError in one line that names it is as good as rows."""
    start = time.process_time()
    counts: Counter[str] = Counter()
    found, problem = [], f"{path}: none"
    try:
        found = list(read([path], counts=counts, **options))
    except DataError as error:
        problem = str(error)
    assert time.process_time() - start < 2
    assert all(row["@"].startswith(path.name) for row in found)
    assert not found or counts["rows read"] == len(found)
    assert str(path) in problem
    assert len(problem.splitlines()) == 1
    assert len(problem) < 1200


@many
@given(st.sampled_from(TEXT_FORMATS), content, st.sampled_from(CODECS), st.binary(max_size=3),
       options)  # fmt: skip
def test_any_text_in_any_encoding(
    tmp_path: Path, ending: str, text: str, codec: str, noise: bytes, options: dict[str, str]
) -> None:
    path = tmp_path / f"f{ending}"
    raw = text.encode(codec, "replace")
    path.write_bytes(raw[: len(raw) // 2] + noise + raw[len(raw) // 2 :])
    try_to_read(path, **options)


@many
@given(st.sampled_from(list(FORMATS)), st.binary(max_size=200), options)
def test_any_bytes(tmp_path: Path, ending: str, raw: bytes, options: dict[str, str]) -> None:
    path = tmp_path / f"b{ending}"
    path.write_bytes(raw)
    try_to_read(path, **options)


def archive(raw: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("in/a.csv", raw)
        members.writestr("in/b.csv", raw)
    return file.getvalue()


PACKINGS = {
    "p.csv.gz": gzip.compress,
    "p.csv.zst": lambda raw: bytes(pa.compress(raw, "zstd", asbytes=True)),
    "p.zip": archive,
}


@many
@given(st.sampled_from(list(PACKINGS)), st.data())
def test_any_damage_to_packed_files_and_archives(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    raw = bytearray(PACKINGS[name](b"text,label\n" + b"some words here,1\n" * 20))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        if data.draw(st.booleans()):
            raw[at] = data.draw(st.integers(0, 255))
        else:
            del raw[at : at + data.draw(st.integers(1, 20))]
        raw = raw or bytearray(b"x")
    (tmp_path / name).write_bytes(raw)
    try_to_read(tmp_path / name)


@pytest.mark.parametrize(
    ("ending", "raw"),
    [
        (".csv", b'text\n"' + b"a\n" * 50_000),
        (".csv", b"text,label\na,1\n" + b'"a"b,1\n' * 60_000),
        (".json", b'["' * 30_000),
        (".json", b'[{"a": "\\' + b"\\" * 500_000),
        (".json", b'{"a":' * 30_000),
        (".jsonl", b'{"a":"' + b'[\\"' * 200_000),
        (".jsonl", b'{"a":' * 100_000),
        (".conll", b"a\tO\n" * 100_000),
        (".txt", b"\t" * 500_000),
        (".txt", b"\n" * 500_000),
    ],
)
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_what_would_take_the_square_of_its_length_takes_no_time(
    tmp_path: Path, ending: str, raw: bytes, on_error: str
) -> None:
    path = tmp_path / f"long{ending}"
    path.write_bytes(raw)
    try_to_read(path, on_error=on_error)
