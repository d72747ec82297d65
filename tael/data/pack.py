"""Which texts are computed together: packed rows, and the batch of every step.

The plan is a function of the seed and the step alone, so a run that resumes needs one integer.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Plan", "micro", "pack", "pieces_of"]

Indices = NDArray[np.int64]

_WINDOW = 100  # batches whose texts are sorted by length together: little padding, random order


def pack(lengths: NDArray[np.integer], capacity: int) -> list[Indices]:
    """Return rows of texts, each of at most `capacity` tokens together, in few rows.

    Best fit decreasing: the longest text first, each into the fullest row that still has room.
    Raises ValueError for a text of no token or of more than `capacity`: cut it before.
    """
    lengths = np.asarray(lengths)
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= capacity:
        raise ValueError(
            f"lengths must be 1 to {capacity}, found {lengths.min()} to {lengths.max()}"
        )
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]  # free tokens → rows
    occupied = 0  # bit f is set where a row has f free tokens: finds the fullest at once
    for index in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[index])
        fitting = occupied >> length
        if fitting:
            free = length + (fitting & -fitting).bit_length() - 1
            row = with_room[free].pop()
            if not with_room[free]:
                occupied ^= 1 << free
        else:
            free, row = capacity, len(rows)
            rows.append([])
        rows[row].append(index)
        with_room[free - length].append(row)
        occupied |= 1 << (free - length)
    return [np.asarray(sorted(row), np.int64) for row in rows]


def pieces_of(lengths: Indices, size: int) -> Indices:
    """Cut texts into pieces of at most `size` tokens: (P, 3) of text, start, end.

    Empty texts give no piece.
    """
    count = -(-lengths // size)
    text = np.repeat(np.arange(len(lengths)), count)
    start = (np.arange(len(text)) - np.repeat(np.cumsum(count) - count, count)) * size
    return np.stack([text, start, np.minimum(start + size, lengths[text])], axis=1)


class Plan:
    """The texts of every optimiser step, for ever: `plan[step]`, any step, in any order.

    Each epoch is a fresh permutation; its last step may be smaller. With `group` the texts of a
    step have similar lengths, while the order of steps stays random.
    """

    def __init__(
        self, lengths: NDArray[np.integer], batch: int, seed: int, group: bool = False
    ) -> None:
        if len(lengths) == 0 or batch < 1:
            raise ValueError(f"a plan needs texts and a batch, got {len(lengths)} and {batch}")
        self._lengths = np.asarray(lengths)
        self._batch, self._seed, self._group = batch, seed, group
        self._epoch: tuple[int, list[Indices]] | None = None  # the last one asked for

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every text is seen once."""
        return -(-len(self._lengths) // self._batch)

    def __getitem__(self, step: int) -> Indices:
        if step < 0:
            raise IndexError(f"step {step}")
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self._steps(epoch)
        return self._epoch[1][position]

    def _steps(self, epoch: int) -> list[Indices]:
        generator = np.random.default_rng([self._seed, epoch])
        order = generator.permutation(len(self._lengths))
        if not self._group:
            return _cut(order, self._batch)
        steps: list[Indices] = []
        for window in _cut(order, self._batch * _WINDOW):
            by_length = window[np.argsort(self._lengths[window], kind="stable")]
            steps += _cut(by_length, self._batch)
        # The one short step stays last, so that every epoch has its steps at the same sizes.
        last = [steps.pop()] if len(steps[-1]) < self._batch else []
        return [steps[i] for i in generator.permutation(len(steps))] + last


def micro(indices: Indices, lengths: NDArray[np.integer], rows: int) -> list[Indices]:
    """Cut a step into micro-batches of up to `rows` texts, sorted by length: little padding."""
    return _cut(indices[np.argsort(lengths[indices], kind="stable")], rows)


def _cut(order: Indices, size: int) -> list[Indices]:
    return [order[start : start + size] for start in range(0, len(order), size)]
