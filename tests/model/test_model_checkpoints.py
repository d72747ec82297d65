"""Folders as they are found: tied, split, old, resized, or of half precision."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from family_samples import (
    HEADS,
    TURNS,
    close_logits,
    odd_config,
    our_answer,
    question,
    shake,
    their_answer,
    theirs,
    transformers,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from tael.errors import CheckpointError
from tael.model.network import Network
from tael.model.weights import Report, open_folder, read_sizes, save_folder

Tensors = dict[str, Tensor]


def edit(folder: Path, change: Callable[[Tensors], Any]) -> None:
    tensors = {name: t.clone() for name, t in load_file(folder / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def same(family: str, kind: str, model: Any, folder: Path) -> tuple[Network, Report]:
    """Open a folder, hold its logits to the model's, and return what was opened."""
    network, report = open_folder(folder)
    batch, asked = question(family, model.config.to_dict(), kind)
    with torch.no_grad():
        expected = their_answer(model, kind, asked)
        close_logits(our_answer(network, kind, batch, asked), expected)
    assert report.kind == kind
    return network, report


EMBEDDINGS = {
    "llama": ("clm", "model.embed_tokens.weight"),
    "gpt2": ("clm", "transformer.wte.weight"),
    "t5": ("seq2seq", "shared.weight"),
    "bart": ("seq2seq", "model.shared.weight"),
}


def tied(family: str, folder: Path) -> tuple[Any, str, str]:
    kind, embedding = EMBEDDINGS[family]
    raw = odd_config(family) | {"tie_word_embeddings": True}
    return theirs(family, kind, raw, folder), kind, embedding


@pytest.mark.parametrize("family", EMBEDDINGS)
def test_a_tied_matrix_that_is_stored_twice_opens_without_a_word(
    tmp_path: Path, family: str
) -> None:
    model, kind, embedding = tied(family, tmp_path)
    edit(tmp_path, lambda t: t.update({"lm_head.weight": t[embedding].clone()}))
    network, report = same(family, kind, model, tmp_path)
    assert report.warnings == ()
    assert network.config.tied


@pytest.mark.parametrize("family", EMBEDDINGS)
def test_a_tied_matrix_that_is_stored_under_its_other_name_opens(
    tmp_path: Path, family: str
) -> None:
    model, kind, embedding = tied(family, tmp_path)
    edit(tmp_path, lambda t: t.update({"lm_head.weight": t.pop(embedding)}))
    _, report = same(family, kind, model, tmp_path)
    assert report.warnings == ()


@pytest.mark.parametrize("family", EMBEDDINGS)
def test_a_matrix_of_scores_that_differs_is_one_of_its_own_whatever_the_config_says(
    tmp_path: Path, family: str
) -> None:
    _, kind, embedding = tied(family, tmp_path)
    edit(
        tmp_path, lambda t: t.update({"lm_head.weight": t[embedding] + 1 / (1 + t[embedding] ** 2)})
    )
    model = getattr(transformers, HEADS[family][kind]).from_pretrained(tmp_path).eval()
    network, report = same(family, kind, model, tmp_path)
    assert not network.config.tied
    assert "tied by its config, but lm_head.weight differs" in report.warnings[0]
    save_folder(tmp_path / "ours", network)
    before, after = (load_file(f / "model.safetensors") for f in (tmp_path, tmp_path / "ours"))
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_embeddings_of_both_stacks_are_one_or_refused(tmp_path: Path, family: str) -> None:
    model, kind, embedding = tied(family, tmp_path)
    names = [
        embedding.replace("shared", f"{stack}.embed_tokens") for stack in ("encoder", "decoder")
    ]
    edit(tmp_path, lambda t: t.update({name: t[embedding].clone() for name in names}))
    assert same(family, kind, model, tmp_path)[1].warnings == ()
    edit(tmp_path, lambda t: t.__delitem__(embedding))
    assert same(family, kind, model, tmp_path)[1].warnings == ()
    edit(tmp_path, lambda t: t.update({names[1]: t[names[1]] + 1}))
    with pytest.raises(CheckpointError, match=f"differs from .*; {family} has one for both"):
        open_folder(tmp_path)


def test_the_scores_of_a_masked_model_are_its_embedding_or_refused(tmp_path: Path) -> None:
    model = theirs("bert", "mlm", odd_config("bert"), tmp_path)
    copies = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    edit(tmp_path, lambda t: t.update({copy: t[name].clone() for copy, name in copies.items()}))
    assert same("bert", "mlm", model, tmp_path)[1].warnings == ()
    edit(tmp_path, lambda t: t.update({name: t[name] + 1 for name in copies}))
    with pytest.raises(CheckpointError, match=r"decoder\.bias differs from"):
        open_folder(tmp_path)


