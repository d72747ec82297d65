"""The verb `compare`: whether one run is better than another, and what the difference cost.

Both answer the same test records anew, so what the records have in common cancels.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tael.data.record import Record
from tael.engine.predictor import open_engine
from tael.errors import RunError
from tael.evaluate.compare import Paired, paired, rows_needed
from tael.recipe.fingerprint import defaults, difference
from tael.road.runs import Row, row
from tael.task.outcomes import Outcomes, figures
from tael.train.run import Run

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """The paired difference `a - b` of two runs, and what else differs between them."""

    a: Row
    b: Row
    variants: tuple[str, str]  # that answered
    values: tuple[float, float]
    paired: Paired
    recipe: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "a": asdict(self.a),
            "b": asdict(self.b),
            "variants": self.variants,
            "values": self.values,
            "difference": asdict(self.paired)
            | {"proved": self.paired.proved, "gain": self.paired.gain},
            "rows_needed": rows_needed(self.paired),
            "recipe": self.recipe,
        }

    def lines(self) -> list[str]:
        """Return the comparison for a reader, the answer first."""
        found = self.paired
        return [
            self._answer(),
            f"{found.metric}: {self.a.folder} {self.values[0]:.4f} ({self.variants[0]}), "
            f"{self.b.folder} {self.values[1]:.4f} ({self.variants[1]}), difference "
            f"{found.difference:+.4f}, 95 % interval {found.low:+.4f} to {found.high:+.4f}, "
            f"p = {found.p:.3g}, {found.rows:,} test records",
            self._money(),
            *(["recipe:", *(f"  {line}" for line in self.recipe)] if self.recipe else []),
            *([] if self.recipe else ["recipe: the same, name aside"]),
        ]

    def _answer(self) -> str:
        first, second = self.a.folder, self.b.folder
        if self.paired.proved:
            better, worse = (first, second) if self.paired.gain > 0 else (second, first)
            return f"{better} is better than {worse}: proved"
        needed = rows_needed(self.paired)
        more = f"; about {needed:,} records would settle it" if needed else ""
        return f"{first} and {second}: no difference is proved{more}"

    def _money(self) -> str:
        sides = [
            f"{one.folder} {one.money:.4f} {one.currency}, {one.seconds:,.0f} s, "
            f"{one.tokens:,} tokens"
            for one in (self.a, self.b)
        ]
        times = f" ({self.a.money / self.b.money:.2f} times)" if self.b.money else ""
        return f"took: {sides[0]}; {sides[1]}{times}"


def compare(a: str | Path, b: str | Path, variant: str | None = None) -> Comparison:
    """Compare run `a` with run `b` on the test records that both keep.

    Each is answered by its chosen variant, by its trained network where it has no prices, or by
    `variant` in both. The records are paired by what they hold, in whatever order. Raises RunError
    where they are not the same in both, or where the runs learn different things.
    """
    first, second = Run(Path(a)), Run(Path(b))
    records = first.records("test")
    _check_same(first, second, records, second.records("test"))
    engines = [open_engine(run.folder, variant) for run in (first, second)]
    tasks = [engine.task for engine in engines]
    if tasks[0].name != tasks[1].name or tasks[0].metric != tasks[1].metric:
        raise RunError(
            f"{first.folder} learns {tasks[0].name} ({tasks[0].metric}), {second.folder} "
            f"{tasks[1].name} ({tasks[1].metric}): only runs of one task can be compared"
        )
    references = tasks[0].references(records)
    outcomes: list[Outcomes] = [
        engine.task.outcomes(engine.predict(records), references) for engine in engines
    ]
    metric = tasks[0].metric
    return Comparison(
        row(first.folder),
        row(second.folder),
        (engines[0].variant.id, engines[1].variant.id),
        (figures(outcomes[0])[metric], figures(outcomes[1])[metric]),
        paired(outcomes[0], outcomes[1], metric),
        _recipes(first, second),
    )


def _check_same(first: Run, second: Run, mine: Sequence[Record], theirs: Sequence[Record]) -> None:
    ours, others = Counter(map(_key, mine)), Counter(map(_key, theirs))
    if not ours and not others:
        raise RunError(f"{first.folder} and {second.folder}: neither has test records to compare")
    only_a, only_b = (ours - others).total(), (others - ours).total()
    if only_a or only_b:
        raise RunError(
            f"{first.folder} and {second.folder} keep different test records ({only_a:,} only in "
            f"the first, {only_b:,} only in the second), so no difference can be paired; `tael "
            f"data diff {first.folder} {second.folder}` shows them, and a `data.test` file or the "
            "same `seed` and `data` in both recipes keeps them the same"
        )


def _key(record: Record) -> str:
    """Return what a record holds, without the place where it stands."""
    return json.dumps({k: v for k, v in record.items() if k != "@"}, sort_keys=True)


def _recipes(first: Run, second: Run) -> list[str]:
    lines = difference(defaults() | first.lock.recipe, defaults() | second.lock.recipe)
    return [line for line in lines if not line.startswith("name:")]
