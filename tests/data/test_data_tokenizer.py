"""The tokenizer: what it learns, that it is the same everywhere, and how it is kept."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tael.data.tokenizer import (
    SPECIALS,
    load_tokenizer,
    save_tokenizer,
    specials,
    train_tokenizer,
)
from tael.data.unigram import learn_pieces
from tael.errors import CheckpointError, DataError
from tael.recipe.schema import Tokenizer

DATA = Path(os.environ.get("TAEL_DATA", Path(__file__).parents[3] / "shared" / "data"))
TEXTS = [
    f"酒店的{thing}{quality}，{thing} is {word}！"
    for thing in ("服务", "房间", "早餐", "位置")
    for quality in ("不错", "很好", "一般", "太差")
    for word in ("good", "bad", "wonderful", "Terrible")
]
KINDS = ("unigram", "bpe", "wordpiece")


def texts_of(name: str, rows: int) -> list[str]:
    path = DATA / name / "train.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not here; set TAEL_DATA to the folder of the test data")
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)][:rows]


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_and_wrap_one_text_or_two(kind: str) -> None:
    tokenizer = train_tokenizer(TEXTS, Tokenizer(kind=kind, vocab=1000))
    assert [tokenizer.token_to_id(name) for name in SPECIALS] == [0, 1, 2, 3, 4]
    found = specials(tokenizer)
    assert (found.pad, found.unk, found.cls, found.sep, found.mask) == (0, 1, 2, 3, 4)
    pair = tokenizer.encode("服务不错", "good")
    first = tokenizer.encode("服务不错").ids
    assert (first[0], first[-1]) == (2, 3)
    assert pair.ids[: len(first)] == first
    assert pair.type_ids == [0] * len(first) + [1] * (len(pair.ids) - len(first))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocab", [100, 1000])
def test_the_vocabulary_is_no_larger_than_asked(kind: str, vocab: int) -> None:
    assert train_tokenizer(TEXTS, Tokenizer(kind=kind, vocab=vocab)).get_vocab_size() <= vocab


def test_words_become_units_also_where_no_space_parts_them() -> None:
    tokenizer = train_tokenizer(TEXTS, Tokenizer(vocab=400))
    assert {"服务", "房间", "▁wonderful"} <= set(tokenizer.get_vocab())
    # At the beginning of a text a word is the same unit as later on.
    assert tokenizer.encode("房间", add_special_tokens=False).tokens == ["房间"]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("服务房间好差 goodbad!，①😀ß\u200d7"), max_size=30))
def test_decoding_gives_the_text_back_but_for_nfkc_and_outer_spaces(text: str) -> None:
    import unicodedata

    decoded = BYTES.decode(BYTES.encode(text).ids)
    assert decoded.strip() == unicodedata.normalize("NFKC", text).strip()


BYTES = train_tokenizer(TEXTS, Tokenizer(vocab=1000))

_TRAIN = """
import hashlib, sys
from tael.data.tokenizer import train_tokenizer
from tael.recipe.schema import Tokenizer
texts = open(sys.argv[1], encoding="utf-8").read().split("\\n")
for kind in ("unigram", "bpe", "wordpiece"):
    tokenizer = train_tokenizer(texts, Tokenizer(vocab=1200, kind=kind))
    print(hashlib.sha256(tokenizer.to_str().encode()).hexdigest())
