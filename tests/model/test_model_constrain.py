"""Constrained text matches, whatever a random network would rather write."""

import json
import re
import sys
from typing import Any

import pytest
import torch
from model_samples import generator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tael.data.tokenizer import train_tokenizer
from tael.errors import UsageError
from tael.model.config import ModelConfig
from tael.model.constrain import matcher
from tael.model.generate import Request, Written, generate
from tael.model.head import VocabHead
from tael.model.network import Network, build
from tael.model.settings import Settings
from tael.recipe.schema import Tokenizer as Spec

pytest.importorskip("llguidance")

END = 3
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "kind": {"enum": ["room", "房间", "a b"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "stars", "kind", "tags"],
    "additionalProperties": False,
}


def byte_level() -> Tokenizer:
    """Every byte, and words that fit the schema or break it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ['{"', '":', "Ġtrue", '",', "room", "name", "}Ġ", '"}', "12", "stars"]
    vocab = {piece: n for n, piece in enumerate(["<pad>", "<s>", "<x>", "</s>", *alphabet, *words])}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<s>", "<x>", "</s>"])
    return tokenizer


def sentence_pieces() -> Tokenizer:
    texts = ["The room was fine 房间很好, and the name of the stars", '{"name": true, "kind": [1]}']
    return train_tokenizer(texts * 20, Spec(vocab=1200))


@pytest.fixture(params=[byte_level, sentence_pieces], ids=lambda make: make.__name__)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    made: Tokenizer = request.param()
    return made


def network_of(tokenizer: Tokenizer) -> Network:
    config = ModelConfig(
        vocab=tokenizer.get_vocab_size() + 5, hidden=16, layers=1, heads=2, ffn=20, types=0,
        stacks="decoder", position="rotary", vocab_transform=False,
    )  # fmt: skip
    network = build(config, VocabHead(config, "clm")).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator()))
    return network


def written(tokenizer: Tokenizer, tokens: int = 200, n: int = 8, **what: Any) -> list[Written]:
    network = network_of(tokenizer)
    make = matcher(tokenizer, network.config.vocab, (END,), **what)
    settings = Settings(max_tokens=tokens, temperature=1.0, end=(END,))
    return generate(network, [Request([5, 6], settings, n=n, constraint=make)], tokenizer)


def fits(text: str) -> bool:
    found = json.loads(text)
    return (
        list(found) == list(SCHEMA["required"])
        and len(found["name"]) <= 6
        and found["stars"] in range(1, 6)
        and found["kind"] in ("room", "房间", "a b")
        and all(isinstance(tag, bool) for tag in found["tags"])
        and len(found["tags"]) <= 3
    )


def test_text_held_to_a_schema_is_json_that_fits(tokenizer: Tokenizer) -> None:
    texts = written(tokenizer, schema=SCHEMA)
    assert len({one.text for one in texts}) > 1
    for one in texts:
        assert (one.end, one.complete) == ("eos", True)
        assert fits(one.text), one.text
        assert one.text == json.dumps(json.loads(one.text), ensure_ascii=False) or "\\" in one.text


@pytest.mark.parametrize(
    "regex", [r"[a-c]{2,9} 房间!?", r"(yes|no)(, (yes|no)){0,2}\.", r"[0-9]{4}"]
)
def test_text_held_to_an_expression_matches_as_a_whole(tokenizer: Tokenizer, regex: str) -> None:
    for one in written(tokenizer, regex=regex):
        assert re.fullmatch(regex, one.text), one.text
        assert one.complete


def test_a_text_that_max_tokens_cuts_off_says_that_it_is_not_complete(tokenizer: Tokenizer) -> None:
    for one in written(tokenizer, tokens=4, schema=json.dumps(SCHEMA)):
        assert (one.end, one.complete, one.tokens) == ("length", False, 4)
        with pytest.raises(json.JSONDecodeError):
            json.loads(one.text)
    free = generate(network_of(tokenizer), [Request([5], Settings(max_tokens=2))], tokenizer)
    assert free[0].complete is None


def test_a_match_wins_over_what_is_banned(tokenizer: Tokenizer) -> None:
    network = network_of(tokenizer)
    make = matcher(tokenizer, network.config.vocab, (END,), regex="a")
    spelled = tuple((id_,) for id_ in range(network.config.vocab) if id_ != END)
    settings = Settings(max_tokens=3, end=(END,), banned=spelled)
    found = generate(network, [Request([5], settings, constraint=make)], tokenizer)
    assert (found[0].text, found[0].complete) == ("a", True)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"regex": "[a"}, "regex not usable: .*unclosed character class"),
        ({"schema": {"type": "wrong"}}, "schema not usable: Invalid type: wrong"),
        ({"schema": {"type": "array", "uniqueItems": True}}, 'Unimplemented keys: \\["uniqueItems'),
        ({"schema": "[1"}, "schema is not JSON"),
        ({"schema": "[1]"}, "a schema is an object, found list"),
        ({"schema": {}, "regex": "a"}, "one of them"),
        ({}, "one of them"),
    ],
)
def test_what_cannot_be_held_is_refused_in_a_line(what: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as refusal:
        matcher(byte_level(), 300, (END,), **what)
    assert "\n" not in str(refusal.value)


def test_what_is_lacking_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no end token"):
        matcher(byte_level(), 300, (), regex="a")
    word_pieces = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    word_pieces.decoder = decoders.WordPiece()
    with pytest.raises(UsageError, match="WordPiece"):
        matcher(word_pieces, 300, (END,), regex="a")
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UsageError, match=r"pip install 'tael\[constrain\]'"):
        matcher(byte_level(), 300, (END,), regex="a")
