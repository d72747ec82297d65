"""The data room on generated text, beside Hugging Face `datasets` map and `tokenizers`.

    python bench/data.py [--quick] [--megabytes N ...] [--rounds N] [--near]

Both read the same .jsonl, repair white space, control characters and Unicode form, take exact
duplicates out, tokenise with the same tokenizer.json, pack into rows of 128 tokens and save, on
all cores. Half of the rows are Chinese, half English, with words and Chinese clauses about as
often repeated as in reviews; one row in ten is a copy. Each runs in a process of its own, turn
about; memory is the proportional set size of the process and all its children, looked at twenty
times a second.

The last line is JSON: `rows_vs_datasets` (rows a second, tael's over datasets', median over the
rounds, at the largest size), `peak_mb` (tael's, at the largest size), and figures by size. The
same ratio by processor seconds, imports included, is less swayed by other work on the machine.
`--near` adds tael's near-duplicate search, which datasets has none of.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CAPACITY = 128
CORES = len(os.sched_getaffinity(0))
FULL, QUICK = [100, 1000], [4]
Words = tuple[list[str], list[float]]  # names, running sum of frequencies


def main() -> None:
    """Run both at each size, turn about; print a JSON line a run, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 MB, two rounds: under a minute")
    parser.add_argument("--megabytes", nargs="*", type=int, help="sizes; 100 and 1000 by default")
    parser.add_argument("--rounds", type=int, help="at each size; 3 by default, 1 over 500 MB")
    parser.add_argument("--near", action="store_true", help="also with near duplicates taken out")
    parser.add_argument("--scratch", type=Path, help="where the text and the results go")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, folder = options.one
        print(json.dumps(CONTENDERS[name](Path(folder))))
        return
    found: dict[str, Any] = {"cores": CORES}
    names = ["tael", "datasets", *(["tael-near"] if options.near else [])]
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        for size in options.megabytes or (QUICK if options.quick else FULL):
            rounds = options.rounds or (2 if options.quick else 1 if size > 500 else 3)
            found |= one_size(Path(scratch), size, rounds, names)
    print(json.dumps(found))


def one_size(scratch: Path, size: int, rounds: int, names: list[str]) -> dict[str, Any]:
    """Return the figures of one size; those without a size in their name are of the last one."""
    folder = scratch / str(size)
    folder.mkdir()
    rows = generate(folder / "text.jsonl", size * 1_000_000)
    tokenizer(folder)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            runs[name].append(measured(name, folder))
            print(json.dumps({"contender": name, "megabytes": size, **runs[name][-1]}), flush=True)
    tokens = {name: {run["tokens"] for run in some} for name, some in runs.items()}
    assert tokens["tael"] == tokens["datasets"], f"not the same work: {tokens}"
    shutil.rmtree(folder)
    figures: dict[str, Any] = {f"rows_{size}mb": rows}
    for name, some in runs.items():
        seconds = statistics.median(run["seconds"] for run in some)
        key = name.replace("-", "_")
        figures[f"{key}_rows_per_second_{size}mb"] = round(rows / seconds)
        figures[f"{key}_mb_per_second_{size}mb"] = round(size / seconds, 2)
        figures[f"{key}_peak_mb_{size}mb"] = round(statistics.median(r["peak_mb"] for r in some), 1)
    ratios = [
        b["seconds"] / a["seconds"] for a, b in zip(runs["tael"], runs["datasets"], strict=True)
    ]
    figures["rows_vs_datasets"] = round(statistics.median(ratios), 3)
    spent = [b["cpu"] / a["cpu"] for a, b in zip(runs["tael"], runs["datasets"], strict=True)]
    figures["rows_per_cpu_second_vs_datasets"] = round(statistics.median(spent), 3)
    figures["peak_mb"] = figures[f"tael_peak_mb_{size}mb"]
    figures["datasets_peak_mb"] = figures[f"datasets_peak_mb_{size}mb"]
    return figures


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Run a contender in a process of its own; return what it says, and its peak of memory."""
    command = [sys.executable, __file__, "--one", name, str(folder)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, tree_megabytes(process.pid))
        time.sleep(0.05)
    assert process.stdout is not None
    out = process.stdout.read()
    assert process.returncode == 0, f"{name} failed: run `{' '.join(command)}`"
    for left in (folder / "out", folder / "cache"):
        shutil.rmtree(left, ignore_errors=True)
    return {**json.loads(out.splitlines()[-1]), "peak_mb": round(peak, 1)}


def tree_megabytes(pid: int) -> float:
    """Return the proportional set size of a process and all below it."""
    total = 0.0
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += tree_megabytes(int(child))
    except OSError:  # it has just ended
        pass
    return total


def cpu_seconds() -> float:
    """Return the seconds of processor that this process and its ended children have used."""
    return round(sum(os.times()[:4]), 2)


def run_tael(folder: Path, dedup: str = "exact") -> dict[str, Any]:
    """Clean, deduplicate, tokenise and pack with tael."""
    from tokenizers import Tokenizer

    from tael.data.corpus import read_corpus
    from tael.data.pool import workers
    from tael.data.shards import build
    from tael.recipe.schema import Data

    start = time.perf_counter()
    path = folder / "text.jsonl"
    data = Data.model_validate({"train": [path], "clean": {"dedup": dedup}})
    with workers(CORES) as run:
        corpus = read_corpus(folder / "out" / "corpus", [path], data, (), run)
        words = Tokenizer.from_file(str(folder / "tokenizer.json"))
        shard = build(folder / "out" / "rows", corpus, words, CAPACITY, run)
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 3), "cpu": cpu_seconds(), "tokens": shard.tokens}


def run_datasets(folder: Path) -> dict[str, Any]:
    """Do the same with datasets' map and tokenizers, as their courses and scripts do it."""
    import re
    import unicodedata

    import datasets
    from tokenizers import Tokenizer

    datasets.disable_progress_bars()
    start = time.perf_counter()
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    controls, spaces = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]"), re.compile(r"\s+")

    def clean(batch: dict[str, list[str]]) -> dict[str, list[str]]:
        texts = (unicodedata.normalize("NFC", text) for text in batch["text"])
        return {"text": [spaces.sub(" ", controls.sub("", text)).strip() for text in texts]}

    seen: set[int] = set()

    def is_new(batch: dict[str, list[str]]) -> list[bool]:
        keys = [hash(text) for text in batch["text"]]
        return [not (key in seen or seen.add(key)) for key in keys]

    def tokenise(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        found = words.encode_batch(batch["text"], add_special_tokens=False)
        return {"input_ids": [one.ids for one in found]}

    def group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        ids = [token for row in batch["input_ids"] for token in row]
        return {"input_ids": [ids[i : i + CAPACITY] for i in range(0, len(ids), CAPACITY)]}

    text = datasets.load_dataset(
        "json",
        data_files=str(folder / "text.jsonl"),
        split="train",
        cache_dir=str(folder / "cache"),
    )
    text = text.map(clean, batched=True, num_proc=CORES)
    text = text.filter(is_new, batched=True)
    ids = text.map(tokenise, batched=True, num_proc=CORES, remove_columns=["text"])
    rows = ids.map(group, batched=True, num_proc=CORES)
    rows.save_to_disk(str(folder / "out"))
    seconds, cpu = time.perf_counter() - start, cpu_seconds()
    tokens = sum(len(row) for batch in rows.iter(1000) for row in batch["input_ids"])
    return {"seconds": round(seconds, 3), "cpu": cpu, "tokens": tokens}


CONTENDERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "tael": run_tael,
    "tael-near": lambda folder: run_tael(folder, "near"),
    "datasets": run_datasets,
}


