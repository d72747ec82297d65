"""Answer every record of a file, in order, as one JSON object a line."""

import json
from collections.abc import Sequence
from pathlib import Path

from tael.engine.predictor import open_engine
from tael.errors import UsageError
from tael.files import atomic_file
from tael.road.evaluate import read_records, recipe_for
from tael.train.run import Run

__all__ = ["predict"]

CHUNK = 4096  # records answered at once: bounds memory, and is many batches long


def predict(
    run: str | Path,
    source: str | Path,
    target: str | Path,
    variant: str | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, int]:
    """Write one answer a record of `source` to `target` and return what was counted.

    `overrides` (`data.columns.text=…`) say how `source` is read, where that is unlike the run's
    files. `target` is whole or absent. Labels in `source` are not needed and not looked at. Raises
    UsageError where `target` is a folder or `source` itself.
    """
    source, target = Path(source), Path(target)
    if target.is_dir() or (target.exists() and source.exists() and target.samefile(source)):
        what = "a folder" if target.is_dir() else "the file with the records"
        raise UsageError(f"{target}: is {what}; name a file for the answers: --out answers.jsonl")
    opened = Run(Path(run))
    records, counts = read_records(source, recipe_for(opened, overrides), labelled=False)
    engine = open_engine(opened.folder, variant)
    with atomic_file(target) as draft, draft.open("w", encoding="utf-8") as file:
        for start in range(0, len(records), CHUNK):
            for answer in engine.predict(records[start : start + CHUNK]):
                file.write(json.dumps(answer, ensure_ascii=False) + "\n")
    return {"answers": len(records), **counts}
