"""Parameters that are read from their file when somebody first asks for one of their module.

Matrices that we hold stacked, turned or in another type than the file's cannot be mapped; made at
opening they would cost a copy of the file before the first question is put, used or not.
"""

import os
from collections.abc import Callable, ItemsView, ValuesView
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["OpenFile", "give", "wait"]

_reading = Lock()  # two threads may ask one module at once, and must get the same parameters
_Named = dict[str, nn.Parameter | None]


class OpenFile:
    """A file held open: what is read later is what was there when it was opened, if replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = os.open(path, os.O_RDONLY)

    def read(self, into: Any, start: int) -> bool:
        """Fill a buffer of bytes from byte `start`; false where the file ends before."""
        view = memoryview(into)
        while len(view):
            size = os.preadv(self.number, [view], start)
            if size == 0:
                return False
            view, start = view[size:], start + size
        return True

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def give(module: nn.Module, leaf: str, tensor: Tensor) -> None:
    """Put a tensor in the place of parameter `leaf`; those that wait go on waiting."""
    dict.__setitem__(module.__dict__["_parameters"], leaf, nn.Parameter(tensor))


def wait(module: nn.Module, leaf: str, make: Callable[[], Tensor]) -> None:
    """Let parameter `leaf` of a module be made when one of the module's is first asked for."""
    named = module.__dict__["_parameters"]
    if not isinstance(named, _Waiting):
        named = module.__dict__["_parameters"] = _Waiting(module, named)
    named.makers[leaf] = make


class _Waiting(_Named):
    """What stands for a module's parameters until then: torch finds all of them through it."""

    def __init__(self, module: nn.Module, named: _Named) -> None:
        super().__init__(named)
        self.module, self.makers = module, dict[str, Callable[[], Tensor]]()

    def made(self) -> _Named:
        """Return the parameters, plain from now on."""
        with _reading:
            named: _Named = self.module.__dict__["_parameters"]
            if named is not self:
                return named
            # The first to ask may be one who only computes; the next may want to train.
            with torch.inference_mode(False), torch.device("cpu"):
                made = {leaf: nn.Parameter(make()) for leaf, make in self.makers.items()}
            named = {leaf: made.get(leaf, old) for leaf, old in dict.items(self)}
            self.module.__dict__["_parameters"] = named
            return named

    def __getitem__(self, leaf: str) -> nn.Parameter | None:
        return self.made()[leaf]

    def __setitem__(self, leaf: str, parameter: nn.Parameter | None) -> None:
        self.made()[leaf] = parameter

    def __delitem__(self, leaf: str) -> None:
        del self.made()[leaf]

    def get(self, leaf: str, default: Any = None) -> Any:
        """As of a dict."""
        return self.made().get(leaf, default)

    def items(self) -> ItemsView[str, nn.Parameter | None]:  # type: ignore[override]  # dict's view is a class of its own
        """As of a dict."""
        return self.made().items()

    def values(self) -> ValuesView[nn.Parameter | None]:  # type: ignore[override]  # the same
        """As of a dict."""
        return self.made().values()

    def copy(self) -> _Named:
        """As of a dict."""
        return self.made().copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.made(),)
