"""The one error family: every failure a user can cause or meet, with its exit code and HTTP status.

    TaelError
    ├── UsageError       a command or call was put wrongly          exit 2, 400
    ├── RecipeError      the recipe has problems, all of them listed exit 2, 400
    ├── DataError        a file or a record is not what it should be exit 1, 422
    ├── CheckpointError  weights or a checkpoint cannot be used     exit 1, 500
    ├── RunError         a run directory is not in the needed state exit 1, 500
    │   └── StoppedError the user stopped it; all is saved          exit 130 or 143, 500
    ├── FloorError       no variant keeps the quality floor         exit 1, 500
    └── RefusedError     a server says no for now or for ever       exit 1, its own status

A message says where, what was expected, what was found, and what to do next, in one line.
"""

__all__ = [
    "CheckpointError",
    "DataError",
    "FloorError",
    "RecipeError",
    "RefusedError",
    "RunError",
    "StoppedError",
    "TaelError",
    "UsageError",
]


class TaelError(Exception):
    """A failure with a message written for the person who reads it."""

    exit_code = 1
    http_status = 500


class UsageError(TaelError):
    """A command, an option or a call was put wrongly."""

    exit_code = 2
    http_status = 400


class RecipeError(TaelError):
    """A recipe has problems; `problems` lists them all, one line each."""

    exit_code = 2
    http_status = 400

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DataError(TaelError):
    """A data file or a record is not what it should be."""

    http_status = 422


class CheckpointError(TaelError):
    """Weights, a tokenizer or a checkpoint cannot be used."""


class RunError(TaelError):
    """A run directory is not in the state that the command needs."""


class StoppedError(RunError):
    """The user stopped the work by a signal; what was complete is saved.

    The exit code is a shell's own for the signal: 130 for SIGINT (Ctrl-C), 143 for SIGTERM.
    """

    exit_code = 130

    def __init__(self, message: str, signal: int = 2) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


class FloorError(TaelError):
    """No variant keeps the quality floor."""


class RefusedError(TaelError):
    """A server refuses a request; `status` is its HTTP status, `retry_after` in seconds.

    `code` is a short word that programs can test for, `param` the field that is meant.
    """

    def __init__(
        self,
        message: str,
        status: int,
        retry_after: int | None = None,
        *,
        code: str = "refused",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.code = code
        self.param = param