@pytest.mark.parametrize("family", ["roberta", "qwen3", "bart"])
def test_a_folder_that_transformers_split_in_shards_opens(tmp_path: Path, family: str) -> None:
    kind = next(iter(HEADS[family]))
    model = theirs(family, kind, odd_config(family), tmp_path / "whole")
    model.save_pretrained(tmp_path / "split", max_shard_size="20KB")
    assert len(list((tmp_path / "split").glob("*.safetensors"))) > 2
    same(family, kind, model, tmp_path / "split")


@pytest.mark.parametrize(
    ("family", "kind", "rows"),
    [("bert", "mlm", 5), ("llama", "clm", 9), ("gpt2", "clm", -6), ("t5", "seq2seq", 3),
     ("bart", "seq2seq", 7)],
)  # fmt: skip
def test_a_resized_vocabulary_opens(tmp_path: Path, family: str, kind: str, rows: int) -> None:
    model = theirs(family, kind, odd_config(family), tmp_path / "before")
    model.resize_token_embeddings(model.config.vocab_size + rows)
    shake(model)
    model.save_pretrained(tmp_path / "after")
    network, report = same(family, kind, model, tmp_path / "after")
    assert network.config.vocab == odd_config(family)["vocab_size"] + rows
    assert report.warnings == ()


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_where_the_file_has_it(
    tmp_path: Path, family: str, dtype: torch.dtype
) -> None:
    kind, _ = EMBEDDINGS[family]
    model = theirs(family, kind, odd_config(family), tmp_path / "float32").to(dtype)
    model.save_pretrained(tmp_path / "half")
    network, _ = open_folder(tmp_path / "half", dtype=None)
    assert {p.dtype for p in network.parameters()} == {dtype}
    batch, asked = question(family, model.config.to_dict(), kind)
    with torch.no_grad():
        found, expected = network.logits(batch).float(), model(**asked).logits.float()
    if kind == "clm":
        found, expected = (x[asked["attention_mask"] > 0] for x in (found, expected))
    off = (found - expected).abs().mean() / expected.abs().mean()
    assert off < {torch.bfloat16: 0.02, torch.float16: 0.003}[dtype]
    save_folder(tmp_path / "ours", network)
    assert json.loads((tmp_path / "ours/config.json").read_text())["dtype"] == str(dtype)[6:]
    before, after = (load_file(tmp_path / f / "model.safetensors") for f in ("half", "ours"))
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_gpt2_as_first_released_opens(tmp_path: Path) -> None:
    raw = odd_config("gpt2") | {"tie_word_embeddings": True}
    model = theirs("gpt2", "clm", raw, tmp_path)

    def age(tensors: Tensors) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        for n in range(model.config.n_layer):
            tensors[f"h.{n}.attn.bias"] = torch.ones(1, 1, 41, 41).tril()
            tensors[f"h.{n}.attn.masked_bias"] = torch.tensor(-1e4)

    edit(tmp_path, age)
    assert same("gpt2", "clm", model, tmp_path)[1].warnings == ()


def test_stored_sines_and_cosines_are_those_that_are_computed(tmp_path: Path) -> None:
    raw = odd_config("marian")
    model = theirs("marian", "seq2seq", raw, tmp_path)
    table = model.model.encoder.embed_positions.weight
    names = [f"model.{stack}.embed_positions.weight" for stack in ("encoder", "decoder")]
    edit(tmp_path, lambda t: t.update({name: table.clone() for name in names}))
    network, report = same("marian", "seq2seq", model, tmp_path)
    assert report.warnings == ()
    positions = network.body.embedding.positions
    torch.testing.assert_close(positions(None, len(table)), table, atol=1e-7, rtol=0)


@pytest.mark.parametrize("turns", TURNS[1:], ids=lambda turns: str(turns["rope_type"]))
def test_older_words_for_rotary_positions_mean_the_same(
    tmp_path: Path, turns: dict[str, Any]
) -> None:
    model = theirs("llama", "clm", odd_config("llama") | {"rope_parameters": turns}, tmp_path)

    def age(raw: dict[str, Any]) -> None:
        scaling = dict(raw.pop("rope_parameters"))
        raw["rope_theta"] = scaling.pop("rope_theta")
        scaling["type" if scaling["rope_type"] != "llama3" else "rope_type"] = scaling["rope_type"]
        if scaling["rope_type"] != "llama3":
            scaling.pop("rope_type")
        raw["rope_scaling"] = scaling

    edit_config(tmp_path, age)
    edit(
        tmp_path,
        lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}),
    )
    assert same("llama", "clm", model, tmp_path)[1].warnings == ()


