"""What only one task asks of a recipe."""

from typing import Annotated, Literal

from pydantic import Field

from tael.recipe.section import Section

__all__ = ["Chat", "Embed", "Qa", "Seq2Seq"]


class Embed(Section):
    """How a text becomes a vector, and what vectors learn."""

    pool: Literal["mean", "cls", "last"] = Field(
        "mean", description="Which states make the vector: the mean, the first or the last token's."
    )
    temperature: float = Field(
        0.05, gt=0, description="Cosines are divided by it where texts are told apart."
    )
    weights: bool = Field(
        False,
        description="Learn how much each unit of the vocabulary counts in the mean, from how rare "
        "it is; helps a model that has read little.",
    )
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="Shorter vectors, the first numbers of the whole, that shall do as well."
    )


class Qa(Section):
    """How questions are answered from long texts."""

    stride: int | None = Field(
        None,
        ge=1,
        description="Tokens of the context from the beginning of one window to that of the next; "
        "default: half of what fits a window.",
    )
    longest: int = Field(64, ge=1, description="Most tokens of an answer.")
    match: bool = Field(
        False,
        description="Tell the network which words of the context stand in the question, as "
        "segments; helps one that has read little.",
    )


class Seq2Seq(Section):
    """How one text becomes another."""

    prompt: str | None = Field(
        None,
        pattern=r"\{source\}",
        description="What the model reads, {source} in it; default: the source, for a decoder with "
        "a line end behind it.",
    )
    longest: int = Field(
        128, ge=2, description="Most tokens that are written; longer targets are cut, counted."
    )
    beams: int = Field(1, ge=1, description="Texts that are followed at once; 1: greedily.")
    metric: Literal["bleu", "chrf", "rougeL", "exact_match"] = Field(
        "bleu",
        description="The metric that chooses: bleu or chrf for translations, rougeL for summaries, "
        "exact_match for short answers.",
    )


class Chat(Section):
    """How a conversation is answered."""

    longest: int = Field(256, ge=1, description="Most tokens of an answer that is written.")
