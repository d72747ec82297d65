"""The learning rate of every step, as a pure function: nothing to save, nothing to restore."""

import math

from tael.recipe.schema import Stage

__all__ = ["rate_at", "warmup_steps"]

# An exponential never reaches 0: without a `final_rate` it ends at this share of the peak.
_EXPONENTIAL_END = 0.01


def rate_at(step: int, steps: int, stage: Stage) -> float:
    """Return the rate of optimiser step `step` (from 0) in a stage of `steps` steps.

    The rate climbs in equal parts, reaches the peak at the first step after the warm-up, and then
    falls towards `final_rate`, which step `steps` would have: the last step still learns.
    """
    warmup = warmup_steps(steps, stage)
    if step < warmup:
        return stage.rate * (step + 1) / (warmup + 1)
    return stage.rate * _fall(min(1.0, (step - warmup) / max(1, steps - warmup)), stage)


def warmup_steps(steps: int, stage: Stage) -> int:
    """Return how many steps the rate climbs."""
    return round(stage.warmup * steps)


def _fall(done: float, stage: Stage) -> float:
    if stage.schedule == "constant":
        return 1.0
    if stage.schedule == "exponential":
        return float((stage.final_rate or _EXPONENTIAL_END) ** done)
    shape: float = {
        "linear": 1 - done,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "polynomial": (1 - done) ** stage.power,
    }[stage.schedule]
    return stage.final_rate + (1 - stage.final_rate) * shape
