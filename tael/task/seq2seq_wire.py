"""What a request for a text and its answer look like."""

from pydantic import BaseModel, Field

__all__ = ["SourceRecord", "TargetText"]


class SourceRecord(BaseModel):
    """A text to be read."""

    source: str = Field(description="The text to translate, to sum up, to answer.")


class TargetText(BaseModel):
    """The text that was written."""

    text: str = Field(description="The text that was written.")
    finished: bool = Field(description="Whether the model ended it by itself.")
    tokens: int = Field(description="Tokens that were written, the end included.")
