"""Hidden states of a file's texts: any layer, pooled or a vector a token, in order."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import tael
from tael.data.tokenizer import save_tokenizer, train_tokenizer
from tael.errors import DataError, UsageError
from tael.model.config import ModelConfig
from tael.model.network import build
from tael.model.weights import save_folder
from tael.recipe.schema import Tokenizer as Spec
from tael.road.hidden import hidden

TEXTS = ["The room was fine.", "a", "房间很好 and a nice staff, nice, nice", "staff"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("encoder")
    tokenizer = train_tokenizer(TEXTS * 20, Spec(vocab=400))
    config = ModelConfig(
        vocab=tokenizer.get_vocab_size(), hidden=16, layers=2, heads=2, ffn=24, max_positions=6
    )
    save_folder(made, build(config, seed=1), tokenizer=tokenizer)
    save_tokenizer(tokenizer, made, 6)
    return made


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", "utf-8")
    return path


def alone(folder: Path, text: str, layer: int) -> Any:
    loaded = tael.load(folder)
    ids = loaded.worded().encode(text).ids[:6]
    return loaded.hidden(torch.tensor([ids]), layer=layer)[0].numpy()


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("pool", ["mean", "first", "last"])
def test_each_text_has_its_own_vector_in_order(
    folder: Path, texts: Path, layer: int, pool: Any
) -> None:
    target = texts.with_suffix(".npy")
    counts = hidden(folder, texts, target, layer=layer, pool=pool)
    found_ND = np.load(target)
    assert found_ND.shape == (4, 16)
    assert found_ND.dtype == np.float32
    take = {"mean": lambda s: s.mean(0), "first": lambda s: s[0], "last": lambda s: s[-1]}[pool]
    for text, found_D in zip(TEXTS, found_ND, strict=True):
        assert np.allclose(found_D, take(alone(folder, text, layer)), atol=1e-5)
    assert counts["texts"] == 4
    assert 0 < counts["texts cut"] < 4


def test_a_vector_a_token_comes_with_the_texts_lengths(folder: Path, texts: Path) -> None:
    target = texts.with_suffix(".safetensors")
    counts = hidden(folder, texts, target, layer=1, pool="none")
    found = load_file(target)
    assert found["lengths"].sum() == counts["tokens"] == len(found["hidden"])
    parts = np.split(found["hidden"], np.cumsum(found["lengths"])[:-1])
    for text, part_TD in zip(TEXTS, parts, strict=True):
        assert np.allclose(part_TD, alone(folder, text, 1), atol=1e-5)


def test_what_cannot_be_written_is_said_before_a_model_is_opened(tmp_path: Path) -> None:
    absent = tmp_path / "nowhere"
    for target, pool, words in (
        ("a.csv", "mean", r"--out states\.npy"),
        ("a.npy", "none", r"--out states\.safetensors"),
        ("a.npy", "max", "pool must be one of mean, first, last, none, found 'max'"),
    ):
        with pytest.raises(UsageError, match=words):
            hidden(absent, absent, tmp_path / target, pool=pool)  # type: ignore[arg-type]


def test_a_column_or_layer_that_is_not_there_is_refused(folder: Path, texts: Path) -> None:
    target = texts.with_suffix(".npy")
    with pytest.raises(DataError, match=r"texts\.txt:1: no text in column 'review', found text"):
        hidden(folder, texts, target, column="review")
    with pytest.raises(UsageError, match=r"layers 0 \(embeddings\) to 2, not 3"):
        hidden(folder, texts, target, layer=3)
    assert not target.exists()
