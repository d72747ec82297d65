"""A variant that answers records: what `evaluate`, `predict`, `serve` and `price` all run."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tael.compress.manifest import MANIFEST, PARENT, Variant, read_variant
from tael.data.record import Record
from tael.data.tokenizer import SPECIALS
from tael.engine.runtime import RUNTIMES, Runtime
from tael.errors import FloorError, RunError, UsageError
from tael.machine.probe import cores
from tael.task.base import Answer, Task, find, load_task

__all__ = ["Engine", "folder_of", "open_engine"]


class Engine:
    """One opened variant. `why` says in words how it came to be this one."""

    def __init__(
        self, folder: Path, variant: Variant, task: Task, runtime: Runtime, *, why: str
    ) -> None:
        self.folder = folder
        self.variant = variant
        self.task = task
        self.runtime = runtime
        self.why = why

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return one answer a record, in order; neither order nor company changes an answer."""
        if not records:
            return []
        repaired = [self.task.repaired(record) for record in records]
        return self.runtime.answers(repaired)


def open_engine(run: Path, variant: str | None = None, threads: int | None = None) -> Engine:
    """Open a variant of `run`, or the folder of a variant or of a trained model itself.

    `variant` None: the one chosen in `price/frontier.json`, or the parent where the run has no
    prices yet. Every file is checked against its SHA-256 first. `threads` None: as the manifest
    says, else the cores this process may use.

    Raises UsageError for a variant that is not there, FloorError where nothing was chosen,
    RunError where `run` holds no model.
    """
    folder, why = folder_of(run, variant)
    manifest = read_variant(folder, verify=True) if (folder / MANIFEST).is_file() else _bare(folder)
    task = _wordless_task(folder) if manifest.runtime == "linear" else load_task(folder)
    count = threads or manifest.threads or cores()
    runtime = RUNTIMES[manifest.runtime](folder, manifest, task, count)
    return Engine(folder, manifest, task, runtime, why=why)


def folder_of(run: Path, variant: str | None = None) -> tuple[Path, str]:
    """Return the folder that `open_engine` opens, and why it is this one; opens nothing.

    Raises what `open_engine` raises where there is no such folder.
    """
    if (run / MANIFEST).is_file() and variant is None:
        return run, f"{run} is a variant"
    if (run / "task.json").is_file() and variant is None:
        return run, f"{run} is the folder of a trained model"
    if variant is not None:
        return _named(run, variant), "asked for"
    prices = run / "price" / "frontier.json"
    if not prices.is_file():
        return _named(run, PARENT), f"{PARENT}: the run has no prices yet (`tael price {run}`)"
    try:
        frontier = json.loads(prices.read_bytes())
        chosen, floor, confirmed = (frontier[key] for key in ("chosen", "floor", "confirmed"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"{prices}: damaged ({error!r:.80}); `tael price {run}` writes it"
        ) from error
    if chosen is None:
        raise FloorError(
            f"{prices}: no variant keeps the floor {floor}; lower price.floor, or name a variant "
            "with --variant"
        )
    proof = "proved on test" if confirmed else "its floor is not proved on test"
    return _named(run, chosen), f"{chosen}: chosen in {prices} ({proof})"


def _named(run: Path, variant: str) -> Path:
    folder = run / "variants" / variant
    if (folder / MANIFEST).is_file():
        return folder
    if variant == PARENT and (run / "model" / "config.json").is_file():
        return run / "model"  # trained, and no variants made yet
    if not (run / "model").is_dir():
        raise RunError(f"{run}: no trained model here; make one with `tael run RECIPE --out {run}`")
    known = sorted(path.parent.name for path in (run / "variants").glob(f"*/{MANIFEST}"))
    raise UsageError(
        f"{run}: no variant {variant!r}; it has {', '.join(known) or 'none yet'}; "
        f"make them with `tael price {run}`"
    )


def _wordless_task(folder: Path) -> Task:
    """Return the task of a variant that reads n-grams and so keeps no tokenizer.

    A vocabulary of 30,000 units would cost such a process more memory than its model does.
    """
    raw = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    words = {name: number for number, name in enumerate(SPECIALS)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    task: Task = find(raw.pop("task")).from_json(raw, tokenizer)
    return task


def _bare(folder: Path) -> Variant:
    """Return the manifest of a model folder that is no variant yet: the parent, unmeasured."""
    return Variant(
        id=PARENT,
        parent=None,
        how="the trained model as it is",
        runtime="torch",
        precision="fp32",
        source="",
        files={},
        bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
    )
