"""Arrow, parquet, saved datasets and frames give the records of the same table as text."""

import datetime
import importlib.util
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tael.data.clean import clean
from tael.data.frame import read_frame
from tael.data.read import read
from tael.errors import DataError, UsageError
from tael.recipe.schema import Clean, Columns

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5)


def rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    return list(read([path], **options))


def write(path: Path, table: Any) -> Path:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".feather":
        pyarrow.feather.write_feather(table, path)
    else:
        new = pa.ipc.new_file if path.stem == "file" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
            writer.write_table(table)
    return path


def table() -> Any:
    return pa.table(
        {
            "text": ["a", "好", None],
            "label": pa.array(["u", "v", "u"]).dictionary_encode(),
            "x": [1.5, float("nan"), 2.0],
            "when": pa.array([WHEN, None, WHEN], pa.timestamp("ns")),
            "old": pa.array([b"x", b"y", b"z"]),
            "deep": [[{"k": 1}], [], None],
            "price": [Decimal("1.10"), None, None],
        }
    )


NAMES = ["a.parquet", "a.feather", "file.arrow", "stream.arrow"]


@pytest.mark.parametrize("name", NAMES)
def test_columns_become_plain_values_with_the_row_as_their_place(tmp_path: Path, name: str) -> None:
    counts: Counter[str] = Counter()
    first, second, third = rows(write(tmp_path / name, table()), counts=counts)
    assert first == {
        "text": "a", "label": "u", "x": 1.5, "when": "2026-01-02 03:04:05.000000000", "old": "x",
        "deep": [{"k": 1}], "price": "1.10", "@": f"{name}:1",
    }  # fmt: skip
    assert (second["text"], second["x"], second["when"]) == ("好", None, None)
    assert (third["text"], third["deep"], third["@"]) == (None, None, f"{name}:3")
    assert counts["NaN read as missing"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_or_empty_file_is_refused_and_so_are_bytes_that_are_no_text(
    tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / name, table())
    content = path.read_bytes()
    for bad in (b"", b"x" * 100, content[: len(content) // 2], content[:-9]):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=name):
            rows(path)
    with pytest.raises(DataError, match="no rows"):
        rows(write(path, table().slice(0, 0)))
    write(path, pa.table({"text": ["a", "b"], "raw": [b"ok", b"\xff\xfe"]}))
    with pytest.raises(DataError, match=rf"{name}:2: column 'raw' holds bytes that are not UTF-8"):
        rows(path)
    assert len(rows(path, on_error="skip")) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(NAMES), st.data())
def test_no_flipped_byte_brings_more_than_a_data_error(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    content = bytearray(write(tmp_path / name, table()).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(content)
    try:
        found = rows(tmp_path / name)
    except DataError as error:
        lines = str(error).splitlines()
    else:
        lines = [str(row["@"]) for row in found][:1]
    assert len(lines) == 1


def test_columns_that_stand_twice_are_refused_and_the_index_of_pandas_goes(tmp_path: Path) -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match="duplicate column 'a'"):
        rows(write(tmp_path / "file.arrow", twice))
    frame = pd.DataFrame({"text": ["a", "b", "c"]}, index=[7, 9, 2])
    counts: Counter[str] = Counter()
    frame.to_parquet(tmp_path / "a.parquet")
    assert [set(row) for row in rows(tmp_path / "a.parquet", counts=counts)] == [{"text", "@"}] * 3
    assert counts["pandas index __index_level_0__ left out"] == 1


@pytest.mark.filterwarnings("ignore")
def test_a_saved_dataset_is_read_and_one_of_splits_asks_for_one(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="only here as the writer")
    datasets.disable_progress_bars()
    one = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    datasets.DatasetDict(train=one, test=one).save_to_disk(str(tmp_path / "all"))
    with pytest.raises(DataError, match=r"with the splits test, train\. Name one"):
        rows(tmp_path / "all")
    (first, _) = rows(tmp_path / "all" / "train")
    assert first == {"text": "a", "label": 0, "@": "train/data-00000-of-00001.arrow:1"}
    assert [row["text"] for row in read_frame(one)] == ["a", "b"]


class Rows:
    """As polars hands out rows."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def iter_rows(self, *, named: bool) -> list[Any]:
        assert named
        return self.rows


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"text": ["a", "b"], "n": [1, 2]}),
        pd.DataFrame({"text": ["a", "b"], "n": [1, 2]}, dtype=object),
        pa.table({"text": ["a", "b"], "n": [1, 2]}),
        Rows([{"text": "a", "n": np.int64(1)}, {"text": "b", "n": np.array(2)}]),
        [{"text": "a", "n": 1}, {"text": "b", "n": 2}],
    ],
    ids=["pandas", "objects", "arrow", "polars", "dicts"],
)
def test_every_kind_of_frame_gives_the_same_records(frame: Any) -> None:
    counts: Counter[str] = Counter()
    assert list(read_frame(frame, name="mine", counts=counts)) == [
        {"text": "a", "n": 1, "@": "mine:1"},
        {"text": "b", "n": 2, "@": "mine:2"},
    ]
    assert counts["rows read"] == 2
    assert [row["text"] for row in read_frame(frame, limit=1)] == ["a"]


def test_mixed_missing_and_odd_values_of_a_frame_are_read_or_named() -> None:
    frame = pd.DataFrame({"text": ["a", 3, pd.NA, "\ud83d"], "t": [pd.NaT, WHEN, None, WHEN]})
    counts: Counter[str] = Counter()
    found = list(read_frame(frame, counts=counts))
    assert [row["text"] for row in found] == ["a", 3, None, "\ufffd"]
    assert [str(row["t"])[:10] for row in found] == ["None", "2026-01-02", "None", "2026-01-02"]
    odd = [{"text": "a"}, {"text": object()}]
    with pytest.raises(DataError, match="frame:2: the row holds a object"):
        list(read_frame(odd))
    assert len(list(read_frame(odd, on_error="skip", counts=counts))) == 1
    assert counts["rows skipped: values that are no text or number"] == 1


def test_whole_number_labels_with_gaps_are_the_same_in_every_table(tmp_path: Path) -> None:
    csv = tmp_path / "a.csv"
    csv.write_text("text,label\na,1\nb,\nc,0\nd,-12\n", "utf-8")
    frame = pd.read_csv(csv)
    assert frame["label"].dtype == np.float64  # what pandas makes of the gap
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    tables = [
        (read([csv]), 0),
        (read_frame(frame, name="a.csv"), 3),
        (read_frame(frame.to_dict("records"), name="a.csv"), 3),
        (read([tmp_path / "a.parquet"]), 3),
        (read([tmp_path / "a.jsonl"]), 3),
        (read_frame(frame.astype({"label": "Int64"}), name="a.csv"), 0),
        (read_frame(pa.Table.from_pandas(frame), name="a.csv"), 3),
    ]
    if importlib.util.find_spec("polars"):
        import polars

        tables.append((read_frame(polars.read_csv(csv), name="a.csv"), 0))
    for records, mended in tables:
        counts: Counter[str] = Counter()
        cleaned = list(clean(records, Columns(), Clean(), counts))
        assert [(one["text"], one["label"]) for one in cleaned] == [
            ("a", "1"), ("b", ""), ("c", "0"), ("d", "-12"),
        ]  # fmt: skip
        assert counts["labels such as 1.0 taken as 1"] == mended


@given(st.floats())
def test_a_label_that_is_a_number_keeps_its_value(value: float) -> None:
    record = next(clean([{"text": "a", "label": value}], Columns(), Clean(), Counter()))
    label = record["label"]
    assert float(label) == value or value != value
    assert label == str(value) or (value.is_integer() and label == str(int(value)))


def test_what_is_no_frame_is_refused() -> None:
    for wrong in ("reviews.csv", 3, {"text": ["a"]}, [1, 2]):
        with pytest.raises(UsageError, match="read_frame: expected"):
            list(read_frame(wrong))
    with pytest.raises(DataError, match="no rows"):
        list(read_frame(pd.DataFrame({"text": []})))
    with pytest.raises(DataError, match="duplicate column"):
        list(read_frame(pd.DataFrame([[1, 2]], columns=["a", "a"])))
