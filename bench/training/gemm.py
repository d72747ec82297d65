"""How fast this machine multiplies matrices of a model's own shapes, and how much of it is used."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Product", "peak", "products"]

_SECONDS = 0.05  # for each layout of each product


@dataclass(frozen=True, slots=True)
class Product:
    """Rows x inner x columns, computed so many times a step."""

    rows: int
    inner: int
    columns: int
    times: int = 1

    @property
    def operations(self) -> float:
        """Floating-point operations of all times."""
        return 2.0 * self.rows * self.inner * self.columns * self.times


def products(network: nn.Module, tokens: int, targets: int, vocab: int) -> list[Product]:
    """Return the products of a step: each matrix forward, and twice backward.

    `tokens` rows meet the body's matrices, `targets` rows the head's; the last of them may be the
    token embedding, so it is told apart by `vocab`.
    """
    shapes: dict[tuple[int, int, int], int] = {}
    found: Iterator[tuple[str, Tensor]] = network.named_parameters()
    for name, weight in found:
        if weight.ndim != 2 or "positions" in name or "types" in name:
            continue
        outer, inner = weight.shape
        rows = targets if name.startswith("head") or outer == vocab else tokens
        for shape in ((rows, inner, outer), (rows, outer, inner), (outer, rows, inner)):
            shapes[shape] = shapes.get(shape, 0) + 1
    return [Product(*shape, times) for shape, times in shapes.items()]


def peak(step: Sequence[Product], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return operations a second of all products of a step, each at its best, in bfloat16.

    Each is tried with either operand stored by rows or by columns; the shortest time counts.
    """
    seconds = sum(min(_best(one, *kind, clock) for kind in _LAYOUTS) * one.times for one in step)
    return sum(one.operations for one in step) / seconds


_LAYOUTS = [(a, b) for a in (False, True) for b in (False, True)]


def _best(one: Product, left: bool, right: bool, clock: Callable[[], float]) -> float:
    a, b = _matrix(one.rows, one.inner, left), _matrix(one.inner, one.columns, right)
    torch.mm(a, b)  # the first call picks a kernel
    best, spent = float("inf"), 0.0
    while spent < _SECONDS:
        before = clock()
        torch.mm(a, b)
        took = clock() - before
        best, spent = min(best, took), spent + took
    return best


def _matrix(rows: int, columns: int, turned: bool) -> Tensor:
    made = torch.randn(columns, rows) if turned else torch.randn(rows, columns)
    made = made.bfloat16()
    return made.T if turned else made
