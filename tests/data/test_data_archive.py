"""Packed files, archives, folders and patterns: what is found, and what is refused unread."""

import gzip
import json
import stat
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tael.data import source
from tael.data.read import FORMATS, input_files, read
from tael.errors import DataError

TABLE = b"text,label\na,1\nb,0\n"


def rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    return list(read([path], **options))


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TABLE)


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
def test_a_packed_file_has_the_rows_and_lines_of_the_file_in_it(
    tmp_path: Path, ending: str, pack: Any
) -> None:
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(pack(TABLE) + pack(b"c,1\n"))  # two frames, as `cat` makes them
    assert [(row["text"], row["@"]) for row in rows(path)] == [
        ("a", f"a.csv{ending}:2"),
        ("b", f"a.csv{ending}:3"),
        ("c", f"a.csv{ending}:4"),
    ]
    inside = packed(tmp_path / "a.zip", {f"in/a.csv{ending}": pack(TABLE)})
    assert rows(inside)[1]["@"] == f"a.zip/in/a.csv{ending}:3"
    path.write_bytes(pack(TABLE * 100)[:-3])
    with pytest.raises(DataError, match=r"a\.csv.*damaged"):
        rows(path)
    path.write_bytes(TABLE)
    with pytest.raises(DataError, match=r"not a (gzip|zstd) file"):
        rows(path)


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
def test_a_packed_file_that_grows_beyond_reason_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, pack: Any
) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(pack(b"the same line\n" * 200_000))
    assert len(rows(path)) == 200_000  # small files may pack as well as they like
    monkeypatch.setattr(source, "_SMALL", 1 << 20)
    with pytest.raises(DataError, match=r"unpack to over .* more than 200 times"):
        rows(path)


def test_the_members_of_an_archive_are_read_by_name_without_what_systems_leave(
    tmp_path: Path,
) -> None:
    left = {"__MACOSX/._a.csv": b"x", "in/.DS_Store": b"x"}
    path = packed(tmp_path / "a.zip", {"in/b.csv": TABLE, "in/a.csv": TABLE, **left})
    counts: Counter[str] = Counter()
    found = [row["@"] for row in rows(path, counts=counts)]
    assert found == [f"a.zip/in/{name}.csv:{line}" for name in "ab" for line in (2, 3)]
    assert counts["hidden files left out"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]  # nothing was unpacked


@pytest.mark.parametrize(
    "name", ["../a.csv", "in/../../a.csv", "/a.csv", "..\\a.csv", "\\a.csv", "C:\\a.csv"]
)
def test_an_entry_that_leaves_the_folder_refuses_the_archive(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"a\.zip: the entry .* leaves the folder"):
        rows(packed(tmp_path / "a.zip", {"ok.csv": TABLE, name: TABLE}))


def test_links_twins_other_methods_and_locks_refuse_the_archive(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with zipfile.ZipFile(tmp_path / "twins.zip", "w") as archive:
        archive.writestr("a.csv", TABLE)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.csv", TABLE)
    packed(tmp_path / "bzip2.zip", {"a.csv": TABLE}, zipfile.ZIP_BZIP2)
    locked = packed(tmp_path / "locked.zip", {"a.csv": TABLE})
    content = bytearray(locked.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # the flag that says encrypted
    locked.write_bytes(content)
    packed(tmp_path / "line.zip", {"a\nb.csv": TABLE})
    reasons = {"link": "is a link", "twins": "stands twice", "bzip2": "method 12",
               "locked": "is encrypted", "line": "control characters"}  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(DataError, match=rf"{name}\.zip: .*{reason}"):
            rows(tmp_path / f"{name}.zip")


def test_archives_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "a.zip", {"a.csv": TABLE, "b.csv": TABLE})
    monkeypatch.setattr("tael.data.archive._TOTAL", 20)
    with pytest.raises(DataError, match="unpacks to 38 bytes"):
        rows(path)
    monkeypatch.setattr("tael.data.archive._MEMBERS", 1)
    with pytest.raises(DataError, match="holds 2 files, more than 1"):
        rows(path)


def test_a_member_whose_two_headers_differ_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"names.csv": TABLE})
    content = path.read_bytes().replace(b"names.csv", b"n\xadmes.csv", 1)
    path.write_bytes(content[:6] + b"\x00\x08" + content[8:])  # says that its name is UTF-8
    with pytest.raises(DataError, match=r"a\.zip/names\.csv: cannot be unpacked"):
        rows(path)


