"""The same numbers as transformers for the families after the first ones, both ways."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from family_samples import (
    END,
    GRADIENT,
    close_logits,
    our_answer,
    question,
    shake,
    their_answer,
    transformers,
)
from model_samples import generator
from safetensors import safe_open
from torch.testing import assert_close

from tael.model.families import find
from tael.model.weights import open_folder, save_folder, to_file

Raw = dict[str, Any]


def distilbert(luck: random.Random) -> Raw:
    heads = luck.choice([1, 2, 3])
    return {
        "dim": heads * luck.choice([3, 8]),
        "n_layers": luck.randint(1, 3),
        "n_heads": heads,
        "hidden_dim": luck.randint(9, 40),
        "max_position_embeddings": luck.randint(20, 40),
        "activation": luck.choice(["gelu", "relu"]),
        "sinusoidal_pos_embds": luck.random() < 0.5,
    }


def electra(luck: random.Random) -> Raw:
    heads = luck.choice([1, 2, 3])
    hidden = heads * luck.choice([4, 8])
    return {
        "hidden_size": hidden,
        "embedding_size": luck.choice([hidden, 5, 30]),
        "num_hidden_layers": luck.randint(1, 3),
        "num_attention_heads": heads,
        "intermediate_size": luck.randint(9, 40),
        "max_position_embeddings": luck.randint(20, 40),
        "type_vocab_size": luck.randint(1, 3),
        "hidden_act": luck.choice(["gelu", "relu"]),
    }


def albert(luck: random.Random) -> Raw:
    groups = luck.randint(1, 2)
    return electra(luck) | {
        "num_hidden_layers": groups * luck.randint(1, 3),
        "num_hidden_groups": groups,
        "hidden_act": luck.choice(["gelu_new", "relu"]),
    }


def modernbert(luck: random.Random) -> Raw:
    heads = luck.choice([1, 2, 3])
    biased = luck.random() < 0.5
    return {
        "hidden_size": heads * luck.choice([4, 8]),
        "num_hidden_layers": luck.randint(2, 4),
        "num_attention_heads": heads,
        "intermediate_size": luck.randint(9, 40),
        "max_position_embeddings": 40,
        "local_attention": luck.choice([2, 5, 6]),
        "global_attn_every_n_layers": luck.randint(2, 3),
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 500.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
        },
        "norm_bias": biased,
        "attention_bias": biased,
        "mlp_bias": luck.random() < 0.5,
        "classifier_bias": luck.random() < 0.5,
        "decoder_bias": luck.random() < 0.5,
        "classifier_pooling": luck.choice(["cls", "mean"]),
        "classifier_activation": luck.choice(["gelu", "silu"]),
    }


def llama(luck: random.Random) -> Raw:
    groups = luck.choice([1, 2])
    heads = groups * luck.randint(1, 3)
    return {
        "hidden_size": heads * luck.choice([4, 8]),
        "num_hidden_layers": luck.randint(2, 4),
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "intermediate_size": luck.randint(9, 40),
        "max_position_embeddings": 40,
        "tie_word_embeddings": luck.random() < 0.5,
    }


def gemma2(luck: random.Random) -> Raw:
    return llama(luck) | {
        "head_dim": luck.choice([4, 6]),
        "query_pre_attn_scalar": luck.choice([4, 11]),
        "sliding_window": luck.choice([2, 5]),
        "attn_logit_softcapping": luck.choice([0.5, 2.0, None]),
        "final_logit_softcapping": luck.choice([0.7, 3.0, None]),
        "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
        "attention_bias": luck.random() < 0.5,
    }


def gemma3(luck: random.Random) -> Raw:
    far = luck.choice([{"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0}])
    return gemma2(luck) | {
        "num_hidden_layers": luck.randint(3, 5),
        "sliding_window_pattern": 3,
        "attn_logit_softcapping": None,
        "use_bidirectional_attention": luck.random() < 0.4,
        "rope_parameters": {
            "full_attention": far | {"rope_theta": 500.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
        },
    }


def phi3(luck: random.Random) -> Raw:
    raw = llama(luck)
    share = luck.choice([0.5, 1.0])
    pairs = int(raw["hidden_size"] // raw["num_attention_heads"] * share) // 2
    rope: Raw = {"rope_type": "default"}
    if luck.random() < 0.7:
        rope = {
            "rope_type": "longrope",
            "short_factor": [1 + 0.3 * n for n in range(pairs)],
            "long_factor": [2 + 0.7 * n for n in range(pairs)],
        }
    return raw | {
        "original_max_position_embeddings": luck.choice([8, 30]),  # the samples have 4 to 17
        "rope_parameters": rope | {"rope_theta": 400.0, "partial_rotary_factor": share},
        "sliding_window": luck.choice([None, 3]),
    }


def mt5(luck: random.Random) -> Raw:
    return {
        "d_model": luck.choice([12, 20]),
        "d_kv": luck.choice([3, 5]),
        "d_ff": luck.randint(9, 40),
        "num_layers": luck.randint(1, 2),
        "num_decoder_layers": luck.randint(1, 3),
        "num_heads": luck.randint(1, 3),
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 12,
    }


def bart(luck: random.Random) -> Raw:
    heads = luck.randint(1, 3)
    wide = luck.randint(9, 40)
    return {
        "d_model": heads * luck.choice([4, 8]),
        "encoder_layers": luck.randint(1, 2),
        "decoder_layers": luck.randint(1, 3),
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": wide,
        "decoder_ffn_dim": wide,
        "max_position_embeddings": 40,
        "scale_embedding": luck.random() < 0.5,
        "activation_function": luck.choice(["gelu", "relu"]),
    }


CONFIGS: dict[str, tuple[str, Callable[[random.Random], Raw]]] = {
    "distilbert": ("DistilBertConfig", distilbert),
    "electra": ("ElectraConfig", electra),
    "albert": ("AlbertConfig", albert),
    "modernbert": ("ModernBertConfig", modernbert),
    "gemma2": ("Gemma2Config", gemma2),
    "gemma3_text": ("Gemma3TextConfig", gemma3),
    "phi3": ("Phi3Config", phi3),
    "mt5": ("MT5Config", mt5),
    "mbart": ("MBartConfig", bart),
    "pegasus": ("PegasusConfig", bart),
}
ASKED = {"mt5": "t5", "mbart": "bart", "pegasus": "bart"}  # in the same way as that family
LANGUAGE = ("mlm", "clm", "seq2seq")
CASES = [
    (name, kind)
    for name in CONFIGS
    for kind in find(name).architectures
    if kind != "none" or "pool" not in find(name).architectures
]


def config(name: str, kind: str, seed: int) -> Any:
    luck = random.Random(f"{name} {kind} {seed}")
    file, odd = CONFIGS[name]
    raw = {
        "vocab_size": luck.randint(30, 90),
        "bos_token_id": 1,
        "eos_token_id": END,
        "pad_token_id": 0,
        "decoder_start_token_id": END if name == "mbart" else 0,
        "num_labels": 2 if kind == "qa" else 3,
        "attn_implementation": "eager",  # the only one of theirs that caps scores
    }
    return getattr(transformers, file)(**raw | odd(luck))


def reference(folder: Path, name: str, kind: str, seed: int) -> Any:
    """Save a random model of theirs and return it."""
    torch.manual_seed(seed)
    model = kind_of(name, kind)(config(name, kind, seed)).eval()
    shake(model)
    model.save_pretrained(folder)
    return model


def kind_of(name: str, kind: str) -> Any:
    return getattr(transformers, {**find(name).architectures}[kind])  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "kind", "seed"),
    [(*case, seed) for case in CASES for seed in range(3 if case[1] in LANGUAGE else 1)],
)
def test_logits_and_gradients_equal_those_of_transformers(
    tmp_path: Path, name: str, kind: str, seed: int
) -> None:
    model = reference(tmp_path, name, kind, seed)
    network, report = open_folder(tmp_path)
    assert (report.kind, report.warnings) == (kind, ())
    batch, asked = question(ASKED.get(name, name), model.config.to_dict(), kind)
    expected = their_answer(model, kind, asked)
    found = our_answer(network, kind, batch, asked)
    close_logits(found, expected)
    weights = torch.randn(expected.shape, generator=generator(7))
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    named = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    grown = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    gradients = to_file(network, grown)
    gradients.pop("final_logits_bias", None)  # a constant there
    assert gradients.keys() == named.keys()
    # A key's bias adds the same to all scores of a query: its gradient is 0 but for rounding.
    rounding = 1e-6 * max(float(gradient.abs().max()) for gradient in named.values())
    for their, gradient in gradients.items():
        bound = GRADIENT * float(named[their].abs().max()) + rounding
        assert_close(gradient, named[their], atol=bound, rtol=0, msg=their)


def tensors(folder: Path) -> dict[str, bytes]:
    with safe_open(folder / "model.safetensors", framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 no dict


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_folder_comes_back_byte_for_byte_and_transformers_opens_it(
    tmp_path: Path, name: str, kind: str
) -> None:
    model = reference(tmp_path / "theirs", name, kind, 11)
    network, _ = open_folder(tmp_path / "theirs")
    save_folder(tmp_path / "ours", network)
    before, after = tensors(tmp_path / "theirs"), tensors(tmp_path / "ours")
    sines = name == "pegasus"  # a table of sines is no weight: we leave it out
    assert after == {n: t for n, t in before.items() if not (sines and "embed_positions" in n)}
    again = kind_of(name, kind).from_pretrained(tmp_path / "ours", attn_implementation="eager")
    _, asked = question(ASKED.get(name, name), model.config.to_dict(), kind)
    assert torch.equal(their_answer(again.eval(), kind, asked), their_answer(model, kind, asked))
