"""Every text, table and archive row of the bad inputs' README does what that row says.

Left for the rooms that read such files: model/*, image/* and audio/*; to the service, what
huge_number.json and prompt_1e6_chars.txt.gz do as a request. Left to the task, which
knows what a label may be: that missing_labels.csv, nan_labels.csv and one_class.csv are refused for
training, and unseen_label.csv against the labels of train; here they must arrive as they are.
"""

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tael.data.clean import clean
from tael.data.dedup import dedup
from tael.data.prepare import prepare
from tael.data.read import read
from tael.data.tokenizer import train_tokenizer
from tael.errors import DataError
from tael.recipe.schema import Clean, Columns, Data, Tokenizer

DATA = Path(os.environ.get("TAEL_DATA", Path(__file__).parents[3] / "shared" / "data"))
HOSTILE = DATA / "hostile"
OTHER_ROOMS = ("model/", "image/", "audio/")  # rows that are left out here

pytestmark = pytest.mark.skipif(
    not HOSTILE.is_dir(), reason=f"{HOSTILE} is not here; set TAEL_DATA to the test data's folder"
)


def rows(name: str, **options: Any) -> tuple[list[dict[str, Any]], Counter[str]]:
    counts: Counter[str] = Counter()
    return list(read([HOSTILE / name], counts=counts, **options)), counts


def test_every_row_of_the_table_is_tried_here_but_for_those_of_other_rooms() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    table = (HOSTILE / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1] for line in table if line.startswith("| ") and "." in line]
    names = {name.strip() for row in rows for name in row.split(",")}
    names = {name for name in names if not name.startswith(OTHER_ROOMS)}
    assert names >= {"gbk.csv", "nested.json", "bomb.zip"}
    assert {name for name in names if not (HOSTILE / name).is_file()} == set()
    assert {name for name in names if f'"{name}"' not in here} == set()


REFUSED = {
    "empty.csv": "no rows",
    "empty.jsonl": "no rows",
    "only_header.csv": "no rows",
    "only_whitespace.txt": "no rows",
    "latin1.csv": r"byte 14 \(line 2\) is not UTF-8.*data\.encoding=",
    "invalid_utf8.txt": r"byte 10 \(line 2\) is not UTF-8",
    "ragged.csv": r"line 3 \(1\), line 4 \(4\)",
    "dup_header.csv": "duplicate column 'text'",
    "unclosed_quote.csv": r"unclosed_quote\.csv:2: the quote .* never closed",
    "broken_middle.jsonl": r"broken_middle\.jsonl:2: not valid JSON",
    "mixed_types.jsonl": r"mixed_types\.jsonl:4: expected an object .*found an array",
    "truncated.csv.gz": r"truncated\.csv\.gz: the gzip file is damaged",
    "not_gzip.csv.gz": r"not_gzip\.csv\.gz: not a gzip file",
    "nested.json": r"nested\.json:1: JSON nested too deep",
    "huge_number.json": r"huge_number\.json:1: not valid JSON \(number 1e400 out of range\)",
    "bomb.zip": r"bomb\.zip: unpacks from 203,958 to 209,715,200 bytes, more than 200 times",
    "path_escape.zip": r"path_escape\.zip: the entry '\.\./\.\./escape\.txt' leaves the folder",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_files_say_where_and_why_in_one_line(name: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match=REFUSED[name]) as caught:
        rows(name)
    assert time.process_time() - start < 2
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ragged.csv", "unclosed_quote.csv", "broken_middle.jsonl"])
def test_what_is_refused_can_be_skipped_and_is_counted(name: str) -> None:
    found, counts = rows(name, on_error="skip")
    assert len(found) == 2
    skipped = sum(n for step, n in counts.items() if step.startswith("rows skipped"))
    assert skipped == (2 if name == "ragged.csv" else 1)


@pytest.mark.parametrize("name", ["bom.csv", "gbk.csv", "utf16.csv"])
def test_found_encodings_give_the_same_clean_rows(name: str) -> None:
    found, _ = rows(name)
    assert len(found) == 20
    assert found[3] == {"text": "样例 sample 3", "label": "1", "@": f"{name}:5"}


@pytest.mark.parametrize(("name", "codec"), [("latin1.csv", "latin-1"), ("gbk.csv", "gbk")])
def test_a_given_encoding_is_used(name: str, codec: str) -> None:
    found, _ = rows(name, encoding=codec)
    assert found[0]["text"] in ("café très bon", "样例 sample 0")


def test_undecodable_bytes_become_replacement_characters_when_told() -> None:
    found, counts = rows("invalid_utf8.txt", encoding="utf-8", on_error="skip")
    assert [row["text"] for row in found] == [
        "good line",
        "\ufffd\ufffd\ufffd broken line",
        "good line",
    ]
    assert counts["lines with U+FFFD for undecodable or unknown characters"] == 1


def test_nul_surrogates_and_double_keys_are_repaired_and_counted() -> None:
    found, counts = rows("nul_bytes.csv")
    assert found[3]["text"] == "样例 sample 3"
    assert counts["NUL characters removed"] == 1
    found, counts = rows("lone_surrogate.jsonl")
    assert found[0]["text"] == "bad \ufffd half"
    assert counts["lone surrogates replaced by U+FFFD"] == 1
    found, counts = rows("duplicate_keys.jsonl")
    assert found[0]["text"] == "b"
    assert counts["duplicate JSON keys, the last kept"] == 1


def test_mixed_types_are_refused_with_the_line_and_the_type_expected() -> None:
    records, _ = rows("mixed_types.jsonl", on_error="skip")
    with pytest.raises(DataError, match=r"mixed_types\.jsonl:2: text must be a string, found int"):
        list(clean(records, Columns(), Clean(), Counter()))


def test_mixed_line_ends_make_four_rows() -> None:
    found, _ = rows("mixed_newlines.csv")
    assert [(row["text"], row["label"]) for row in found] == [
        ("a", "1"),
        ("b", "0"),
        ("c", "1"),
        ("d", "0"),
    ]


@pytest.mark.parametrize(
    ("name", "size"), [("long_line.txt.gz", 5 * 2**20), ("prompt_1e6_chars.txt.gz", 10**6)]
)
def test_very_long_lines_are_read_and_cleaned_in_linear_time(name: str, size: int) -> None:
    start = time.process_time()
    found, counts = rows(name)
    (record,) = clean(found, Columns(), Clean(), counts, labelled=False)
    assert len(found[0]["text"]) == size
    assert len(record["text"]) >= size - 1
    assert time.process_time() - start < 3


@pytest.mark.slow
def test_a_very_long_line_is_tokenised_in_linear_time() -> None:
    text = rows("long_line.txt.gz")[0][0]["text"]
    tokenizer = train_tokenizer(["ab cab cab", "abc"], Tokenizer(vocab=1000))

    def seconds(characters: int) -> float:
        start = time.process_time()
        tokenizer.encode(text[:characters])
        return time.process_time() - start

    seconds(10_000)  # warm
    # Linear: 8; quadratic: 64.
    assert seconds(640_000) < 24 * seconds(80_000)


def test_no_label_column_is_refused_for_training_and_fine_for_prediction() -> None:
    data = Data(train=[HOSTILE / "no_label_column.csv"])
    with pytest.raises(DataError, match=r"no column 'label'.*the columns are text"):
        prepare(data, 0)
    found = list(
        clean(rows("no_label_column.csv")[0], Columns(), Clean(), Counter(), labelled=False)
    )
    assert [row["text"] for row in found] == ["好", "坏"]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("missing_labels.csv", ["1", "", "1"]),  # the fourth row has no text
        ("nan_labels.csv", ["nan", "NaN", "1", "inf"]),
        ("unseen_label.csv", ["1", "0", "7"]),
        ("one_class.csv", ["1"] * 30),
    ],
)
def test_odd_labels_reach_the_task_as_they_stand(name: str, labels: list[str]) -> None:
    found = list(clean(rows(name)[0], Columns(), Clean(min_characters=1), Counter()))
    assert [row["label"] for row in found] == labels


