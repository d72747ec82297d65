"""Random networks that write: theirs, and the same ones here."""

from pathlib import Path
from typing import Any

import torch
from family_samples import odd_config, transformers
from model_samples import generator

from tael.model.network import Network
from tael.model.weights import open_folder

CLASSES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel", "t5": "T5ForConditionalGeneration",
    "bart": "BartForConditionalGeneration", "marian": "MarianMTModel",
}  # fmt: skip


def pair(family: str, folder: Path, seed: int = 0, **more: Any) -> tuple[Any, Network]:
    """A random model of theirs in float64, and the same network here."""
    places = {"n_positions": 200} if family == "gpt2" else {"max_position_embeddings": 200}
    raw = odd_config(family, seed) | places | {"bos_token_id": 1} | more
    if family == "t5":  # transformers 5.23 sizes the decoder's cache by the encoder's layers
        raw["num_decoder_layers"] = raw["num_layers"]
    kind = getattr(transformers, CLASSES[family])
    torch.manual_seed(seed)
    model = kind(kind.config_class(**raw)).double().eval()
    with torch.no_grad():  # large enough for texts that do not repeat one token
        for n, parameter in enumerate(p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator(seed + n)))
    model.save_pretrained(folder)
    return model, open_folder(folder, dtype=None)[0]


def their_texts(model: Any, asked: list[list[int]], **settings: Any) -> list[list[int]]:
    """What transformers writes, padding on its usual side, each up to its end token."""
    both, length = model.config.is_encoder_decoder, max(map(len, asked))
    ids_BT = torch.full((len(asked), length), model.config.pad_token_id)
    mask_BT = torch.zeros_like(ids_BT)
    for row, one in enumerate(asked):
        at = slice(0, len(one)) if both else slice(length - len(one), None)
        ids_BT[row, at], mask_BT[row, at] = torch.tensor(one), 1
    out_BT = model.generate(ids_BT, attention_mask=mask_BT, do_sample=False, **settings)
    found = out_BT[:, 1 if both else length :].tolist()
    return [one[: one.index(2) + 1] if 2 in one else one for one in found]
