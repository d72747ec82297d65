"""What a request for tags and its answer look like."""

from typing import Self

from pydantic import BaseModel, Field, model_validator

from tael.task.tag_data import Scheme

__all__ = ["TagRecord", "response_of"]


class TagRecord(BaseModel):
    """A text, or the tokens into which the caller has cut it."""

    text: str | None = Field(None, description="The text; spans count its characters.")
    tokens: list[str] | None = Field(
        None, description="Its tokens; where they are given, `text` is not read."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.text is None and self.tokens is None:
            raise ValueError("give text or tokens")
        return self


class _Span(BaseModel):
    type: str = Field(description="What it is.")
    start: int = Field(description="Its first character in the text, from 0.")
    end: int = Field(description="The character behind its last one.")
    text: str = Field(description="The characters between.")
    score: float = Field(description="Probability of its most doubtful word.")


class Spans(BaseModel):
    """The spans of a text; with `tokens` also the text they were joined to, and a tag a token."""

    spans: list[_Span] = Field(description="What was found, in order; none overlaps another.")
    text: str | None = Field(None, description="The text that the tokens were joined to.")
    tags: list[str] | None = Field(None, description="A BIO tag for each token.")


class Tags(BaseModel):
    """A tag a word."""

    tokens: list[str] = Field(description="The words.")
    tags: list[str] = Field(description="A tag for each.")
    scores: list[float] = Field(description="The probability of each.")


def response_of(scheme: Scheme) -> type[BaseModel]:
    """Return what one answer looks like."""
    return Spans if scheme == "spans" else Tags
