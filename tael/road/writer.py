"""A model that writes, without a run: a GGUF file or a folder, judged by likelihood."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tael.data.clean import clean
from tael.data.pack import micro
from tael.data.read import input_files, read
from tael.data.record import Record
from tael.engine.load import load
from tael.errors import DataError, RecipeError, UsageError
from tael.evaluate.score import score
from tael.recipe.load import as_given
from tael.recipe.schema import Clean, Columns
from tael.task.base import Answer
from tael.task.next_token import NextToken

__all__ = ["Writer", "evaluate_writer", "writes_alone"]

_MOST = 512  # tokens read at once, where a model would read more
_ROWS = 32
_READING = ("data.columns.text", "data.encoding", "data.on_error", "data.txt")
_AS_IT_IS = Clean(unicode=False, controls=False, whitespace=False)


class Writer:
    """A model that answers records by likelihood: texts by their probability, choices by the best.

    UsageError where the model does not write.
    """

    def __init__(self, path: Path) -> None:
        from tael.task.marks import marks

        loaded = load(path)
        self.network = loaded.opened()
        if self.network.config.stacks != "decoder" or loaded.lexicon is None:
            raise UsageError(
                f"{path}: neither a run nor a decoder with its tokenizer, so nothing can be judged"
            )
        most = min(_MOST, self.network.config.max_positions)
        repairs = _AS_IT_IS
        self.task = NextToken(loaded.worded(), marks(loaded.lexicon), most, repairs=repairs)

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record, in order."""
        examples = self.task.encode_many(records)
        lengths = np.array([len(example) for example in examples], dtype=np.int64)
        groups = list(micro(np.arange(len(lengths)), lengths, _ROWS))
        return self.task.decode(self.task.outputs(self.network, examples, groups), examples)


def writes_alone(path: Path) -> bool:
    """Whether a path is a model that no run stands around."""
    if path.suffix == ".gguf":
        return path.is_file()
    is_model = (path / "config.json").is_file() and not (path / "task.json").is_file()
    return is_model and not (path / "recipe.lock.yaml").is_file()


def evaluate_writer(
    path: Path, data: str | Path | None, overrides: Sequence[str] = ()
) -> dict[str, dict[str, float]]:
    """Return `{metric: {"value", "low", "high"}}` of the model on a file or folder, unrepaired.

    Raises UsageError without data, for a model that does not write, and for other overrides than
    those that say how the file is read.
    """
    if data is None:
        raise UsageError(f"{path}: a model has no test split of its own; name a file: --data FILE")
    records = _records(Path(data), _reading(overrides))
    writer = Writer(path)
    writer.task.check_known(str(data), records)
    found = score(writer.task, writer.predict(records), writer.task.references(records), seed=0)
    return {
        name: {"value": one.value, "low": one.low, "high": one.high} for name, one in found.items()
    }


def _reading(overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        if override.partition("=")[0].strip() not in _READING:
            raise UsageError(
                f"override {override}: only how the file is read can be said: {', '.join(_READING)}"
            )
    try:
        given = as_given("file", "clm", overrides)
    except RecipeError as error:
        raise UsageError(str(error)) from error
    return {path[-1]: value for path, value in given.items() if path[0] == "data"}


def _records(path: Path, reading: dict[str, Any]) -> list[Record]:
    counts: Counter[str] = Counter()
    columns = Columns(text=reading.pop("text", "text"))
    rows = read(input_files((path,)), counts=counts, **reading)
    forms = NextToken.forms(columns)
    records = list(
        clean(rows, columns, _AS_IT_IS, counts, labelled=True, keep_empty=True, forms=forms)
    )
    if not records:
        raise DataError(f"{path}: no rows")
    return records
