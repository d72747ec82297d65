"""A running service as a predictor: what is served is scored like what was measured."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence

from tael.data.record import Record
from tael.errors import RunError
from tael.task.answer import asked
from tael.task.base import Answer, Task

__all__ = ["Remote"]

_SECONDS = 300.0  # for one request: a generated answer takes its time


class Remote:
    """Asks the service at `url` for answers, at most `most` records a request."""

    def __init__(self, url: str, key: str, task: Task, most: int) -> None:
        self._url, self._key = f"{url.rstrip('/')}/v1/predict", key
        self._task, self._most = task, most

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record, in order. Raises RunError with the service's words."""
        answers: list[Answer] = []
        for start in range(0, len(records), self._most):
            part = [asked(self._task, one) for one in records[start : start + self._most]]
            answers += self._ask(part)
        return answers

    def _ask(self, records: list[Record]) -> list[Answer]:
        request = urllib.request.Request(
            self._url,
            json.dumps({"records": records}).encode(),
            {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as response:
                answers: list[Answer] = json.load(response)["predictions"]
        except urllib.error.HTTPError as error:
            said = error.read(1000).decode("utf-8", "replace")
            raise RunError(f"{self._url}: answered {error.code}: {said}") from error
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"{self._url}: no answer that can be read ({error}); is `tael serve` running there?"
            ) from error
        if len(answers) != len(records):
            raise RunError(
                f"{self._url}: {len(answers)} answers to {len(records)} records; is it another run?"
            )
        return answers
