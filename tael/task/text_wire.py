"""What a request for a text's likelihood and its answer look like."""

from pydantic import BaseModel, Field

__all__ = ["Likelihood", "TextRecord"]


class TextRecord(BaseModel):
    """A text, and what it goes on from."""

    text: str = Field(description="The text to judge; its end is judged too.")
    before: str | None = Field(None, description="What stands before it: read, not judged.")
    goes_on: bool | None = Field(
        None, description="True where the text does not end here, so no end is judged."
    )


class Likelihood(BaseModel):
    """How likely the model finds a text."""

    log_probability: float = Field(
        description="Natural logarithm of the probability of the whole text, its end included."
    )
    tokens: int = Field(description="Tokens that were told, the end included.")
    foreseen: int = Field(description="Tokens that the model had as the likeliest.")
    perplexity: float = Field(description="e to the mean loss a token.")
    bits_per_char: float = Field(
        description="Bits a character, the end counted as one: the same for any tokenizer."
    )