def generate(path: Path, size: int) -> int:
    """Write about `size` bytes of rows, half Chinese and half English; return how many."""
    draw = random.Random(13)
    english, chinese = lexicon(draw, 30_000, "en"), lexicon(draw, 20_000, "zh")
    # As in 20,000 shop reviews, two in five of the runs of Han stand there once only.
    common = [clause(draw, chinese, "") for _ in range(20_000)]
    rows = written = 0
    kept: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            if kept and draw.random() < 0.1:
                text = draw.choice(kept)
            else:
                kind = (english, " ", []) if rows % 2 else (chinese, "", common)
                text = document(draw, *kind)
                if len(kept) < 10_000:
                    kept.append(text)
            line = json.dumps({"text": text}, ensure_ascii=False) + "\n"
            written += file.write(line) + sum(2 for c in line if c > "\u07ff")
            rows += 1
    return rows


def lexicon(draw: random.Random, size: int, kind: str) -> Words:
    """Return made-up words, the frequent ones short, and the running sum of their frequencies."""
    words: dict[str, None] = {}
    while len(words) < size:
        length = 1 + min(int(draw.expovariate(0.9)), 3) if kind == "zh" else draw.randint(1, 4)
        if kind == "zh":
            word = "".join(chr(0x4E00 + int(3000 * draw.random() ** 2)) for _ in range(length))
        else:
            sounds = ("", "st", "tr", *"bcdfglmnprst"), ("a", "e", "i", "o", "u", "ea", "ou")
            word = "".join(draw.choice(some) for _ in range(length) for some in sounds)
        words[word] = None
    ordered = sorted(words, key=len)
    total, sums = 0.0, []
    for rank in range(size):
        total += 1 / (rank + 3)  # Zipf's law
        sums.append(total)
    return ordered, sums


def document(draw: random.Random, words: Words, space: str, common: list[str]) -> str:
    """Return clauses of a few words with signs between them; three in five Chinese are common."""
    clauses = []
    for _ in range(draw.randint(3, 40)):
        if common and draw.random() < 0.6:
            clauses.append(common[int(len(common) * draw.random() ** 3)])
        else:
            clauses.append(clause(draw, words, space))
    return space.join(clauses)


def clause(draw: random.Random, words: Words, space: str) -> str:
    some = draw.choices(words[0], cum_weights=words[1], k=draw.randint(1, 12 if space else 4))
    return space.join(some) + draw.choice(",." if space else "，，。！")


def tokenizer(folder: Path) -> None:
    """Train the tokenizer of both on the first rows."""
    from tael.data.tokenizer import train_tokenizer
    from tael.recipe.schema import Tokenizer

    with (folder / "text.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(2000), strict=False)]
    train_tokenizer(texts, Tokenizer(vocab=8000)).save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    main()
