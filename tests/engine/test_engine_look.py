"""Logits and hidden states of an opened folder are transformers', padding on either side."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import tael
from tael.errors import UsageError

pytestmark = pytest.mark.slow
transformers = pytest.importorskip("transformers")

VOCAB = 53
SIZES = {"vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 32, "max_position_embeddings": 40}  # fmt: skip
T5 = {"vocab_size": VOCAB, "d_model": 24, "d_kv": 6, "d_ff": 32, "num_layers": 2, "num_heads": 4,
      "decoder_start_token_id": 0}  # fmt: skip


def made(folder: Path, name: str, **raw: Any) -> Any:
    """A random model of theirs, saved."""
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    model = kind(kind.config_class(**raw)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


def texts(*, left: bool) -> tuple[Tensor, Tensor]:
    ids_BT, mask_BT = torch.zeros(3, 9, dtype=torch.int64), torch.zeros(3, 9, dtype=torch.int64)
    for row, size in enumerate((9, 4, 6)):
        at = slice(9 - size, None) if left else slice(0, size)
        ids_BT[row, at] = torch.randint(3, VOCAB, (size,))
        mask_BT[row, at] = 1
    return ids_BT, mask_BT


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("LlamaForCausalLM", {"num_key_value_heads": 2}),
        ("GPT2LMHeadModel", {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 40}),
        ("MistralForCausalLM", {"num_key_value_heads": 2, "sliding_window": 3}),
    ],
)
def test_a_decoders_logits_and_every_layer_are_theirs(
    tmp_path: Path, name: str, more: dict[str, Any], left: bool
) -> None:
    model, loaded = made(tmp_path, name, **SIZES | more), tael.load(tmp_path)
    ids_BT, mask_BT = texts(left=left)
    at_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        theirs = model(
            ids_BT, attention_mask=mask_BT, position_ids=at_BT, output_hidden_states=True
        )
    real_BT = mask_BT.bool()
    assert_close(loaded.logits(ids_BT, mask_BT)[real_BT], theirs.logits[real_BT], atol=1e-4, rtol=0)
    for layer in (*range(len(theirs.hidden_states)), -1, -2):
        found_BTD = loaded.hidden(ids_BT, mask_BT, layer)
        expected_BTD = theirs.hidden_states[layer]
        assert_close(found_BTD[real_BT], expected_BTD[real_BT], atol=1e-4, rtol=0)


def test_an_encoder_reads_a_text_behind_padding_as_one_without(tmp_path: Path) -> None:
    made(tmp_path, "BertForSequenceClassification", **SIZES, num_labels=3)
    loaded = tael.load(tmp_path)
    ids_BT, mask_BT = texts(left=True)
    logits_BC = loaded.logits(ids_BT, mask_BT)
    for ids_T, mask_T, logits_C in zip(ids_BT, mask_BT.bool(), logits_BC, strict=True):
        assert_close(logits_C, loaded.logits(ids_T[mask_T][None])[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("left", [False, True])
def test_an_encoder_decoder_gives_logits_for_what_it_has_written(
    tmp_path: Path, left: bool
) -> None:
    model = made(tmp_path, "T5ForConditionalGeneration", **T5)
    loaded = tael.load(tmp_path)
    ids_BT, mask_BT = texts(left=left)
    decoder_BT = torch.randint(3, VOCAB, (3, 5))
    with torch.no_grad():
        theirs = model(
            ids_BT, attention_mask=mask_BT, decoder_input_ids=decoder_BT, output_hidden_states=True
        )
    found = {
        "logits": loaded.logits(ids_BT, mask_BT, decoder_BT),
        "decoder": loaded.hidden(ids_BT, mask_BT, 1, decoder_BT),
        "encoder": loaded.hidden(ids_BT, mask_BT, 1)[mask_BT.bool()],
    }
    assert_close(found["logits"], theirs.logits, atol=1e-4, rtol=0)
    assert_close(found["decoder"], theirs.decoder_hidden_states[1], atol=1e-4, rtol=0)
    expected = theirs.encoder_hidden_states[1][mask_BT.bool()]
    assert_close(found["encoder"], expected, atol=1e-4, rtol=0)
    with pytest.raises(UsageError, match="needs decoder_ids_BT"):
        loaded.logits(ids_BT, mask_BT)


def test_only_an_encoder_decoder_takes_what_was_written(tmp_path: Path) -> None:
    made(tmp_path, "LlamaForCausalLM", **SIZES)
    ids_BT, _ = texts(left=False)
    with pytest.raises(UsageError, match="does not take decoder_ids_BT"):
        tael.load(tmp_path).logits(ids_BT, None, ids_BT)
    with pytest.raises(UsageError, match=r"layers 0 \(embeddings\) to 2, not -4"):
        tael.load(tmp_path).hidden(ids_BT, layer=-4)
