"""Small random models of transformers' for every family and head, and questions to both."""

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from model_samples import generator, padded
from torch import Tensor

from tael.model.batch import Batch
from tael.model.network import Network

transformers = pytest.importorskip("transformers")

LOGITS = 1e-4  # float32: the order of sums differs; times the mean logit where that is above 1
GRADIENT = 1e-3  # of the largest gradient of a tensor
ENCODERS = {
    "mlm": "ForMaskedLM", "classify": "ForSequenceClassification",
    "tag": "ForTokenClassification", "qa": "ForQuestionAnswering", "pool": "Model",
}  # fmt: skip
DECODERS = {"clm": "ForCausalLM", "none": "Model"} | {k: ENCODERS[k] for k in ("classify", "tag")}
READERS = {"seq2seq": "ForConditionalGeneration", "none": "Model"}
HEADS: dict[str, dict[str, str]] = {
    "bert": {kind: f"Bert{name}" for kind, name in ENCODERS.items()},
    "roberta": {kind: f"Roberta{name}" for kind, name in ENCODERS.items()},
    "xlm-roberta": {"mlm": "XLMRobertaForMaskedLM", "pool": "XLMRobertaModel"},
    "llama": {k: f"Llama{n}" for k, n in DECODERS.items()} | {"qa": "LlamaForQuestionAnswering"},
    "mistral": {"clm": "MistralForCausalLM", "qa": "MistralForQuestionAnswering"},
    "qwen2": {"clm": "Qwen2ForCausalLM", "qa": "Qwen2ForQuestionAnswering"},
    "qwen3": {k: f"Qwen3{n}" for k, n in DECODERS.items()},
    "gpt2": {k: f"GPT2{n}" for k, n in DECODERS.items()} | {
        "clm": "GPT2LMHeadModel", "qa": "GPT2ForQuestionAnswering"},
    "t5": {k: f"T5{n}" for k, n in READERS.items()} | {
        "classify": "T5ForSequenceClassification", "qa": "T5ForQuestionAnswering"},
    "bart": {k: f"Bart{n}" for k, n in READERS.items()} | {
        "classify": "BartForSequenceClassification", "qa": "BartForQuestionAnswering"},
    "marian": {"seq2seq": "MarianMTModel"},
}  # fmt: skip
CASES = [(family, kind) for family, kinds in HEADS.items() for kind in kinds]
TURNS: list[dict[str, Any]] = [  # rotary positions, as config files say them
    {"rope_type": "default", "rope_theta": 300.0},
    {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.5},
    {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 3.0},
    {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
     "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
]  # fmt: skip
BOTH = ("t5", "bart", "marian")
END = 2  # the id that ends a text


def odd_config(family: str, seed: int = 0) -> dict[str, Any]:
    """Sizes that no two parts share, and every part that a family may have or not."""
    luck = random.Random(f"{family} {seed}")
    vocab = luck.randint(50, 120)
    groups, repeat = luck.choice([(1, 3), (2, 2), (3, 2), (5, 1)])
    heads, width = groups * repeat, luck.choice([6, 8, 10])
    raw: dict[str, Any] = {"num_labels": 3, "pad_token_id": 0, "eos_token_id": END}
    raw |= _sizes(family, luck, vocab, heads, width)
    if family in ("llama", "mistral", "qwen2", "qwen3"):
        raw |= {"num_key_value_heads": groups, "tie_word_embeddings": luck.random() < 0.5}
        raw |= _decoder_parts(family, luck, raw["num_hidden_layers"])
    if family in ("bert", "roberta", "xlm-roberta"):
        raw |= {"layer_norm_eps": luck.choice([1e-12, 1e-5]), "type_vocab_size": 1 + seed % 2}
        raw |= {"pad_token_id": 0 if family == "bert" else 1}
    return raw


def _decoder_parts(family: str, luck: random.Random, layers: int) -> dict[str, Any]:
    window = {"sliding_window": luck.choice([None, 3, 6])}
    if family == "llama":
        return {
            "attention_bias": luck.random() < 0.5, "mlp_bias": luck.random() < 0.5,
            "head_dim": luck.choice([None, 4]), "rope_parameters": luck.choice(TURNS),
        }  # fmt: skip
    if family == "mistral":
        return window | {"head_dim": luck.choice([None, 4])}
    window |= {"use_sliding_window": window["sliding_window"] is not None}
    window |= {"max_window_layers": luck.randint(0, layers)}
    return window | ({} if family == "qwen2" else {"head_dim": luck.choice([12, 4])})


def _sizes(family: str, luck: random.Random, vocab: int, heads: int, width: int) -> dict[str, Any]:
    layers, ffn = luck.randint(1, 3), luck.randint(9, 60)
    bend = luck.choice(["gelu", "gelu_new", "relu", "silu"])
    if family == "gpt2":
        return {
            "vocab_size": vocab, "n_embd": heads * width, "n_layer": layers, "n_head": heads,
            "n_inner": luck.choice([None, ffn]), "n_positions": 41, "activation_function": bend,
            "tie_word_embeddings": luck.random() < 0.5, "bos_token_id": 1,
        }  # fmt: skip
    if family == "t5":
        return {
            "vocab_size": vocab, "d_model": 24, "d_kv": 5, "d_ff": ffn, "num_heads": heads,
            "num_layers": layers, "num_decoder_layers": luck.randint(1, 3),
            "relative_attention_num_buckets": 10, "relative_attention_max_distance": 15,
            "feed_forward_proj": luck.choice(["relu", "gated-gelu", "gated-silu"]),
            "tie_word_embeddings": luck.random() < 0.5, "decoder_start_token_id": 0,
        }  # fmt: skip
    if family in ("bart", "marian"):
        return {
            "vocab_size": vocab, "d_model": heads * width, "encoder_layers": layers,
            "decoder_layers": luck.randint(1, 3), "encoder_attention_heads": heads,
            "decoder_attention_heads": heads, "encoder_ffn_dim": ffn, "decoder_ffn_dim": ffn,
            "activation_function": bend, "scale_embedding": luck.random() < 0.5,
            "max_position_embeddings": 40, "decoder_start_token_id": 2,
        }  # fmt: skip
    return {
        "vocab_size": vocab, "hidden_size": heads * width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": ffn, "max_position_embeddings": 43,
        "hidden_act": bend,
    }  # fmt: skip


def theirs(family: str, kind: str, raw: Mapping[str, Any], folder: Path) -> Any:
    """Save a random model of transformers' and return it."""
    kind_of = getattr(transformers, HEADS[family][kind])
    torch.manual_seed(raw["vocab_size"])
    raw = {**raw, "num_labels": 2 if kind == "qa" else raw["num_labels"]}
    model = kind_of(kind_of.config_class(**raw)).eval()
    shake(model)
    model.save_pretrained(folder)
    return model


def shake(model: Any) -> None:
    """Move every weight, biases and norms too: at 0 and 1 they would hide mistakes."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape))
        for name, buffer in model.named_buffers():
            if name.endswith("final_logits_bias"):
                buffer.add_(torch.randn(buffer.shape))


def question(family: str, raw: Mapping[str, Any], kind: str) -> tuple[Batch, dict[str, Tensor]]:
    """Return texts of unequal lengths, for us and for them."""
    texts = [torch.randint(3, raw["vocab_size"], (n,), generator=generator(n)) for n in (9, 4, 17)]
    texts = [torch.cat([text, torch.tensor([END])]) for text in texts]
    batch = padded(texts, pad=raw["pad_token_id"])
    asked = {"input_ids": batch.ids_BT, "attention_mask": (batch.documents_BT > 0).long()}
    if family not in BOTH:
        if raw.get("type_vocab_size", 0) > 1:
            types_BT = torch.randint(
                0, raw["type_vocab_size"], batch.ids_BT.shape, generator=generator()
            )
            asked |= {"token_type_ids": types_BT}
            batch = replace(batch, types_BT=types_BT)
        return batch, asked
    if kind in ("classify", "qa"):  # the decoder reads the source again, shifted by one
        start = torch.full((len(texts), 1), raw["decoder_start_token_id"])
        ids_BT = torch.cat([start, batch.ids_BT[:, :-1]], dim=1)
        asked |= {"decoder_input_ids": ids_BT} if family == "t5" and kind == "qa" else {}
        return Batch(ids_BT, batch.documents_BT, layout="padded", source=batch), asked
    ids_BT = torch.randint(3, raw["vocab_size"], (len(texts), 7), generator=generator())
    documents_BT = torch.ones_like(ids_BT).int()
    asked |= {"decoder_input_ids": ids_BT}
    return Batch(ids_BT, documents_BT, layout="full", source=batch), asked


def their_answer(model: Any, kind: str, asked: Mapping[str, Tensor]) -> Tensor:
    """Return their scores: one row a text, or one row a token that is no padding."""
    out = model(**asked)
    if kind == "pool":
        return out.pooler_output  # type: ignore[no-any-return]
    scores = out.last_hidden_state if kind == "none" else _scores(out, kind)
    return _real(scores, kind, asked)


def our_answer(network: Network, kind: str, batch: Batch, asked: Mapping[str, Tensor]) -> Tensor:
    """Return our scores, in the same shape."""
    scores = network(batch) if kind == "none" else network.logits(batch)
    return _real(scores, kind, asked)


def _scores(out: Any, kind: str) -> Tensor:
    if kind == "qa":
        return torch.stack([out.start_logits, out.end_logits], dim=-1)
    return out.logits  # type: ignore[no-any-return]


def _real(scores: Tensor, kind: str, asked: Mapping[str, Tensor]) -> Tensor:
    if kind in ("classify", "pool") or scores.shape[1] != asked["attention_mask"].shape[1]:
        return scores
    return scores[asked["attention_mask"] > 0]


def close_logits(found: Tensor, expected: Tensor) -> None:
    """Hold the bound on scores."""
    bound = LOGITS * max(1.0, float(expected.detach().abs().mean()))
    torch.testing.assert_close(found, expected, atol=bound, rtol=0)
