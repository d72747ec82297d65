"""The verb `ablate`: does a change of the recipe help? Trained and judged over several seeds."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tael.compress.manifest import PARENT
from tael.data.dedup import normalised
from tael.data.record import Record
from tael.engine.predictor import open_engine
from tael.errors import UsageError
from tael.evaluate.ablation import Ablation, Pair, ablation, write_ablation
from tael.machine.tariff import training_cost
from tael.page.words import Lang
from tael.recipe.fingerprint import difference, fingerprint
from tael.recipe.load import load_recipe
from tael.recipe.schema import Recipe
from tael.road.check import check
from tael.train.run import Run, is_finished
from tael.train.train import train

__all__ = ["ablate"]

_LEAST = 3  # seeds: two differences say nothing of their spread
_MOST = 60  # characters of a folder's name

Say = Callable[[str], None]


def ablate(
    recipe: str | Path,
    settings: Sequence[str],
    *,
    seeds: int = _LEAST,
    out: str | Path | None = None,
    lang: Lang | None = None,
    progress: bool = True,
    say: Say = lambda _: None,
) -> tuple[Ablation, Path]:
    """Train the recipe, and the recipe with `settings`, over as many seeds; compare them in pairs.

    Returns the comparison and the folder with `ablation.html` and `ablation.json`. Each training is
    a run of its own under `out` (default `runs/NAME-ablation`): a second call goes on where the
    first stopped, and another change of the same recipe shares its runs. `say` hears the time and
    money that it will take. Raises UsageError for fewer than 3 seeds, no change or one of the seed,
    and what `check` and `train` raise.
    """
    _check(settings, seeds)
    plain = load_recipe(recipe)
    root = Path(out) if out is not None else Path("runs") / f"{plain.name}-ablation"
    numbers = [plain.seed + at for at in range(seeds)]
    jobs = {
        (kind, seed): (load_recipe(recipe, [*more, f"seed={seed}"]), folder / f"seed-{seed}")
        for seed in numbers
        for kind, more, folder in (
            ("base", [], root / "base"),
            ("changed", settings, root / _name(settings)),
        )
    }
    say(_estimate(list(jobs.values())))
    for job, folder in jobs.values():
        train(job, folder, progress=progress)
    pairs, left_out, split = [], 0, "test"
    for seed in numbers:
        pair, lost, split = _pair(seed, jobs["base", seed][1], jobs["changed", seed][1])
        pairs.append(pair)
        left_out += lost
    changed = jobs["changed", numbers[0]][0]
    found = ablation(
        pairs,
        name=plain.name,
        change=" ".join(settings),
        metric=_metric(jobs["base", numbers[0]][1]),
        split=split,
        left_out=left_out,
        recipe=difference(fingerprint(plain), fingerprint(changed)),
    )
    say(write_ablation(root / _name(settings), found, lang or plain.lang))
    return found, root / _name(settings)


def _check(settings: Sequence[str], seeds: int) -> None:
    if seeds < _LEAST:
        raise UsageError(
            f"--seeds {seeds}: an ablation needs at least {_LEAST} seeds; with fewer, chance and "
            "change cannot be told apart"
        )
    keys = [setting.partition("=")[0].strip() for setting in settings]
    if not keys:
        raise UsageError("what is changed? `tael ablate RECIPE KEY=VALUE`, as in model.dropout=0.2")
    if "seed" in keys or "lang" in keys:
        raise UsageError("ablate: seed and lang are no change; --seeds N sets how many seeds")


def _name(settings: Sequence[str]) -> str:
    """Return a folder's name for a change: legible, and another one for another change."""
    text = " ".join(sorted(settings))
    plain = re.sub(r"[^\w.=-]+", "_", text)
    if plain == text and len(plain) <= _MOST and plain != "base":
        return plain
    return f"{plain[:_MOST]}-{blake2b(text.encode(), digest_size=3).hexdigest()}"


def _estimate(jobs: Sequence[tuple[Recipe, Path]]) -> str:
    """Say what is still to train, and guess what that takes; all that is wrong is raised here."""
    seconds, left, known = 0.0, 0, dict[str, float]()
    for recipe, folder in jobs:
        if is_finished(folder):
            continue
        kind = folder.parent.name
        if kind not in known:
            known[kind] = check(recipe).estimate.seconds
        seconds += known[kind]
        left += 1
    machine = jobs[0][0].machine
    money = training_cost(seconds, machine.price_per_hour)
    return (
        f"ablation: {len(jobs)} runs, {left} still to train: about {seconds / 60:.0f} minutes, "
        f"{money:.2g} {machine.currency}"
    )


def _pair(seed: int, base: Path, changed: Path) -> tuple[Pair, int, str]:
    """Return the two runs of a seed on the records that stand in the test split of both."""
    runs = [Run(folder) for folder in (base, changed)]
    split = "test" if all(run.records("test") for run in runs) else "dev"
    records = [_by_content(run.records(split)) for run in runs]  # type: ignore[arg-type]  # a Split
    shared = [key for key in records[0] if key in records[1]]
    if not shared:
        raise UsageError(
            f"{base} and {changed} share no {split} record, so there is nothing to pair: the "
            "change alters the texts or the split; name data.dev and data.test files"
        )
    laid = []
    for folder, rows in zip((base, changed), records, strict=True):
        engine = open_engine(folder, PARENT)
        part = [rows[key] for key in shared]
        laid.append(engine.task.outcomes(engine.predict(part), engine.task.references(part)))
    left_out = len(records[0]) + len(records[1]) - 2 * len(shared)
    seconds = (_seconds(base), _seconds(changed))
    return Pair(seed, laid[0], laid[1], shared, seconds), left_out, split


def _by_content(records: Sequence[Record]) -> dict[str, Record]:
    """Return records by what they say; copies of a text are told apart by their number."""
    seen: Counter[str] = Counter()
    found = {}
    for record in records:
        text = normalised(record)
        seen[text] += 1
        key = blake2b(f"{seen[text]} {text}".encode("utf-8", "surrogatepass"), digest_size=16)
        found[key.hexdigest()] = record
    return found


def _metric(folder: Path) -> str:
    return Run(folder).task().metric


def _seconds(folder: Path) -> float:
    costs: dict[str, Any] = json.loads((folder / "costs.json").read_text("utf-8"))
    return float(sum(costs["seconds"].values()))