def test_a_claim_about_the_size_is_not_believed(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a.csv": b"text\n" + b"line\n" * 1000})
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2") + 24  # unpacked size in the central directory
    content[at : at + 4] = (500).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip"):
        rows(path)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"a.csv": TABLE, "b.txt": b"x"}, "mixed formats .csv, .txt"),
        ({"a.xls": TABLE}, r"a\.zip/a\.xls: unknown format \.xls"),
        ({"a.zip": TABLE}, r"unknown format \.zip"),
        ({}, "no files in this archive"),
        ({"a.csv": b""}, r"a\.zip/a\.csv: no rows"),
        ({"a.csv": b"text\n\xff\xfe\xfd\n"}, r"a\.zip/a\.csv: byte 5 \(line 2\)"),
        ({"a.csv": b"a,b\n1\n"}, r"a\.zip/a\.csv:2: expected 2 fields"),
    ],
)
def test_what_is_wrong_in_an_archive_is_named_with_the_member(
    tmp_path: Path, members: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        rows(packed(tmp_path / "a.zip", members))


def test_a_folder_is_its_files_by_path_and_places_tell_them_apart(tmp_path: Path) -> None:
    put(tmp_path / "set", "b/x.csv", "a/x.csv", "c.csv.gz", ".hidden.csv", "_SUCCESS")
    (tmp_path / "set" / "c.csv.gz").write_bytes(gzip.compress(TABLE))
    counts: Counter[str] = Counter()
    places = [row["@"] for row in rows(tmp_path / "set", counts=counts)]
    assert places[::2] == ["set/a/x.csv:2", "set/b/x.csv:2", "set/c.csv.gz:2"]
    assert counts["hidden files left out"] == 2


def test_a_pattern_is_what_it_matches_each_file_by_its_own_ending(tmp_path: Path) -> None:
    put(tmp_path, "10.csv", "2.csv", "deep/er/3.csv")
    (tmp_path / "1.txt").write_text("x\n", encoding="utf-8")
    assert [path.name for path in input_files([tmp_path / "*.*"])] == ["1.txt", "10.csv", "2.csv"]
    assert rows(tmp_path / "**" / "3.csv")[0]["@"] == "deep/er/3.csv:2"
    counts: Counter[str] = Counter()
    twice = list(read([tmp_path / "2.csv", tmp_path / "?.csv"], counts=counts))
    assert (len(twice), counts["files named twice, read once"]) == (2, 1)
    put(tmp_path, "[x].csv")
    assert input_files([tmp_path / "[x].csv"]) == [tmp_path / "[x].csv"]
    with pytest.raises(DataError, match=r"none\*\.csv: no file matches this pattern"):
        rows(tmp_path / "none*.csv")


def test_unknown_mixed_and_empty_folders_are_refused_with_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "mixed", "a.csv", "b.jsonl")
    put(tmp_path / "odd", "a.csv", *(f"{n}.xls" for n in range(9)), "README")
    for name, reason in {
        "empty": "no files in this folder",
        "mixed": r"mixed formats \.csv, \.jsonl",
        "odd": r"0\.xls, 1\.xls, 2\.xls, 3\.xls, 4\.xls and 5 more: unknown format",
    }.items():
        with pytest.raises(DataError, match=rf"{name}: .*{reason}"):
            rows(tmp_path / name)


def test_circles_of_links_end(tmp_path: Path) -> None:
    put(tmp_path / "set", "a.csv")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    assert len(rows(tmp_path / "set")) == 2


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("{", "not the state of a saved dataset"),
        (json.dumps({"_data_files": [{"filename": "../a.arrow"}]}), "outside the folder"),
        (json.dumps({"_data_files": [], "_indices_files": [{}]}), "flatten_indices"),
    ],
)
def test_a_damaged_saved_dataset_is_refused(tmp_path: Path, state: str, reason: str) -> None:
    (tmp_path / "state.json").write_text(state, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        rows(tmp_path)


def test_every_format_has_a_place_in_the_documents() -> None:
    for name in ("data.md", "data.zh-CN.md"):
        page = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
        assert [ending for ending in FORMATS if f"`{ending}`" not in page] == []
