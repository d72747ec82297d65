"""The verbs that write text with a model, or show what it makes of one."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from tael.cli.options import Json, Quiet
from tael.cli.show import asked_lines, show_json, show_lines, show_piece
from tael.cli.wishes import (
    Beams,
    Bits,
    Draft,
    Frequency,
    Greedy,
    Logprobs,
    MaxTokens,
    MinP,
    Model,
    N,
    Presence,
    Prompt,
    PromptFile,
    Regex,
    Repetition,
    Schema,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
)
from tael.errors import DataError, UsageError

if TYPE_CHECKING:
    from tael.engine.ask import Wish
    from tael.engine.loaded import Loaded
    from tael.model.generate import Piece, Written

__all__ = ["chat", "generate", "hidden"]


def generate(
    path: Model,
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    max_tokens: MaxTokens = None,
    greedy: Greedy = False,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: Repetition = None,
    presence_penalty: Presence = None,
    frequency_penalty: Frequency = None,
    seed: Seed = None,
    n: N = 1,
    stop: Stop = None,
    beams: Beams = None,
    logprobs: Logprobs = None,
    schema: Schema = None,
    regex: Regex = None,
    draft: Draft = None,
    bits: Bits = None,
    as_json: Json = False,
) -> None:
    """Write on from a prompt. Without --greedy as the model's makers let it write."""
    text = _text(prompt, prompt_file)
    wish: Wish = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "min_p": min_p, "repetition_penalty": repetition_penalty, "stop": stop or [], "n": n,
        "seed": seed, "beams": beams, "logprobs": logprobs, "regex": regex,
        "presence_penalty": presence_penalty, "frequency_penalty": frequency_penalty,
        "schema": None if schema is None else _read(schema),
    }  # fmt: skip
    if greedy:
        wish |= _greedy(temperature)
    from tael.engine.load import load

    loaded = load(path, bits=_bits(bits))
    if draft is not None:
        wish["draft"] = draft if draft == "lookup" else load(draft)
    if as_json:
        start = time.perf_counter()
        written = loaded.generate(text, **wish)
        show_json(_told(loaded, written, time.perf_counter() - start))
    elif n > 1:
        for number, one in enumerate(loaded.generate(text, **wish), 1):
            show_lines([f"--- {number} of {n}: {one.end}", one.text])
    else:
        _show(loaded.stream(text, **wish))


def chat(
    path: Model,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the model is told before all else.")
    ] = None,
    max_tokens: MaxTokens = None,
    greedy: Greedy = False,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: Repetition = None,
    seed: Seed = None,
    bits: Bits = None,
) -> None:
    """Talk with a model, a line a turn. Ctrl-D ends; from a pipe, each line of stdin is a turn."""
    wish: Wish = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "min_p": min_p, "repetition_penalty": repetition_penalty, "seed": seed,
    }  # fmt: skip
    if greedy:
        wish |= _greedy(temperature)
    from tael.engine.load import load

    loaded = load(path, bits=_bits(bits))
    messages = [{"role": "system", "content": system}] if system else []
    loaded.chat_ids([*messages, {"role": "user", "content": ""}])  # refused before a line is typed
    for line in asked_lines():
        messages.append({"role": "user", "content": line})
        answer = _show(loaded.stream(loaded.chat_ids(messages), **wish))
        messages.append({"role": "assistant", "content": answer})


def hidden(
    path: Model,
    *,
    source: Annotated[Path, typer.Option("--in", metavar="FILE", help="The texts to read.")],
    target: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="Gets the vectors: .npy or .safetensors."),
    ],
    layer: Annotated[
        int, typer.Option(metavar="N", help="0: the embeddings; -1: the last, after its norm.")
    ] = -1,
    pool: Annotated[
        str,
        typer.Option(metavar="HOW", help="One vector a text: mean, first or last; none: a token."),
    ] = "mean",
    column: Annotated[
        str, typer.Option(metavar="NAME", help="The column with the texts.")
    ] = "text",
    quiet: Quiet = False,
) -> None:
    """Write what a layer of a model makes of each text of a file."""
    from tael.cli.show import show_counts
    from tael.road.hidden import Pool
    from tael.road.hidden import hidden as write_hidden

    counts = write_hidden(path, source, target, layer=layer, pool=cast("Pool", pool), column=column)
    if not quiet:
        show_counts(target, counts)


def _show(pieces: "Iterator[Piece]") -> str:
    """Show a text while it is written, and return it."""
    text = ""
    for piece in pieces:
        text += piece.text
        show_piece(piece.text)
    show_lines([""])
    return text


def _text(prompt: str | None, file: Path | None) -> str:
    if prompt is not None and file is None:
        return prompt
    if prompt is not None or file is None:
        raise UsageError("give one prompt: --prompt TEXT or --prompt-file FILE")
    return sys.stdin.read() if str(file) == "-" else _read(file)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 at byte {error.start}; convert it") from error


def _greedy(temperature: float | None) -> "Wish":
    if temperature:
        raise UsageError("--greedy and --temperature exclude each other; give one")
    return {"temperature": 0.0, "beams": 1}


def _bits(bits: int | None) -> Literal[4, 8] | None:
    if bits not in (None, 4, 8):
        raise UsageError(f"--bits must be 4 or 8, found {bits}")
    return cast(Literal[4, 8] | None, bits)


def _told(loaded: "Loaded", written: "Sequence[Written]", seconds: float) -> dict[str, Any]:
    """Return the answer for a script: the first text on top, all of them below."""
    tokens = sum(one.tokens for one in written)
    return {
        "text": written[0].text,
        "end": written[0].end,
        "prompt_tokens": written[0].prompt_tokens,
        "tokens": tokens,
        "ends": dict(Counter(one.end for one in written)),
        "seed": written[0].seed,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "texts": [_one(loaded, text) for text in written],
    }


def _one(loaded: "Loaded", written: "Written") -> dict[str, Any]:
    told: dict[str, Any] = {"text": written.text, "end": written.end, "tokens": written.tokens}
    if written.score is not None:
        told["score"] = written.score
    if written.complete is not None:
        told["complete"] = written.complete
    if written.logprobs is not None:
        spell = loaded.worded().id_to_token
        told["logprobs"] = [
            {
                "token": spell(scored.id),
                "logprob": scored.logprob,
                "top": [{"token": spell(id_), "logprob": value} for id_, value in scored.top],
            }
            for scored in written.logprobs
        ]
    return told
