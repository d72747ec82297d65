"""The options of the verbs that write text, each described once."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Beams", "Bits", "Draft", "Frequency", "Greedy", "Logprobs", "MaxTokens", "MinP", "Model", "N",
    "Presence", "Prompt", "PromptFile", "Regex", "Repetition", "Schema", "Seed", "Stop",
    "Temperature", "TopK", "TopP",
]  # fmt: skip

Model = Annotated[
    # No Path: that would make one slash of the two in package:// and hub://.
    str, typer.Argument(metavar="PATH", help="A model's folder, a run, or a GGUF file.")
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
Repetition = Annotated[
    float | None, typer.Option(metavar="X", help="Above 1 makes what was read less likely.")
]
Bits = Annotated[
    int | None, typer.Option(metavar="N", help="Make its matrices small first: 4 or 8 bits.")
]
Greedy = Annotated[
    bool, typer.Option("--greedy", help="Always take the likeliest token, not the model's way.")
]
Prompt = Annotated[str | None, typer.Option(metavar="TEXT", help="The text to go on from.")]
PromptFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Take the prompt from a file; - is stdin.")
]
Presence = Annotated[
    float | None, typer.Option(metavar="X", help="Taken off each token that was written.")
]
Frequency = Annotated[
    float | None, typer.Option(metavar="X", help="The same, as often as it was written.")
]
N = Annotated[int, typer.Option("--n", metavar="N", help="How many texts to write.")]
Beams = Annotated[int | None, typer.Option(metavar="N", help="Search with N beams at once.")]
Logprobs = Annotated[
    int | None,
    typer.Option(metavar="N", help="With --json: each token's chance, and the N likeliest."),
]
Schema = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write JSON that fits this JSON schema.")
]
Regex = Annotated[
    str | None, typer.Option(metavar="PATTERN", help="Write text that matches as a whole.")
]
Draft = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="Let a small model guess ahead; lookup: the text itself."),
]
