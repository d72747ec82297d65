"""What a step that writes a checkpoint costs the training loop, beside one that writes none.

    python bench/checkpoint.py [--quick]

A BERT of 4 layers, 256 wide, learns on batches of 32 x 96 tokens; every fifth step hands its state
to the background writer, as `save_every: 5` would. Both kinds of step are timed by the processor
time of the loop's own thread (what the writer's thread takes is told apart), so that other work on
the machine does not count. The last line is JSON: `step_cost` is the median of the writing steps
over the median of the others, minus 1; `first` the same of the first one, which finds its memory.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from tael.model.batch import Batch
from tael.model.config import ModelConfig
from tael.model.head import ClassifyHead
from tael.model.network import build
from tael.recipe.schema import Train
from tael.train import optim
from tael.train.checkpoint import Position
from tael.train.master import Masters
from tael.train.writer import Writer

_EVERY = 5


def main() -> None:
    """Train, time the steps, and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="15 steps instead of 60")
    steps = 15 if parser.parse_args().quick else 60
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        plain, writing, other = time_steps(Path(folder), steps)
    usual = statistics.median(plain)
    print(
        json.dumps(
            {
                "step_cost": round(statistics.median(writing[1:]) / usual - 1, 4),
                "first": round(writing[0] / usual - 1, 4),
                "step_seconds": round(usual, 4),
                "writer_seconds": round(other / len(writing), 4),
            }
        )
    )


def time_steps(root: Path, steps: int) -> tuple[list[float], list[float], float]:
    """Return the seconds of plain and of writing steps, and those of all other threads."""
    config = ModelConfig(vocab=8000, hidden=256, layers=4, heads=4, ffn=1024)
    network = build(config, ClassifyHead(config, 2), 0)
    masters = Masters(network, "bfloat16")
    optimizer = optim.make_optimizer(masters.learned, Train())
    writer, plain, writing = Writer(root, lambda: None), list[float](), list[float]()
    before = time.process_time() - time.thread_time()
    for step in range(1, steps + 1):
        start = time.thread_time()
        cross_entropy(network.logits(batch(step)).float(), torch.zeros(32).long()).backward()
        masters.gather()
        optim.clip(masters.learned, 1.0)
        optim.set_rate(optimizer, 1e-4)
        optimizer.step()
        masters.clear()
        masters.publish()
        if step % _EVERY == 0:
            writer.submit(Position(step), masters.learned, optimizer)
            writing.append(time.thread_time() - start)
        elif step > 2:  # the first ones find their kernels
            plain.append(time.thread_time() - start)
        writer.check()
    writer.close()
    return plain, writing, time.process_time() - time.thread_time() - before


def batch(step: int) -> Batch:
    """Return 32 rows of 96 made-up tokens."""
    ids_BT = torch.randint(5, 8000, (32, 96), generator=torch.Generator().manual_seed(step))
    return Batch(ids_BT, torch.ones_like(ids_BT, dtype=torch.int32), size=32, layout="full")


if __name__ == "__main__":
    main()
