"""What a request for an answer in a conversation and the answer look like."""

from typing import Any

from pydantic import BaseModel, Field

__all__ = ["ChatAnswer", "ChatRecord"]


class ChatRecord(BaseModel):
    """A conversation that waits for an answer."""

    messages: list[dict[str, Any]] = Field(
        min_length=1, description="All that was said, as {role, content}; the last one asks."
    )
    tools: list[dict[str, Any]] | None = Field(None, description="Tools that may be called.")


class ChatAnswer(BaseModel):
    """What the model says."""

    text: str = Field(description="The answer.")
    finished: bool = Field(description="Whether the model ended it by itself.")
    tokens: int = Field(description="Tokens that were written, the end included.")
