"""What each of tael's habits gains, switched on one after another.

Letters: B rows · T positions · V vocabulary.
"""

import itertools
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tael.data.pack import Plan, pack
from tael.data.tokenizer import load_tokenizer, specials
from tael.model.batch import Batch
from tael.model.network import Network
from tael.model.weights import open_folder
from tael.task.mlm import MaskedLM
from training.groups import MASK, MEAN, ROW, TEXTS, masked, masked_trainers
from training.texts import tokens
from training.turns import Side, Tell, figures, take_turns

__all__ = ["causes"]


@dataclass(frozen=True, slots=True)
class Habits:
    """What a loop does; the Trainer does none of it."""

    packed: bool = False  # several texts a row, instead of padding each to the longest
    at_targets: bool = False  # the head only where a token is hidden
    chunked: bool = False  # the loss never holds all scores in float32


STEPS = {
    "tael's model in a plain loop": Habits(),
    "packed rows": Habits(packed=True),
    "head at the targets": Habits(packed=True, at_targets=True),
    "loss in chunks": Habits(packed=True, at_targets=True, chunked=True),
}


def causes(folder: Path, options: Namespace) -> dict[str, Any]:
    """Return the rates of the Trainer, of a loop that gains one habit at a time, and of tael."""
    _, tael = masked(folder, options)
    tokenizer = load_tokenizer(folder / "start")
    ids = [np.array(one) for one in tokens(folder / "texts.txt", tokenizer)]
    learner = MaskedLM(specials(tokenizer), tokenizer.get_vocab_size(), MASK)
    sides = masked_trainers(folder, tokenizer, options)[:1]
    for name, habits in STEPS.items():
        network, _ = open_folder(folder / "start", head="mlm", dropout=0.1)
        for parameter in network.parameters():
            parameter.data = parameter.data.clone()
        sides.append(Side(name, loop(network, learner, ids, habits)))
    sides.append(
        replace(tael, name="tael's own loop: bfloat16 weights, float32 masters, batches ahead")
    )
    take_turns(sides, warm=options.warm, rounds=options.rounds)
    found: dict[str, Any] = {}
    for before, side in itertools.pairwise([None, *sides]):
        rates = {key: figures(side)[key] for key in ("tokens_per_second", "tokens_per_cpu_second")}
        if before is not None:
            rates["gain_cpu"] = (
                rates["tokens_per_cpu_second"] / figures(before)["tokens_per_cpu_second"]
            )
        found[side.name] = {key: round(value, 3) for key, value in rates.items()}
    return found


def loop(
    network: Network, learner: MaskedLM, texts: list[Any], habits: Habits
) -> Callable[[Tell], None]:
    """Return a training loop with these habits and no others."""

    def work(tell: Tell) -> None:
        torch.manual_seed(0)
        network.train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        for batch in batches(learner, texts, packed=habits.packed):
            with torch.autocast("cpu", torch.bfloat16):
                loss = mean_loss(network, learner, batch, habits)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            tell(batch.tokens, batch.ids_BT.numel())

    return work


def batches(learner: MaskedLM, texts: list[Any], *, packed: bool) -> Iterator[Batch]:
    """Yield batches for ever: 32 texts, or the rows that hold as many tokens."""
    generator = torch.Generator().manual_seed(0)
    lengths = np.array([len(one) for one in texts])
    rows = pack(lengths, ROW) if packed else [np.array([n]) for n in range(len(texts))]
    plan = Plan(np.ones(len(rows)), TEXTS * MEAN // ROW if packed else TEXTS, 0)
    for step in itertools.count():
        yield learner.batch([[texts[n] for n in rows[r]] for r in plan[step]], ROW, generator)


def mean_loss(network: Network, learner: MaskedLM, batch: Batch, habits: Habits) -> Tensor:
    """Return the mean loss of a batch, computed as the habits say."""
    assert batch.where_N is not None
    assert batch.targets is not None
    if habits.chunked:
        return learner.objective(network, batch) / len(batch.targets)
    if habits.at_targets:
        return learner.loss(learner.logits(network, batch), batch) / len(batch.targets)
    logits_BTV = network.logits(replace(batch, where_N=None))
    labels = torch.full((batch.ids_BT.numel(),), -100)
    labels[batch.where_N] = batch.targets
    return F.cross_entropy(logits_BTV.float().flatten(0, 1), labels)