def test_positions_beyond_the_trained_length_turn_slower(tmp_path: Path) -> None:
    sizes = {"rope_parameters": TURNS[2], "max_position_embeddings": 12}
    model = theirs("llama", "clm", odd_config("llama") | sizes, tmp_path)
    same("llama", "clm", model, tmp_path)  # texts of 18 tokens
    edit_config(tmp_path, lambda raw: raw.update(max_position_embeddings=43))
    with pytest.raises(AssertionError):
        same("llama", "clm", model, tmp_path)


def test_what_files_leave_unsaid_of_local_layers_means_what_it_does_there(tmp_path: Path) -> None:
    unsaid = ("use_sliding_window", "max_window_layers", "layer_types", "sliding_window")
    for family, window in (("qwen2", None), ("mistral", 4096)):
        raw = odd_config(family) | {"sliding_window": None, "use_sliding_window": False}
        model = theirs(family, "clm", raw, tmp_path / family)
        edit_config(tmp_path / family, lambda raw: [raw.pop(key, None) for key in unsaid])
        network, _ = same(family, "clm", model, tmp_path / family)
        assert network.config.window == window
        own = transformers.AutoConfig.from_pretrained(tmp_path / family)
        assert own.sliding_window == window
    edit_config(tmp_path / "qwen2", lambda raw: raw.update(sliding_window=3))
    assert open_folder(tmp_path / "qwen2")[0].config.window is None


@pytest.mark.parametrize("first", [0, 1, 2])
def test_local_layers_of_older_qwen_files_begin_where_they_say(tmp_path: Path, first: int) -> None:
    sizes = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": first}
    raw = odd_config("qwen2") | sizes | {"num_hidden_layers": 2}
    model = theirs("qwen2", "clm", raw, tmp_path)
    edit_config(tmp_path, lambda raw: raw.__delitem__("layer_types"))
    network, _ = same("qwen2", "clm", model, tmp_path)
    assert [network.config.is_local(n) for n in range(2)] == [n >= first for n in range(2)]


def test_old_norm_names_of_bert_open(tmp_path: Path) -> None:
    model = theirs("bert", "tag", odd_config("bert"), tmp_path)

    def age(tensors: Tensors) -> None:
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            tensors[old.replace("LayerNorm.bias", "LayerNorm.beta")] = tensors.pop(name)

    edit(tmp_path, age)
    assert same("bert", "tag", model, tmp_path)[1].warnings == ()


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("bart", {"decoder_ffn_dim": 7}, "decoder_ffn_dim 7 is not supported"),
        ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True"),
        ("llama", {"rope_parameters": {"rope_type": "yarn"}}, "rope_type 'yarn' is not supported"),
        ("roberta", {"is_decoder": True}, "is_decoder True is not supported"),
        ("t5", {"architectures": ["T5EncoderModel"]}, "T5EncoderModel has one stack"),
    ],
)
def test_what_a_family_cannot_be_here_is_refused(
    tmp_path: Path, family: str, changes: dict[str, Any], words: str
) -> None:
    theirs(family, next(iter(HEADS[family])), odd_config(family), tmp_path)
    edit_config(tmp_path, lambda raw: raw.update(changes))
    with pytest.raises(CheckpointError, match=words) as caught:
        open_folder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("family", "positions"), [("roberta", 41), ("gpt2", 41), ("bart", 40)])
def test_the_length_that_a_model_reads_is_known_before_it_is_opened(
    tmp_path: Path, family: str, positions: int
) -> None:
    kind = next(iter(HEADS[family]))
    theirs(family, kind, odd_config(family), tmp_path)
    assert read_sizes(tmp_path).max_positions == positions
    (tmp_path / "model.safetensors").unlink()
    assert read_sizes(tmp_path).position == "learned"


def test_a_head_that_a_family_lacks_is_refused(tmp_path: Path) -> None:
    theirs("t5", "seq2seq", odd_config("t5"), tmp_path)
    with pytest.raises(CheckpointError, match="t5 has no head 'tag', only seq2seq"):
        open_folder(tmp_path, head="tag", classes=3)


def test_labels_of_tags_are_kept_and_new_ones_are_named(tmp_path: Path) -> None:
    theirs("bert", "tag", odd_config("bert"), tmp_path)
    names = {"0": "O", "1": "B", "2": "I"}
    edit_config(tmp_path, lambda raw: raw.update(id2label=names, own_key={"kept": [1, None]}))
    network, _ = open_folder(tmp_path)
    save_folder(tmp_path / "ours", network)
    raw = json.loads((tmp_path / "ours/config.json").read_text())
    assert (raw["id2label"], raw["own_key"]) == (names, {"kept": [1, None]})
    wider, _ = open_folder(tmp_path, head="tag", classes=5)
    save_folder(tmp_path / "ours", wider)
    assert len(transformers.AutoConfig.from_pretrained(tmp_path / "ours").id2label) == 5
