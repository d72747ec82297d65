"""What a request for vectors and its answer look like."""

from pydantic import BaseModel, Field

__all__ = ["EmbedPair", "EmbedTriple", "Embedded"]

_OTHER = "Another text, to compare with the first."


class EmbedPair(BaseModel):
    """A text, and perhaps one to compare it with."""

    text: str = Field(description="The text.")
    text_pair: str | None = Field(None, description=_OTHER)


class EmbedTriple(EmbedPair):
    """A text, and perhaps one or two to compare it with."""

    negative: str | None = Field(None, description=_OTHER)


class Embedded(BaseModel):
    """Of one text its vector; of two how alike they are; of three which one is nearer."""

    vector: list[float] | None = Field(None, description="Vector of a single text, of length 1.")
    score: float | None = Field(None, description="Cosine of two texts, -1 to 1.")
    vectors: list[list[float]] | None = Field(
        None, description="Vectors of both, where the model was made to find pairs."
    )
    nearer: int | None = Field(None, description="Which of the other two is nearer: 1 or 2.")
    scores: list[float] | None = Field(None, description="Cosines with each of the other two.")
