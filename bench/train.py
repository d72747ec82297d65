"""Training, beside the Trainer of transformers and a loop in the manner of nanoGPT.

    python bench/train.py [--quick] [--only mlm clm lora] [--rounds N] [--threads N]
    python bench/train.py --causes | --quality | --profile

The same model, data and effective batch on every side; each loop runs as its users run it, all in
one process, in turns of a step, after first steps that do not count. A figure is real tokens a
second, padding left out, tael's over the other's: the median over the rounds of each round's
ratio, since neighbours in time share what else the machine does; `*_cpu` is the same of processor
seconds. `gemm_share`: the operations that teach, over the best rate of this machine, measured in
the same run, at the model's own matrix products. The last line is JSON.

MLM is 6 x 384 with BERT's vocabulary, texts of 88 tokens on average, 32 a step; causal LM 6 x 384
with 8,000 units, 12 blocks of 256 a step; both with the dropout they were published with, 0.1. LoRA
of rank 8 on the packaged MiniLM, texts of 88 tokens, 32 a step. Trainer: bfloat16, otherwise its
defaults; `grouped` adds what its documentation recommends for speed, compiled too where that wins.
The loop runs plain and compiled; its better form counts. Texts are the shared English ones
(TAEL_DATA), or drawn where they are absent.
"""

import argparse
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from training import groups
from training.causes import causes
from training.groups import Sizes
from training.profile import shares
from training.quality import quality
from training.texts import shared


def look(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return where tael's steps spend their time."""
    found = {}
    for name, made in (("mlm", groups.masked), ("clm", groups.causal)):
        if name in options.only:
            (folder / name).mkdir()
            _, tael = made(folder / name, options)
            found[name] = shares(tael.work, options.warm, options.rounds)
    return found


GROUPS = {"mlm": groups.mlm, "clm": groups.clm, "lora": groups.lora}
ASIDE = {"causes": causes, "quality": quality, "profile": look}
FULL, TINY = Sizes(6, 384, 32), Sizes(2, 32, 16)


def main() -> None:
    """Measure each group, turn about; print a JSON line a group, and one for all."""
    options = arguments()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    found: dict[str, Any] = {
        "threads": options.threads, "rounds": options.rounds, "machine": machine(),
        "texts": "shared" if shared() else "drawn",
    }  # fmt: skip
    names = [name for name in ASIDE if getattr(options, name)] or options.only
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            result = (GROUPS | ASIDE)[name](Path(folder), options)
        print(json.dumps({name: result}), flush=True)
        if name in GROUPS:
            found |= {key: value for key, value in result.items() if not isinstance(value, dict)}
            result = {key: value for key, value in result.items() if isinstance(value, dict)}
        found[name] = result
    print(json.dumps(found))


def arguments(line: list[str] | None = None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="3 rounds; the Trainer is not compiled"
    )
    parser.add_argument("--only", nargs="*", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--rounds", type=int, help="that count; 12 by default")
    parser.add_argument("--warm", type=int, default=2, help="first steps that do not count")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="nothing is")
    parser.add_argument("--causes", action="store_true", help="the gain, one habit at a time")
    parser.add_argument("--quality", action="store_true", help="dev loss after as many tokens")
    parser.add_argument("--seeds", type=int, default=3, help="of --quality")
    parser.add_argument("--profile", action="store_true", help="where a step spends its time")
    parser.add_argument("--alone", action="store_true", help="tael's side only, without the peers")
    parser.add_argument("--tiny", action="store_true", help="a toy model: does it run at all?")
    options = parser.parse_args(line)
    options.rounds = options.rounds or (3 if options.quick else 12)
    options.sizes, options.words = (TINY, 20_000) if options.tiny else (FULL, 300_000)
    return options


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    from tael.machine.probe import describe

    return dict(describe())


if __name__ == "__main__":
    main()
