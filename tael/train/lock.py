"""`recipe.lock.yaml`: all that decides the bits of a run, fixed at its start, read on resume.

Nothing in it is measured or chosen again on resume: the same folder goes on in the same arithmetic
on the same number of threads, even where the machine's measurements have changed since. Only a
micro-batch for which memory ran out is lowered later.
"""

import io
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tael.data.read import input_files
from tael.errors import DataError, RunError
from tael.files import sha256, write_text
from tael.machine.probe import describe, probe
from tael.recipe.fingerprint import defaults, difference, fingerprint
from tael.recipe.load import resolved_yaml
from tael.recipe.package import resolve
from tael.recipe.schema import Recipe, Stage

__all__ = ["Lock", "check_same", "lower_micro_batch", "open_lock", "read_lock"]

_LIBRARIES = ("tael", "torch", "numpy", "tokenizers", "safetensors")
_HEAD = "# Written when the run started; it goes on from these values. Not to be edited.\n"


@dataclass(frozen=True, slots=True)
class Lock:
    """What was decided when the run started."""

    recipe: dict[str, Any]  # the fingerprint
    seed: int
    threads: int
    dtype: dict[str, Literal["float32", "bfloat16"]]  # by stage
    versions: dict[str, str]
    machine: dict[str, Any]
    data: dict[str, str]  # SHA-256 by path
    micro_batch: dict[str, int] = field(default_factory=dict)  # by stage, where memory ran out


def open_lock(folder: Path, recipe: Recipe) -> Lock:
    """Return the lock of the run in `folder`; write it first where the run is new.

    Raises RunError when the folder holds the run of another recipe or of other data.
    """
    if (folder / "recipe.lock.yaml").exists():
        check_same(folder, recipe)
        return read_lock(folder)
    lock = _decide(recipe)
    write_text(folder / "recipe.yaml", resolved_yaml(recipe))
    _write(folder, lock)
    return lock


def lower_micro_batch(folder: Path, stage: str, rows: int) -> None:
    """Write into the lock that `stage` computes `rows` rows at once, for all sittings to come."""
    lock = read_lock(folder)
    _write(folder, replace(lock, micro_batch=lock.micro_batch | {stage: rows}))


def read_lock(folder: Path) -> Lock:
    """Read the lock of the run in `folder`; RunError where there is none that can be read."""
    path = folder / "recipe.lock.yaml"
    try:
        return Lock(**YAML(typ="safe").load(path.read_text("utf-8")))
    except FileNotFoundError:
        raise RunError(
            f"{folder}: not a run (it has no recipe.lock.yaml); `tael train RECIPE --out {folder}` "
            "makes one"
        ) from None
    except (OSError, YAMLError, TypeError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def check_same(folder: Path, recipe: Recipe) -> None:
    """Raise RunError when `folder` holds the run of another recipe, or when its data changed.

    All differences are listed. Files that are gone since are not compared; a file that a folder or
    pattern of the recipe has gained since is a difference. A key that the run does not know, for it
    is older than the key, counts as its default.
    """
    lock = read_lock(folder)
    lang = {"lang": recipe.lang}
    changed = difference(defaults() | lock.recipe | lang, fingerprint(recipe))
    for path, old in lock.data.items():
        if Path(path).exists() and sha256(Path(path)) != old:
            changed.append(f"{path}: changed since the run started")
    if not changed:  # else the recipe may name other files, each of which would seem to be added
        changed = [f"{path}: added since the run started" for path in _added(lock, recipe)]
    if changed:
        raise RunError(
            f"{folder}: holds the run of another recipe: {'; '.join(changed)}. "
            "Choose another --out, or go back to these values"
        )


def _write(folder: Path, lock: Lock) -> None:
    text = io.StringIO()
    YAML().dump({name: getattr(lock, name) for name in Lock.__slots__}, text)
    write_text(folder / "recipe.lock.yaml", _HEAD + text.getvalue())


def _decide(recipe: Recipe) -> Lock:
    stages = {"pretrain": recipe.pretrain, "train": recipe.train}
    measure = any(stage.dtype == "auto" for stage in stages.values())
    machine: dict[str, Any] = probe().to_json() if measure else dict(describe())
    return Lock(
        recipe=fingerprint(recipe),
        seed=recipe.seed,
        threads=recipe.machine.threads or int(describe()["cores"]),
        dtype={name: _dtype(stage, machine) for name, stage in stages.items()},
        versions={"python": platform.python_version()}
        | {name: metadata.version(name) for name in _LIBRARIES},
        machine=machine,
        data={str(path): sha256(path) for path in _inputs(recipe) if path.is_file()},
    )


def _dtype(stage: Stage, machine: dict[str, Any]) -> Literal["float32", "bfloat16"]:
    if stage.dtype != "auto":
        return stage.dtype
    return "bfloat16" if machine["bfloat16_faster"] else "float32"


def _added(lock: Lock, recipe: Recipe) -> Iterator[Path]:
    for path in _texts(recipe):
        try:
            found = input_files([path])
        except DataError:  # gone; or no folder of data any more, which whoever reads it is told
            continue
        yield from (file for file in found if str(file) not in lock.data and file.is_file())


def _texts(recipe: Recipe) -> Iterator[Path]:
    for paths in (recipe.data.train, recipe.data.dev, recipe.data.test, recipe.pretrain.text):
        yield from paths or ()


def _inputs(recipe: Recipe) -> Iterator[Path]:
    data, source = recipe.data, recipe.model.from_
    yield from input_files(_texts(recipe))
    if data.fixes is not None:
        yield data.fixes
    if source is not None and not source.startswith("package://"):
        yield from sorted(resolve(source).glob("*.safetensors"))