@pytest.mark.parametrize("name", ["one_row.csv", "all_duplicates.csv", "contradicting_labels.csv"])
def test_what_is_left_too_small_to_split_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="too few rows"):
        prepare(Data(train=[HOSTILE / name]), 0)


def test_duplicates_leave_one_row_and_contradictions_are_reported() -> None:
    same = list(clean(rows("all_duplicates.csv")[0], Columns(), Clean(), Counter()))
    assert len(dedup(same, Clean(), Counter()).kept) == 1
    torn = list(clean(rows("contradicting_labels.csv")[0], Columns(), Clean(), Counter()))
    found = dedup(torn, Clean(), Counter())
    assert (len(found.kept), len(found.conflicts)) == (0, 1)


def test_formulas_are_plain_text_here() -> None:
    found, _ = rows("formula_injection.csv")
    assert [row["text"][0] for row in found] == ["=", "+", "@"]


def test_unicode_survives_reading_and_tokenising_but_for_what_nfkc_says() -> None:
    import unicodedata

    found, _ = rows("unicode_mix.jsonl")
    assert len(found) == 10
    texts = [row["text"] for row in found]
    assert "\u2028line\u2029para\x85nel" in texts
    tokenizer = train_tokenizer(texts, Tokenizer(vocab=1000))
    for text in texts:
        folded = unicodedata.normalize("NFKC", text)
        decoded = tokenizer.decode(tokenizer.encode(text).ids)
        assert decoded.replace("▁", " ").strip() == folded.strip()


@pytest.mark.parametrize("name", ["unicode_mix.jsonl", "special_token_injection.txt"])
def test_text_that_looks_like_a_special_token_stays_text(name: str) -> None:
    texts = [row["text"] for row in rows(name)[0]]
    texts += ["[CLS] [SEP] [MASK] [PAD] [UNK]"]
    for kind in ("unigram", "bpe", "wordpiece"):
        tokenizer = train_tokenizer(texts, Tokenizer(vocab=1000, kind=kind))
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            assert not {0, 2, 3, 4} & set(ids)
