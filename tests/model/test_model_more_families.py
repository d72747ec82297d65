"""The same numbers as transformers for the families after the first ones, both ways."""

import itertools
import json
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

from tael.model.batch import Batch
from tael.model.cache import Cache
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


def config(name: str, kind: str, seed: int, **more: Any) -> Any:
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
    return getattr(transformers, file)(**raw | odd(luck) | more)


def reference(folder: Path, name: str, kind: str, seed: int, **more: Any) -> Any:
    """Save a random model of theirs and return it."""
    torch.manual_seed(seed)
    model = kind_of(name, kind)(config(name, kind, seed, **more)).eval()
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


SIZES = {"vocab_size": 0, "hidden_size": 0, "num_hidden_layers": 0, "num_attention_heads": 0}
PUBLISHED: dict[str, tuple[Raw, int]] = {  # as the files on the hub say it, older spellings too
    "distilbert": ({"vocab_size": 30522, "dim": 768, "n_layers": 6, "n_heads": 12,
                    "hidden_dim": 3072, "tie_weights_": True}, 66_362_880),
    "electra": (SIZES | {"vocab_size": 30522, "embedding_size": 128, "hidden_size": 256,
                         "num_hidden_layers": 12, "num_attention_heads": 4,
                         "intermediate_size": 1024}, 13_483_008),
    "albert": (SIZES | {"vocab_size": 30000, "hidden_size": 768, "num_hidden_layers": 12,
                        "num_attention_heads": 12, "intermediate_size": 3072,
                        "hidden_act": "gelu_new", "num_memory_blocks": 0}, 11_092_992),
    "modernbert": (SIZES | {"vocab_size": 50368, "hidden_size": 768, "num_hidden_layers": 22,
                            "num_attention_heads": 12, "intermediate_size": 1152,
                            "pad_token_id": 50283, "global_attn_every_n_layers": 3,
                            "global_rope_theta": 160000.0, "local_rope_theta": 10000.0},
                   149_014_272),
    "gemma2": (SIZES | {"vocab_size": 256000, "hidden_size": 2304, "num_hidden_layers": 26,
                        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
                        "intermediate_size": 9216, "rope_theta": 10000.0,
                        "hidden_act": "gelu_pytorch_tanh"}, 2_614_341_888),
    "gemma3_text": (SIZES | {"vocab_size": 262144, "hidden_size": 1152, "num_hidden_layers": 26,
                             "num_attention_heads": 4, "num_key_value_heads": 1,
                             "head_dim": 256, "intermediate_size": 6912, "rope_scaling": None,
                             "rope_theta": 1000000, "rope_local_base_freq": 10000,
                             "sliding_window": 512, "sliding_window_pattern": 6}, 999_885_952),
    "phi3": (SIZES | {"vocab_size": 32064, "hidden_size": 3072, "num_hidden_layers": 32,
                      "num_attention_heads": 32, "num_key_value_heads": 32,
                      "intermediate_size": 8192, "max_position_embeddings": 131072,
                      "original_max_position_embeddings": 4096, "rope_theta": 10000.0,
                      "sliding_window": 262144, "rope_scaling": {
                          "type": "su", "short_factor": [1.0] * 48, "long_factor": [1.1] * 48}},
             3_821_079_552 - 32064 * 3072),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_count_to_the_published_sizes(name: str) -> None:
    raw, size = PUBLISHED[name]
    assert find(name).read(raw).parameters() == size


def test_older_spellings_mean_what_the_newer_ones_do() -> None:
    modern = find("modernbert").read(PUBLISHED["modernbert"][0])
    assert (modern.rotary_base, modern.rotary_base_local) == (160_000.0, 10_000.0)
    assert modern.local is not None
    assert modern.local[:4] == (False, True, True, False)
    gemma = find("gemma3_text").read(PUBLISHED["gemma3_text"][0])
    assert (gemma.rotary_base, gemma.rotary_base_local) == (1_000_000.0, 10_000.0)
    assert gemma.local is not None
    assert gemma.local[:7] == (True,) * 5 + (False, True)
    older = PUBLISHED["phi3"][0]
    newer = older | {"rope_scaling": older["rope_scaling"] | {"type": "longrope"}}
    assert find("phi3").read(older) == find("phi3").read(newer)


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text", "phi3"])
@pytest.mark.parametrize("seed", range(3))
def test_a_cache_changes_nothing(tmp_path: Path, name: str, seed: int) -> None:
    """Through local layers with a base of their own, caps and stretched positions.

    Longer texts than were trained are so from the first pass on: what is kept is not turned again.
    """
    causal = {"use_bidirectional_attention": False} if name == "gemma3_text" else {}
    model = reference(tmp_path, name, "clm", seed, **causal)
    network, _ = open_folder(tmp_path)
    ids_BT = torch.randint(3, model.config.vocab_size, (2, 14), generator=generator())
    whole = Batch(ids_BT, torch.ones_like(ids_BT).int(), layout="full")
    with torch.inference_mode():
        expected = network.logits(whole)
        cache = Cache(network.config, 2, 14)
        found = []
        for start, stop in itertools.pairwise([0, 9, 10, 12, 13, 14]):
            part_BT = ids_BT[:, start:stop]
            at_BT = torch.arange(start, stop).expand(2, -1)
            real_BT = torch.ones_like(part_BT).int()
            step = Batch(part_BT, real_BT, positions_BT=at_BT, layout="full")
            found.append(network.logits(step, cache))
    assert_close(torch.cat(found, dim=1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("told", [True, False])
def test_a_matrix_of_scores_of_its_own_is_used_whatever_the_config_says(
    tmp_path: Path, told: bool
) -> None:
    model = reference(tmp_path, "modernbert", "mlm", 5, tie_word_embeddings=False)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": not told}))
    network, report = open_folder(tmp_path)
    assert any("decoder.weight differs" in line for line in report.warnings) != told
    batch, asked = question("modernbert", model.config.to_dict(), "mlm")
    close_logits(our_answer(network, "mlm", batch, asked), their_answer(model, "mlm", asked))
