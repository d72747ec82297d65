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
    if stage.schedule == "inverse-sqrt":  # Vaswani et al. 2017, arXiv:1706.03762, section 5.3
        return stage.rate * math.sqrt((warmup + 1) / (step + 1))
    if stage.schedule == "exponential" and stage.factor is not None:
        times = (step - warmup) / stage.factor_steps
        return stage.rate * float(stage.factor ** (math.floor(times) if stage.staircase else times))
    return stage.rate * _height(_fallen(step, warmup, steps, stage), stage)


def warmup_steps(steps: int, stage: Stage) -> int:
    """Return how many steps the rate climbs."""
    return round(stage.warmup * steps)


def _fallen(step: int, warmup: int, steps: int, stage: Stage) -> float:
    """Return the share of the way down that lies behind `step`, from 0 to 1."""
    start = warmup
    if stage.schedule == "stable":  # Hu et al. 2024, MiniCPM, arXiv:2404.06395, section 4
        start = max(warmup, steps - max(1, round(stage.cooldown * steps)))
    length = max(1, steps - start)
    done = min(max(0, step - start), length)
    if stage.schedule == "cosine" and done < length:  # Loshchilov & Hutter 2017, arXiv:1608.03983
        done = done * (stage.restarts + 1) % length
    return done / length


def _height(fallen: float, stage: Stage) -> float:
    """Return the share of the peak that the rate has after that share of the way."""
    if stage.schedule == "constant":
        return 1.0
    if stage.schedule == "exponential":
        return float((stage.final_rate or _EXPONENTIAL_END) ** fallen)
    shape: float = {
        "linear": 1 - fallen,
        "stable": 1 - fallen,
        "cosine": (1 + math.cos(math.pi * fallen)) / 2,
        "polynomial": (1 - fallen) ** stage.power,
    }[stage.schedule]
    return stage.final_rate + (1 - stage.final_rate) * shape
