"""Folders of weights: opened whole, reported on, or refused in one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model_samples import CONFIG, padded
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from tael.errors import CheckpointError, UsageError
from tael.model.batch import Batch
from tael.model.finite import check
from tael.model.head import ClassifyHead, VocabHead
from tael.model.network import Network
from tael.model.weights import open_folder, resolve, save_folder

Tiny = Callable[..., Network]
DATA = Path(os.environ.get("TAEL_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def hostile() -> Path:
    folder = DATA / "hostile" / "model"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here; set TAEL_DATA to the folder of the test data")
    return folder


@pytest.fixture
def saved(tiny: Tiny, tmp_path: Path) -> Path:
    """A good folder with a classifier for three classes."""
    save_folder(tmp_path / "model", tiny(ClassifyHead), labels=["a", "b", "c"])
    return tmp_path / "model"


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_folder(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def same_logits(one: Network, other: Network, batch: Batch) -> None:
    assert torch.equal(one.logits(batch), other.logits(batch))


@pytest.mark.parametrize("head", [ClassifyHead, VocabHead])
def test_a_saved_network_opens_with_the_same_logits(
    tiny: Tiny, documents: list[Tensor], tmp_path: Path, head: type[ClassifyHead | VocabHead]
) -> None:
    network = tiny(head)
    save_folder(tmp_path, network)
    opened, report = open_folder(tmp_path)
    assert opened.config == CONFIG
    assert (report.kind, report.new, report.missing, report.warnings) == (head.kind, (), (), ())
    same_logits(network, opened, padded(documents))


def test_a_file_split_in_shards_opens_as_one(saved: Path, documents: list[Tensor]) -> None:
    whole, _ = open_folder(saved)
    tensors = load_file(saved / "model.safetensors")
    names = sorted(tensors)
    parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name].clone() for name in part}, saved / file)
    (saved / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    path = saved / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    same_logits(whole, open_folder(saved)[0], padded(documents))
    index["weight_map"][names[0]] = "../one.safetensors"
    path.write_text(json.dumps(index))
    assert "'../one.safetensors', which is not a file beside it" in refusal(saved)


def test_old_norm_names_and_half_precision_open(saved: Path, documents: list[Tensor]) -> None:
    whole, _ = open_folder(saved)

    def age(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            tensors[old.replace("LayerNorm.bias", "LayerNorm.beta")] = tensors.pop(name).bfloat16()
        tensors["bert.embeddings.position_ids"] = torch.arange(32)

    edit_weights(saved, age)
    old, report = open_folder(saved)
    assert report.unexpected == ()
    assert {p.dtype for p in old.parameters()} == {torch.float32}
    batch = padded(documents)
    assert_close(old.logits(batch), whole.logits(batch), atol=0.2, rtol=0)


def test_a_new_classifier_is_drawn_from_the_seed_and_reported(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_folder(tmp_path, tiny(VocabHead))
    one, report = open_folder(tmp_path, head="classify", classes=5, seed=3)
    same, _ = open_folder(tmp_path, head="classify", classes=5, seed=3)
    other, _ = open_folder(tmp_path, head="classify", classes=5, seed=4)
    assert set(report.new) == {
        f"head.{module}.{leaf}" for module in ("pooler.dense", "classifier")
        for leaf in ("weight", "bias")
    }  # fmt: skip
    assert "classifier.weight" in report.missing
    assert any(name.startswith("cls.predictions") for name in report.unexpected)
    assert any("new and untrained" in line for line in report.warnings)
    # It is what training asked for, so no warning; what is left unused is one.
    assert "new and untrained" not in caplog.text
    assert "in the file, not used" in caplog.text
    weights = [network.state_dict()["head.classifier.weight"] for network in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_another_number_of_classes_makes_a_new_classifier_on_the_old_pooler(saved: Path) -> None:
    old = load_file(saved / "model.safetensors")
    network, report = open_folder(saved, head="classify", classes=2)
    assert report.new == ("head.classifier.weight", "head.classifier.bias")
    pooler = network.state_dict()["head.pooler.dense.weight"]
    assert torch.equal(pooler, old["bert.pooler.dense.weight"])


def test_nothing_is_made_up_for_a_model_that_is_to_answer(saved: Path) -> None:
    edit_weights(saved, lambda tensors: tensors.pop("classifier.bias"))
    assert "classifier.bias is missing" in refusal(saved)
    assert "classifier.bias is missing" in refusal(saved, head="classify")
    edit_weights(saved, lambda tensors: tensors.pop("classifier.weight"))
    assert "no classifier" in refusal(saved)


def test_dropout_of_the_caller_replaces_that_of_the_file(saved: Path) -> None:
    config = open_folder(saved, dropout=0.4, droppath=0.2)[0].config
    assert (config.dropout, config.attention_dropout, config.droppath) == (0.4, 0.4, 0.2)
    assert open_folder(saved)[0].config.dropout == CONFIG.dropout


def test_a_regressions_unit_is_folded_into_what_is_saved(
    tiny: Tiny, documents: list[Tensor], tmp_path: Path
) -> None:
    network = tiny(ClassifyHead)
    assert isinstance(network.head, ClassifyHead)
    network.head.scale, network.head.center = 12.5, -300.0
    save_folder(tmp_path, network, problem_type="regression")
    opened, _ = open_folder(tmp_path)
    assert isinstance(opened.head, ClassifyHead)
    assert (opened.head.scale, opened.head.center) == (1.0, 0.0)
    batch = padded(documents)
    assert_close(opened.logits(batch), network.logits(batch), atol=1e-3, rtol=1e-5)


def test_misfitting_tensors_are_listed_with_names_and_shapes(saved: Path) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors["bert.encoder.layer.1.attention.self.key.weight"] = torch.zeros(24, 23)
        del tensors["bert.embeddings.LayerNorm.bias"]

    edit_weights(saved, spoil)
    message = refusal(saved)
    assert "encoder.layer.1.attention.self.key.weight is [24, 23], expected [24, 24]" in message
    assert "embeddings.LayerNorm.bias is missing" in message


def test_weights_that_hold_nan_are_named_when_they_answer(
    saved: Path, documents: list[Tensor]
) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors["bert.encoder.layer.0.output.dense.bias"][3] = float("nan")

    sound, batch = open_folder(saved)[0], padded(documents)
    check(sound.logits(batch), sound)
    edit_weights(saved, spoil)
    spoilt, _ = open_folder(saved)
    with pytest.raises(CheckpointError, match=r"hold them in body\.blocks\.0\.ffn\.down\.bias;"):
        check(spoilt.logits(batch), spoilt)
    with pytest.raises(CheckpointError, match="its numbers grow beyond float16"):
        check(sound.logits(batch).half() * torch.inf, sound)


def test_code_that_comes_with_a_checkpoint_is_not_run(saved: Path) -> None:
    (saved / "evil.py").write_text("open('pwned', 'w')\nclass Evil: ...\n")
    edit_config(saved, auto_map={"AutoModel": "evil.py--Evil"})
    _, report = open_folder(saved)
    assert any("auto_map" in line and "ignored" in line for line in report.warnings)
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not one of: albert"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"is_decoder": True}, "is_decoder True is not supported"),
        ({"num_hidden_layers": 10**6}, "1,000,000 layers"),
        ({"vocab_size": 60}, "word_embeddings.weight is [61, 24], expected [60, 24]"),
    ],
)
def test_a_config_of_another_model_is_refused(
    saved: Path, changes: dict[str, Any], words: str
) -> None:
    edit_config(saved, **changes)
    assert words in refusal(saved)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config_heads.json", "hidden (64) must be divisible by heads (7)"),
        ("config_negative.json", "hidden must be a whole number from 1, found -64"),
        ("config_huge.json", "GiB"),
        ("config_types.json", "num_hidden_layers is missing"),
    ],
)
def test_hostile_configs_are_refused(saved: Path, hostile: Path, name: str, words: str) -> None:
    shutil.copyfile(hostile / name, saved / "config.json")
    assert words in refusal(saved)


def test_a_hostile_auto_map_is_refused_only_for_its_weights(saved: Path, hostile: Path) -> None:
    shutil.copyfile(hostile / "config_remote_code.json", saved / "config.json")
    assert "is [61, 24], expected [100, 64]" in refusal(saved)
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("truncated.safetensors", "tensor 'w' ends at byte 64, but the file holds 20 bytes"),
        ("header_huge.safetensors", "its header would have 4,611,686,018,427,387,904"),
        ("overlap.safetensors", "tensor 'v' overlaps tensor 'w'"),
        ("shape_mismatch.safetensors", "tensor 'w' has 64 bytes, but [1000, 1000] needs 4,000,000"),
        ("nan_weights.safetensors", "tensors"),
    ],
)
def test_hostile_weights_are_refused(saved: Path, hostile: Path, name: str, words: str) -> None:
    shutil.copyfile(hostile / name, saved / "model.safetensors")
    assert words in refusal(saved)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"{", "header cannot be read"),
        (b"[" * 50_000, "header cannot be read"),
        (b'{"w": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}}', "unknown dtype F4"),
        (b'{"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', "whole numbers"),
        (b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}', "belong to no tensor"),
        (b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', "after the last tensor"),
    ],
)
def test_damaged_headers_are_refused(saved: Path, header: bytes, words: str) -> None:
    content = len(header).to_bytes(8, "little") + header + b"\0" * 6
    (saved / "model.safetensors").write_bytes(content)
    assert words in refusal(saved)


@pytest.mark.parametrize("size", [0, 5, 8])
def test_a_stump_of_a_file_is_refused(saved: Path, size: int) -> None:
    (saved / "model.safetensors").write_bytes(b"\0" * size)
    assert "safetensors" in refusal(saved)


def test_pickled_weights_are_refused_with_the_safe_way(
    saved: Path, hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved)
    (saved / "model.safetensors").unlink()
    shutil.copyfile(hostile / "pickle_exec.bin", saved / "pytorch_model.bin")
    assert "weights_only=True" in refusal(saved)
    assert not (saved / "pwned").exists()


def test_the_safe_way_that_the_refusal_names_works(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved)
    before = load_file("model.safetensors")
    torch.save(before, "pytorch_model.bin")
    Path("model.safetensors").unlink()
    exec(refusal(saved).split('python -c "')[1].rstrip('"'))  # the very words that are shown
    with safe_open("model.safetensors", framework="pt") as file:
        assert {name: file.get_tensor(name).tolist() for name in before} == {
            name: tensor.tolist() for name, tensor in before.items()
        }


def test_a_vocabulary_with_equal_and_empty_units_is_refused(saved: Path, hostile: Path) -> None:
    shutil.copyfile(hostile / "vocab_duplicates.txt", saved / "vocab.txt")
    message = refusal(saved)
    assert "line 4 repeats 'a'" in message
    assert "line 5 is empty" in message


def test_a_short_vocabulary_is_warned_about_and_a_long_one_refused(
    saved: Path, hostile: Path
) -> None:
    shutil.copyfile(hostile / "vocab_shorter.txt", saved / "vocab.txt")
    warnings = open_folder(saved)[1].warnings
    assert any("5 units, config.json says vocab_size 61" in line for line in warnings)
    (saved / "vocab.txt").write_text("\n".join(f"w{i}" for i in range(62)))
    assert "62 units, but config.json says vocab_size 61" in refusal(saved)
    tokenizer = {"model": {"vocab": {"a": 0, "b": 60}}, "added_tokens": [{"id": 61}]}
    (saved / "tokenizer.json").write_text(json.dumps(tokenizer))  # goes before vocab.txt
    assert "tokenizer.json: has 62 units" in refusal(saved)
    (saved / "tokenizer.json").write_text('{"model": 3}')
    assert "tokenizer.json: not a tokenizer" in refusal(saved)


def test_a_folder_without_a_model_says_what_is_expected(tmp_path: Path) -> None:
    assert "expected a model folder in Hugging Face layout" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    assert "expected an object, found list" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert "not JSON" in refusal(tmp_path)


def test_a_source_is_a_folder_or_a_folder_in_a_package() -> None:
    assert resolve("some/folder") == Path("some/folder")
    assert (resolve("package://tael/model") / "weights.py").is_file()
    for source, words in (
        ("package://no_such_package/model", "pip install no-such-package"),
        ("package://tael/nothing", "no folder or file 'nothing'"),
        ("package://tael/../..", "expected package://"),
        ("package://os.path/x", "expected package://"),
    ):
        with pytest.raises(UsageError, match=words):
            resolve(source)


def test_opening_leaves_the_file_as_it_was(saved: Path) -> None:
    before = (saved / "model.safetensors").read_bytes()
    network, _ = open_folder(saved)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert (saved / "model.safetensors").read_bytes() == before


def test_a_failed_save_leaves_the_old_weights(
    saved: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (saved / "model.safetensors").read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("tael.model.weights.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_folder(saved, tiny(VocabHead))
    assert (saved / "model.safetensors").read_bytes() == before
    assert not list(saved.glob(".*.part"))