"""


@pytest.mark.slow
def test_the_same_texts_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(texts_of("cls_zh_hotel", 400) + TEXTS), encoding="utf-8")
    outputs = []
    for seed, parallel in (("0", "false"), ("1", "true"), ("2", "true")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": parallel}
        command = [sys.executable, "-c", _TRAIN, str(path)]
        outputs.append(
            subprocess.run(command, env=environment, check=True, capture_output=True).stdout
        )
    assert len(set(outputs)) == 1
    assert len(set(outputs[0].split())) == 3


@pytest.mark.slow
def test_common_words_of_real_reviews_are_single_units() -> None:
    texts = texts_of("cls_zh_hotel", 1200)
    tokenizer = train_tokenizer(texts, Tokenizer(vocab=8000))
    for word in ("酒店", "服务", "房间", "不错", "早餐", "前台"):
        assert tokenizer.encode(word, add_special_tokens=False).tokens == [word]
    tokens = sum(len(one.ids) - 2 for one in tokenizer.encode_batch(texts))
    assert tokens / sum(map(len, texts)) < 0.7  # characters alone would give 1


@pytest.mark.slow
def test_english_words_are_units_with_their_space() -> None:
    texts = texts_of("cls_en_rotten_tomatoes", 2500)
    tokenizer = train_tokenizer(texts, Tokenizer(vocab=5000))
    encoded = tokenizer.encode("this movie is a wonderful comedy", add_special_tokens=False)
    assert encoded.tokens == ["▁this", "▁movie", "▁is", "▁a", "▁wonderful", "▁comedy"]


def test_pieces_are_learned_from_counts_whatever_their_order() -> None:
    words = Counter({"banana": 9, "bandana": 4, "cabana": 2})
    backwards = Counter(dict(reversed(words.items())))
    assert learn_pieces(words, 12) == learn_pieces(backwards, 12)
    pieces = dict(learn_pieces(words, 12))
    assert set("banadc") <= pieces.keys()
    assert "banana" in pieces
    assert sum(2.718281828**score for score in pieces.values()) == pytest.approx(1, abs=0.1)


def test_characters_too_rare_for_a_unit_become_bytes() -> None:
    tokenizer = train_tokenizer([*(TEXTS * 40), "龘"], Tokenizer(vocab=1000))
    assert "龘" not in tokenizer.get_vocab()
    assert tokenizer.encode("龘", add_special_tokens=False).tokens == ["<0xE9>", "<0xBE>", "<0x98>"]
    assert tokenizer.decode(tokenizer.encode("龘").ids) == "龘"


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_no_text_is_refused(texts: list[str]) -> None:
    with pytest.raises(DataError, match="no text to train on"):
        train_tokenizer(texts, Tokenizer())


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_the_same_here_and_in_transformers(
    tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder
) -> None:
    tokenizer = train_tokenizer(TEXTS, Tokenizer(kind=kind, vocab=1000))
    save_tokenizer(tokenizer, tmp_path, max_tokens=64)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    texts = [*TEXTS[:5], "[CLS] user [MASK] [PAD]text[SEP]", "龘 ｆｕｌｌ", "", "x" * 300]
    expected = [tokenizer.encode(text).ids for text in texts]
    assert [load_tokenizer(tmp_path).encode(text).ids for text in texts] == expected
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert [theirs(text)["input_ids"] for text in texts] == expected
    assert theirs.model_max_length == 64
    assert (theirs.pad_token_id, theirs.mask_token_id) == (0, 4)
    ours = tokenizer.encode("服务", "good")
    assert theirs("服务", "good")["token_type_ids"] == ours.type_ids


def test_a_vocabulary_file_is_opened_as_wordpiece(tmp_path: Path) -> None:
    words = [*SPECIALS, "the", "movie", "##s", "好", "!", "The"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokens = load_tokenizer(tmp_path).encode("The movies好!").tokens
    assert tokens == ["[CLS]", "the", "movie", "##s", "好", "!", "[SEP]"]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert load_tokenizer(tmp_path).encode("The").tokens[1] == "The"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("vocab.txt", "[PAD]\n[UNK]\na\na\n\nb\n", r"stand twice \('a'\), 1 lines are empty"),
        ("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", r"no token \[MASK\]"),
        ("tokenizer.json", '{"version": "1.0"', "not a usable tokenizer"),
        ("nothing.txt", "", r"no tokenizer\.json and no vocab\.txt"),
    ],
)
def test_a_broken_tokenizer_is_refused_with_its_reason(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=reason):
        load_tokenizer(tmp_path)


def test_truncation_and_padding_of_a_file_are_switched_off(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, Tokenizer(vocab=1000))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    save_tokenizer(tokenizer, tmp_path, 8)
    lengths = [len(load_tokenizer(tmp_path).encode(text)) for text in ("服务", TEXTS[0] * 4)]
    assert lengths[0] == 3
    assert lengths[1] > 8


def test_long_corpora_are_thinned_and_still_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tael.data.tokenizer.ENOUGH", 500)
    one, two = (train_tokenizer(TEXTS, Tokenizer(vocab=300)).to_str() for _ in range(2))
    assert one == two
    whole = hashlib.sha256(BYTES.to_str().encode()).hexdigest()
    assert hashlib.sha256(one.encode()).hexdigest() != whole
