"""One seed in the recipe becomes one for every stage, step and purpose."""

__all__ = ["ADAPTERS", "BODY", "HEAD", "RECORDS", "TEXT", "mix"]

BODY, HEAD, TEXT, RECORDS, ADAPTERS = 1, 2, 3, 4, 5  # what a seed is for

_ALL = 0xFFFFFFFFFFFFFFFF


def mix(seed: int, *numbers: int) -> int:
    """Return a seed of 63 bits that depends on every number, so that no two steps share theirs.

    SplitMix64 (Steele et al. 2014, Fast splittable pseudorandom number generators, figure 17).
    """
    state = seed & _ALL
    for number in numbers:
        state = (state + (number + 1) * 0x9E3779B97F4A7C15) & _ALL
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _ALL
        state ^= state >> 31
    return state >> 1
