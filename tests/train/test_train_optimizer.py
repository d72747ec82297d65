"""Every optimiser does what its formula says, and goes on from a checkpoint to the same bits."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from tael.recipe.schema import Stage, Train
from tael.train.checkpoint import Position, load_newest, save
from tael.train.optim import make_optimizer, set_rate

Array = NDArray[np.float64]
RATE, DECAY, STEPS = 0.02, 0.1, 5
OPTIMIZERS = get_args(Stage.model_fields["optimizer"].annotation)


def parameters() -> dict[str, nn.Parameter]:
    """Return one parameter of each sort that a network has, drawn from a fixed seed."""
    sizes = {
        "body.embedding.tokens.weight": (7, 4),
        "body.blocks.0.ffn.up.weight": (6, 4),
        "body.blocks.0.ffn.up.bias": (6,),
        "body.blocks.1.ffn.up.weight": (4, 6),
        "head.classifier.weight": (3, 4),
    }
    draw = torch.Generator().manual_seed(1)
    return {name: nn.Parameter(torch.randn(s, generator=draw)) for name, s in sizes.items()}


def gradients(step: int, named: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(100 + step)
    return {name: torch.randn(p.shape, generator=draw) for name, p in named.items()}


def advance(optimizer: Optimizer, named: dict[str, nn.Parameter], steps: range) -> None:
    for step in steps:
        for name, gradient in gradients(step, named).items():
            named[name].grad = gradient
        set_rate(optimizer, RATE * 0.9**step)
        optimizer.step()


def stage(name: str, **options: Any) -> Train:
    return Train.model_validate({"optimizer": name, "decay": DECAY} | options)


class Adam:
    """Kingma & Ba 2015, arXiv:1412.6980, algorithm 1; Loshchilov & Hutter 2019, algorithm 2."""

    def __init__(self, decoupled: bool = True, betas: Any = (0.9, 0.999), eps: float = 1e-8):
        self.decoupled, (self.one, self.two), self.eps = decoupled, betas, eps
        self.m = self.v = np.zeros(())

    def __call__(self, w: Array, g: Array, t: int, rate: float, decay: float) -> Array:
        if self.decoupled:
            w = w - rate * decay * w
        else:
            g = g + decay * w
        self.m = self.one * self.m + (1 - self.one) * g
        self.v = self.two * self.v + (1 - self.two) * g * g
        mean, square = self.m / (1 - self.one**t), self.v / (1 - self.two**t)
        return w - rate * mean / (np.sqrt(square) + self.eps)


class Sgd:
    """Sutskever et al. 2013, with torch's sign: a velocity that the gradient is added to."""

    def __init__(self, momentum: float = 0.9):
        self.momentum, self.velocity = momentum, np.zeros(())

    def __call__(self, w: Array, g: Array, t: int, rate: float, decay: float) -> Array:
        self.velocity = self.momentum * self.velocity + g + decay * w
        return w - rate * self.velocity


class Lion:
    """Chen et al. 2023, arXiv:2302.06675, algorithm 2."""

    def __init__(self, betas: Any = (0.9, 0.99)):
        self.near, self.far = betas
        self.m = np.zeros(())

    def __call__(self, w: Array, g: Array, t: int, rate: float, decay: float) -> Array:
        direction = np.sign(self.near * self.m + (1 - self.near) * g)
        self.m = self.far * self.m + (1 - self.far) * g
        return w - rate * (direction + decay * w)


class Adafactor:
    """Shazeer & Stern 2018, arXiv:1804.04235, algorithms 4 and 5; the rate bounds the step."""

    def __init__(self) -> None:
        self.rows = self.columns = self.square = np.zeros(())

    def __call__(self, w: Array, g: Array, t: int, rate: float, decay: float) -> Array:
        size = max(1e-3, math.sqrt(np.mean(w * w))) * min(rate, 1 / math.sqrt(t))
        w = w - rate * decay * w
        keep = 1 - t**-0.8
        if g.ndim > 1:
            self.rows = keep * self.rows + (1 - keep) * np.mean(g * g, axis=1, keepdims=True)
            self.columns = keep * self.columns + (1 - keep) * np.mean(g * g, axis=0, keepdims=True)
            square = self.rows * self.columns / np.mean(self.rows)
        else:
            self.square = square = keep * self.square + (1 - keep) * g * g
        update = g / np.sqrt(square)
        return w - size * update / max(1.0, math.sqrt(np.mean(update * update)))


