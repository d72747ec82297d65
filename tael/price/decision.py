"""The decision: the cheapest on dev, asked of test once, and who serves if test does not agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tael.compress.manifest import BASELINE, PARENT
from tael.price.choice import Priced, choose
from tael.price.confirm import Proof
from tael.price.floor import Floor

__all__ = ["Decision", "decide"]


@dataclass(frozen=True)
class Decision:
    """Which variant is served, which one was the cheapest on dev, and what test says of it."""

    chosen: str | None
    candidate: str | None
    proof: Proof | None

    @property
    def confirmed(self) -> bool:
        """Say whether the served variant's floor is proved on test."""
        return self.proof is not None and self.proof.proved


def decide(
    rows: Sequence[Priced],
    floor: Floor,
    on_test: Callable[[str], Proof],
    *,
    p95_ms: float | None,
    baseline: str | None = BASELINE,
) -> Decision:
    """Choose on dev, then ask test once, for the choice alone.

    Not proved: the parent is served, or the baseline where the parent is below it on dev.
    """
    candidate = choose(rows, floor, parent=PARENT, baseline=baseline, p95_ms=p95_ms)
    if candidate is None:
        return Decision(None, None, None)
    proof = on_test(candidate)
    if proof.proved:
        return Decision(candidate, candidate, proof)
    dev = {row.id: row.quality.value for row in rows}
    below = baseline is not None and floor.better(dev[baseline], dev[PARENT])
    return Decision(baseline if below else PARENT, candidate, proof)
