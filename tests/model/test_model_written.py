"""Networks that were built here are saved as the family that says the same, and opened anywhere."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from family_samples import close_logits, our_answer, question, their_answer, transformers
from model_samples import CONFIG

from tael.errors import CheckpointError
from tael.model.config import ModelConfig, Rescale
from tael.model.families import find
from tael.model.head import HeadKind, VocabHead
from tael.model.network import build
from tael.model.weights import open_folder, save_folder

SIZES = {"vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 6}
LLAMA = find("llama").read(SIZES | {"num_key_value_heads": 2, "intermediate_size": 40})
QWEN3 = find("qwen3").read(SIZES | {"intermediate_size": 40, "head_dim": 8})
GPT2 = find("gpt2").read({"vocab_size": 61, "n_embd": 24, "n_layer": 2, "n_head": 3})
T5 = find("t5").read(
    {"vocab_size": 61, "d_model": 24, "d_ff": 40, "num_layers": 2, "num_heads": 3, "d_kv": 5}
)
LLAMA3 = Rescale("llama3", 8.0, low=1.0, high=4.0, original=16)
CASES: list[tuple[str, HeadKind, ModelConfig]] = [
    ("bert", "mlm", CONFIG),
    ("llama", "clm", LLAMA),
    ("llama", "clm", replace(LLAMA, tied=True, ffn_bias=True, rescale=LLAMA3, dropout=0.1)),
    ("llama", "clm", replace(LLAMA, rescale=Rescale("linear", 4.0), rotary_base=77.0)),
    ("mistral", "clm", replace(LLAMA, window=3)),
    ("qwen2", "clm", replace(LLAMA, qkv_bias=True, window=3, local=(False, True, True))),
    ("qwen3", "clm", QWEN3),
    ("gpt2", "clm", replace(GPT2, activation="relu", tied=False)),
    ("t5", "seq2seq", replace(T5, decoder_layers=3)),
    ("t5", "seq2seq", replace(T5, gated=True, activation="gelu_tanh", tied=False, logit_scale=1.0)),
    ("t5", "seq2seq", replace(T5, gated=True, activation="silu", logit_scale=1.0)),
]


@pytest.mark.parametrize(("family", "kind", "config"), CASES)
def test_transformers_opens_a_network_built_here_with_equal_logits(
    tmp_path: Path, family: str, kind: HeadKind, config: ModelConfig
) -> None:
    network = build(config, VocabHead(config, kind), seed=1).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    save_folder(tmp_path, network)
    auto = {
        "mlm": transformers.AutoModelForMaskedLM, "clm": transformers.AutoModelForCausalLM,
        "seq2seq": transformers.AutoModelForSeq2SeqLM,
    }  # fmt: skip
    model, loading = auto[kind].from_pretrained(tmp_path, output_loading_info=True)
    assert model.config.model_type == family
    assert not any(loading.values())
    batch, asked = question(family, {"vocab_size": 61, "pad_token_id": 0}, kind)
    with torch.no_grad():
        expected = their_answer(model.eval(), kind, asked)
        close_logits(our_answer(network, kind, batch, asked), expected)
    opened, report = open_folder(tmp_path)
    assert report.warnings == ()
    with torch.no_grad():
        assert torch.equal(opened.logits(batch), network.logits(batch))


def test_a_network_that_no_family_says_is_refused_with_the_nearest(tmp_path: Path) -> None:
    odd = replace(LLAMA, position="alibi")
    with pytest.raises(CheckpointError, match="llama cannot have position 'alibi'") as caught:
        save_folder(tmp_path, build(odd, VocabHead(odd, "clm")))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "config.json").exists()
