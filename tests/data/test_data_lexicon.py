"""Folders of every kind: the ids of transformers, roles, no forged token, and files kept."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tokenizers import FOLDERS, FORGED, TORTURE, described
from tokenizers import Tokenizer, models, pre_tokenizers

from tael.data.lexicon import ROLES, Lexicon, open_lexicon
from tael.data.tokenizer import load_tokenizer
from tael.errors import CheckpointError

# Where the class of transformers cuts otherwise than the model in the folder, which sentencepiece
# decides (test_data_sentence_pieces.py): spaces at the beginning, at the end, in runs.
_SPACES = {"llama", "gemma", "pegasus", "mbart"}
Opened = Callable[[str], tuple[Path, Lexicon]]


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Make a folder of a kind once, and open it."""
    made: dict[str, tuple[Path, Lexicon]] = {}

    def get(name: str) -> tuple[Path, Lexicon]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            FOLDERS[name](folder)
            made[name] = folder, open_lexicon(folder)
        return made[name]

    return get


def reference(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    return transformers.AutoTokenizer.from_pretrained(folder)


def comparable(name: str) -> list[str]:
    if name == "marian":  # repetitions are cut in several equally likely ways
        return [text for text in TORTURE if len(set(text)) > 1 or len(text) < 3]
    if name not in _SPACES:
        return TORTURE
    return [text for text in TORTURE if text == " ".join(text.split()) != "" and "▁" not in text]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("name", FOLDERS)
def test_ids_text_and_roles_are_those_of_transformers(name: str, opened: Opened) -> None:
    folder, lexicon = opened(name)
    theirs = reference(folder)
    for text in comparable(name):
        ids = theirs(text)["input_ids"]
        assert lexicon.tokenizer.encode(text).ids == ids, text
        if name != "marian":  # which writes no space in front
            assert lexicon.tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    pair = theirs("the movie", "was good")
    assert lexicon.tokenizer.encode("the movie", "was good").ids == pair["input_ids"]
    if "token_type_ids" in pair:
        assert lexicon.tokenizer.encode("the movie", "was good").type_ids == pair["token_type_ids"]
    for role in ROLES:
        assert getattr(lexicon.roles, role) == getattr(theirs, f"{role}_token_id"), role
    assert lexicon.max_tokens in (None, theirs.model_max_length)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_saved_lexicon_is_the_same_here_and_in_transformers(
    name: str, opened: Opened, tmp_path: Path
) -> None:
    folder, lexicon = opened(name)
    lexicon.save(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    again, theirs = open_lexicon(tmp_path), reference(tmp_path)
    assert again.roles == lexicon.roles
    for text in [*TORTURE, *FORGED]:
        assert again.tokenizer.encode(text).ids == lexicon.tokenizer.encode(text).ids
    for text in TORTURE if name != "marian" else comparable(name):
        assert theirs(text)["input_ids"] == lexicon.tokenizer.encode(text).ids
    for path in folder.iterdir():  # but for the config, every file is as it was
        kept = (tmp_path / path.name).read_bytes() == path.read_bytes()
        assert kept or path.name == "tokenizer_config.json"


@pytest.mark.parametrize("name", FOLDERS)
@settings(max_examples=25, deadline=None)
@given(
    text=st.lists(
        st.sampled_from([*FORGED, "<s", "/s>", "[", "MASK]", " ", "a", "龘", "\n", "▁"]), max_size=5
    ).map("".join)
)
def test_text_never_becomes_a_control_token(name: str, text: str, opened: Opened) -> None:
    _, lexicon = opened(name)
    for tokenizer in filter(None, (lexicon.tokenizer, lexicon.target)):
        ids = set(tokenizer.encode(text, add_special_tokens=False).ids)
        special = {id_ for id_, one in tokenizer.get_added_tokens_decoder().items() if one.special}
        # What no piece covers is unknown, which is no control token.
        assert ids & special <= {lexicon.roles.unk}


@pytest.mark.parametrize("name", FOLDERS)
def test_words_of_a_hundred_thousand_characters_take_no_time(name: str, opened: Opened) -> None:
    _, lexicon = opened(name)
    begin = time.thread_time()
    for character in ("x", "龘", "</s>", "e\u0301"):
        lexicon.tokenizer.encode(character * (100_000 // len(character)))
    assert time.thread_time() - begin < 20  # a quadratic way takes minutes


def test_a_given_unigram_vocabulary_gives_no_control_tokens_for_text(tmp_path: Path) -> None:
    pieces = ["<pad>", "</s>", "<unk>", "▁", "▁<", "x", "<", "/", "s", ">"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>"])
    tokenizer.encode_special_tokens = True
    assert 1 in tokenizer.encode("x</s>").ids  # as it is opened elsewhere
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    described(tmp_path, "t5", {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"})
    for text in ("x</s>", "</s>", "x<pad></s>"):
        ids = open_lexicon(tmp_path).tokenizer.encode(text).ids
        assert {0, 1}.isdisjoint(ids)


def test_marian_decodes_with_the_target_side_and_keeps_its_codes(opened: Opened) -> None:
    _, lexicon = opened("marian")
    assert lexicon.target is not None
    ids = lexicon.target.encode("the movie was good").ids
    assert lexicon.target.decode(ids) == lexicon.tokenizer.decode(ids) == "the movie was good"
    code = lexicon.tokenizer.token_to_id(">>fra<<")
    assert lexicon.tokenizer.get_added_tokens_decoder()[code].special


def test_mbart_begins_in_the_language_of_its_config(opened: Opened) -> None:
    _, lexicon = opened("mbart")
    tokens = lexicon.tokenizer.encode("a").tokens
    assert tokens[-2:] == ["</s>", "de_DE"]


def test_flags_of_added_tokens_are_kept(opened: Opened) -> None:
    _, lexicon = opened("roberta")
    mask = lexicon.tokenizer.get_added_tokens_decoder()[lexicon.roles.mask]
    assert (mask.content, mask.lstrip, mask.rstrip) == ("<mask>", True, False)


def test_a_longer_limit_is_written_and_the_rest_stays(opened: Opened, tmp_path: Path) -> None:
    _, lexicon = opened("gpt2")
    lexicon.save(tmp_path, max_tokens=77)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 77
    assert open_lexicon(tmp_path).max_tokens == 77


def test_a_role_without_a_token_is_none(opened: Opened) -> None:
    _, lexicon = opened("gpt2")
    assert (lexicon.roles.mask, lexicon.token("mask")) == (None, None)
    assert lexicon.token("eos") == "<|endoftext|>"


@pytest.mark.parametrize(
    ("name", "files", "reason"),
    [
        ("qwen2", {"tokenizer_config.json": '{"added_tokens_decoder": {"9": "<x>"}}'}, "have id 9"),
        ("gpt2", {"tokenizer_config.json": "{"}, "not JSON"),
        ("gpt2", {"vocab.json": "[1]"}, "an object of tokens and their ids"),
        ("gpt2", {"merges.txt": "#version: 0.2\nq z"}, "does not fit vocab.json"),
        ("llama", {"tokenizer.model": "<html>"}, "not a SentencePiece model"),
        ("marian", {"vocab.json": '{"a": 0, "b": 2}'}, "without gaps, and <unk>"),
    ],
)
def test_a_broken_folder_is_refused_with_its_reason(
    name: str, files: dict[str, str], reason: str, tmp_path: Path, opened: Opened
) -> None:
    folder, _ = opened(name)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for file, content in files.items():
        (tmp_path / file).write_text(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
