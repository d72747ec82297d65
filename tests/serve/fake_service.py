"""A whole service over an engine that needs no model: run as a process, or built in one."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel

from tael.errors import DataError, TaelError
from tael.recipe.schema import Serve
from tael.serve.ledger import Price
from tael.serve.service import Terms, host_engine

PRICE = Price(100_000_000, "USD")  # 100 micros a text


class FakeRequest(BaseModel):
    text: str
    text_pair: str | None = None


class FakeAnswer(BaseModel):
    label: str
    score: float
    scores: dict[str, float]


class FakeEngine:
    """Labels a text by its length; refuses the text `bad`, breaks on `broken`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.variant = SimpleNamespace(id="fake-fp32")
        self.task = SimpleNamespace(
            request_model=lambda: FakeRequest, response_model=lambda: FakeAnswer
        )
        self.seconds = seconds
        self.batches: list[int] = []
        self.refuses = {"bad"}

    def predict(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        self.batches.append(len(records))
        time.sleep(self.seconds)
        return [self._one(record) for record in records]

    def _one(self, record: dict[str, Any]) -> dict[str, Any]:
        text = record["text"]
        if text in self.refuses:
            raise DataError("this text cannot be read")
        if text == "broken":
            raise ZeroDivisionError(text)
        score = 1 / (1 + len(text))
        return {"label": str(len(text)), "score": score, "scores": {"a": score, "b": 1 - score}}


def main() -> None:
    port, ledger, seconds = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    host_engine(
        Terms("fake", Serve(), PRICE),
        lambda: FakeEngine(seconds),
        f"sqlite:///{ledger}",
        host="127.0.0.1",
        port=port,
        say=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    try:
        main()
    except TaelError as error:  # as the command line does
        sys.exit(str(error))
