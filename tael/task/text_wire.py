"""What a request for a text's likelihood and its answer look like."""

from pydantic import BaseModel, Field

__all__ = ["Likelihood", "TextRecord"]


class TextRecord(BaseModel):
    """A text."""

    text: str = Field(description="The text to judge; its end is judged too.")


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