class Muon:
    """Jordan et al. 2024: five Newton-Schulz steps on the momentum; Liu et al. 2025: its size."""

    def __init__(self, momentum: float = 0.95) -> None:
        self.momentum, self.buffer = momentum, np.zeros(())

    def __call__(self, w: Array, g: Array, t: int, rate: float, decay: float) -> Array:
        self.buffer = self.momentum * self.buffer + (1 - self.momentum) * g
        x = (1 - self.momentum) * g + self.momentum * self.buffer
        x = x / np.linalg.norm(x)
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        x = x.T if tall else x
        return w - rate * decay * w - 0.2 * math.sqrt(max(w.shape)) * rate * x


def other(name: str, shape: int, options: dict[str, Any]) -> Any:
    """Return the formula that changes a parameter."""
    if name == "muon" and shape == 2:
        return Muon(**options)
    formulas: dict[str, Callable[..., Any]] = {"sgd": Sgd, "lion": Lion, "adafactor": Adafactor}
    if name in formulas:
        return formulas[name](**options)
    return Adam(decoupled=name != "adam", **({} if name == "muon" else options))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adamw", {}),
        ("adamw", {"betas": (0.8, 0.95), "eps": 0.1}),
        ("adam", {}),
        ("sgd", {}),
        ("sgd", {"momentum": 0.0}),
        ("adafactor", {}),
        ("lion", {}),
        ("lion", {"betas": (0.5, 0.7)}),
        ("muon", {}),
        ("muon", {"momentum": 0.5}),
    ],
)
def test_an_optimiser_follows_its_formula(name: str, options: dict[str, Any]) -> None:
    named = parameters()
    optimizer = make_optimizer(named, stage(name, **options))
    weights = {key: p.detach().double().numpy().copy() for key, p in named.items()}
    formulas = {key: other(name, 2 if ".ffn.up.weight" in key else 0, options) for key in named}
    for step in range(STEPS):
        for key, gradient in gradients(step, named).items():
            decay = DECAY if weights[key].ndim > 1 else 0.0
            arguments = (gradient.double().numpy(), step + 1, RATE * 0.9**step, decay)
            weights[key] = formulas[key](weights[key], *arguments)
    start = {key: p.detach().clone() for key, p in named.items()}
    advance(optimizer, named, range(STEPS))
    for key, parameter in named.items():
        # Newton-Schulz is computed in bfloat16: about three digits of each step
        near = 0.02 * RATE if isinstance(formulas[key], Muon) else 1e-5
        expected = torch.from_numpy(weights[key]).float()
        torch.testing.assert_close(parameter.detach(), expected, atol=near, rtol=1e-5)
        moved = float((parameter.detach() - start[key]).abs().max())
        assert moved > 20 * near if near < 1e-4 else moved > 5 * near


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_goes_on_from_a_checkpoint_to_the_same_bits(name: str, tmp_path: Path) -> None:
    whole, cut, again = parameters(), parameters(), parameters()
    advance(make_optimizer(whole, stage(name)), whole, range(6))
    stopped = make_optimizer(cut, stage(name))
    advance(stopped, cut, range(3))
    save(tmp_path, Position(3), cut, stopped)
    resumed = make_optimizer(again, stage(name))
    load_newest(tmp_path, again, resumed)
    advance(resumed, again, range(3, 6))
    for key, parameter in whole.items():
        assert torch.equal(again[key], parameter)
        assert not torch.equal(cut[key], parameter)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_remembers_nothing_but_tensors(name: str) -> None:
    named = parameters()
    optimizer = make_optimizer(named, stage(name))
    advance(optimizer, named, range(2))
    for parameter in named.values():
        assert optimizer.state[parameter]
        assert all(isinstance(value, Tensor) for value in optimizer.state[parameter].values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_decays_matrices_alone(name: str) -> None:
    named = parameters()
    groups = make_optimizer(named, stage(name)).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(p) for p in named.values() if p.ndim > 1}
    assert sum(len(group["params"]) for group in groups) == len(named)


def test_muon_takes_the_inner_matrices_and_leaves_the_rest() -> None:
    named = parameters()
    optimizer = make_optimizer(named, stage("muon"))
    advance(optimizer, named, range(1))
    kept = {name: set(optimizer.state[parameter]) for name, parameter in named.items()}
    adamw = {"step", "exp_avg", "exp_avg_sq"}
    assert [keys == adamw for keys in kept.values()] == [True, False, True, False, True]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_layers_learn_the_slower_the_lower_they_stand(name: str) -> None:
    named = parameters()
    optimizer = make_optimizer(named, stage(name, layer_decay=0.5))
    set_rate(optimizer, 0.8)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rates[id(p)] for p in named.values()] == pytest.approx([0.1, 0.2, 0.2, 0.4, 0.8])
