"""Whether a token teaches as much: the dev loss of both sides after as many real tokens."""

import statistics
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tael.data.tokenizer import load_tokenizer, specials, train_tokenizer
from tael.model.weights import open_folder, save_folder
from tael.recipe.schema import Tokenizer as Units
from tael.task.mlm import MaskedLM
from training import ours
from training.groups import LONGEST, MASK, MEAN, ROW, TEXTS, Sizes, encoder
from training.texts import english, natural, tokens, write_pieces

__all__ = ["quality"]

SIZES, UNITS, STEPS, SEEDS, DEV = Sizes(2, 128, 32), 2000, 300, 3, 200
LEARNING = {"rate": 2e-3, "warmup": 0.1, "schedule": "linear", "decay": 0.01}


def quality(folder: Path, options: Namespace) -> dict[str, Any]:
    """Return the dev loss of both over the seeds, and the mean difference with its error."""
    words = english(options.words)
    lines = [" ".join(words[at : at + 64]) for at in range(0, len(words), 64)]
    tokenizer = train_tokenizer(lines, Units(vocab=UNITS))
    write_pieces(folder / "all.txt", words, tokenizer, natural(MEAN - 2, LONGEST - 2))
    texts = (folder / "all.txt").read_text("utf-8").splitlines(keepends=True)
    (folder / "dev.txt").write_text("".join(texts[:DEV]), "utf-8")
    (folder / "texts.txt").write_text("".join(texts[DEV:]), "utf-8")
    save_folder(folder / "start", encoder(SIZES, tokenizer), tokenizer=tokenizer)
    found: dict[str, list[float]] = {"tael": [], "trainer": []}
    for seed in range(options.seeds):
        theirs, seen = trainer(folder, folder / f"trainer-{seed}", seed)
        found["trainer"].append(dev_loss(folder, theirs))
        mine, own = tael(folder, folder / f"tael-{seed}", seed, seen, options)
        found["tael"].append(dev_loss(folder, mine))
    gaps = [a - b for a, b in zip(found["tael"], found["trainer"], strict=True)]
    error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else None
    return {name: [round(loss, 4) for loss in losses] for name, losses in found.items()} | {
        "tokens": seen,
        "tael_tokens": own,
        "tael_minus_trainer": round(statistics.mean(gaps), 4),
        "standard_error": None if error is None else round(error, 4),
    }


def trainer(folder: Path, out: Path, seed: int) -> tuple[Path, int]:
    """Train with the Trainer; return where the model is, and how many tokens it saw."""
    import transformers

    from training import trainer as side

    rows = [
        {"input_ids": ids, "attention_mask": [1] * len(ids)}
        for ids in tokens(folder / "texts.txt", load_tokenizer(folder / "start"))
    ]
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder / "start")
    collate = side.masked(transformers.AutoTokenizer.from_pretrained(folder / "start"))
    count = _Count()
    side.training(
        model, rows, collate, TEXTS, max_steps=STEPS, seed=seed, learning_rate=LEARNING["rate"],
        weight_decay=LEARNING["decay"], lr_scheduler_type="linear",
        warmup_steps=round(STEPS * 0.1),
    )(count)  # fmt: skip
    model.save_pretrained(out)
    return out, count.seen


def tael(folder: Path, out: Path, seed: int, seen: int, options: Namespace) -> tuple[Path, int]:
    """Train with tael on as many tokens; return where the model is, and how many it saw."""
    tokenizer = load_tokenizer(folder / "start")
    lengths = [len(ids) for ids in tokens(folder / "texts.txt", tokenizer)]
    batch = round(TEXTS * statistics.mean(lengths) / ROW)
    made = ours.recipe(
        folder / "texts.txt",
        folder / "start",
        options,
        data={"max_tokens": ROW},
        pretrain={"batch": batch, "mask": MASK, "steps": round(seen / (batch * ROW * 0.985))}
        | LEARNING,
        seed=seed,
    )
    out.mkdir()
    count = _Count()
    return ours.pretrained(made, folder / "start", tokenizer, out, count), count.seen


class _Count:
    """Adds up the tokens of the steps."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, tokens: int, positions: int) -> None:
        self.seen += tokens


@torch.inference_mode()
def dev_loss(folder: Path, model: Path) -> float:
    """Return the loss a hidden token of the held-out texts, the same ones hidden for all."""
    tokenizer = load_tokenizer(folder / "start")
    network, _ = open_folder(model, head="mlm")
    network.eval()
    learner = MaskedLM(specials(tokenizer), tokenizer.get_vocab_size(), MASK)
    generator = torch.Generator().manual_seed(1)
    total, count = 0.0, 0.0
    texts = [np.array(ids) for ids in tokens(folder / "dev.txt", tokenizer)]
    for start in range(0, len(texts), TEXTS):
        batch = learner.batch([[one] for one in texts[start : start + TEXTS]], ROW, generator)
        total += float(learner.loss(learner.logits(network, batch), batch))
        count += learner.supervised(batch)
    return total / count
