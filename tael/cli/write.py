"""The verbs that write text with a model, or show what it makes of one."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tael.cli.options import Json
from tael.cli.show import show_json, show_lines, show_piece
from tael.errors import DataError, UsageError

if TYPE_CHECKING:
    from tael.engine.ask import Wish
    from tael.model.generate import Written

__all__ = ["generate"]

Model = Annotated[
    Path, typer.Argument(metavar="PATH", help="A model's folder, a run, or a GGUF file.")
]
MaxTokens = Annotated[
    int | None,
    typer.Option(metavar="N", help="Most tokens to write; default: the model's own, or 256."),
]
Temperature = Annotated[
    float | None,
    typer.Option(metavar="X", help="Above 0 draws tokens, more freely the higher it is."),
]
TopK = Annotated[
    int | None, typer.Option(metavar="N", help="Draw from the N likeliest tokens only.")
]
TopP = Annotated[
    float | None, typer.Option(metavar="X", help="Draw from the likeliest with a share of X.")
]
MinP = Annotated[
    float | None,
    typer.Option(metavar="X", help="Not from those X times less likely than the best."),
]
Seed = Annotated[
    int | None, typer.Option(metavar="N", help="The same seed draws the same text; default: any.")
]
Stop = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="End before this; may be given more than once."),
]
Greedy = Annotated[
    bool, typer.Option("--greedy", help="Always take the likeliest token, not the model's way.")
]


def generate(
    path: Model,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="The text to go on from.")] = (
        None
    ),
    prompt_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take the prompt from a file; - is stdin.")
    ] = None,
    max_tokens: MaxTokens = None,
    greedy: Greedy = False,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(metavar="X", help="Above 1 makes what was read less likely.")
    ] = None,
    seed: Seed = None,
    n: Annotated[int, typer.Option("--n", metavar="N", help="How many texts to write.")] = 1,
    stop: Stop = None,
    beams: Annotated[
        int | None, typer.Option(metavar="N", help="Search with N beams at once.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write on from a prompt. Without --greedy as the model's makers let it write."""
    text = _prompt(prompt, prompt_file)
    wish: Wish = {
        "max_tokens": max_tokens, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "stop": stop or [], "n": n, "seed": seed,
    }  # fmt: skip
    wish |= {"beams": beams, "temperature": temperature}
    if greedy:
        if temperature:
            raise UsageError("--greedy and --temperature exclude each other; give one")
        wish |= {"temperature": 0.0, "beams": 1}
    from tael.engine.load import load

    loaded = load(path)
    start = time.perf_counter()
    if as_json:
        written = loaded.generate(text, **wish)
        show_json(_told(written, time.perf_counter() - start))
    elif n > 1 or (beams or 1) > 1:
        for number, one in enumerate(loaded.generate(text, **wish), 1):
            show_lines([f"--- {number} of {n}: {one.end}", one.text] if n > 1 else [one.text])
    else:
        for piece in loaded.stream(text, **wish):
            show_piece(piece.text)
        show_lines([""])


def _prompt(prompt: str | None, file: Path | None) -> str:
    if (prompt is None) == (file is None):
        raise UsageError("give one prompt: --prompt TEXT or --prompt-file FILE")
    if prompt is not None:
        return prompt
    assert file is not None, "one of the two was given"
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 at byte {error.start}; convert it") from error


def _told(written: "Sequence[Written]", seconds: float) -> dict[str, Any]:
    """Return the answer for a script: the first text on top, all of them below."""
    tokens = sum(one.tokens for one in written)
    first = written[0]
    return {
        "text": first.text,
        "end": first.end,
        "prompt_tokens": first.prompt_tokens,
        "tokens": tokens,
        "ends": dict(Counter(one.end for one in written)),
        "seed": first.seed,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "texts": [_one(text) for text in written],
    }


def _one(written: "Written") -> dict[str, Any]:
    told: dict[str, Any] = {"text": written.text, "end": written.end, "tokens": written.tokens}
    if written.score is not None:
        told["score"] = written.score
    if written.complete is not None:
        told["complete"] = written.complete
    return told
