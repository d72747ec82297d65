"""Which optimiser changes which parameters, how fast, with which penalty on the weights.

All are `torch.optim.Optimizer`, and all that they remember is tensors by parameter: a checkpoint
restores them to the bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, Adam, AdamW, Muon, Optimizer

from tael.recipe.schema import Stage, Train
from tael.train.depth import depths, is_embedding, is_head
from tael.train.lion import Lion
from tael.train.parallel import whole

__all__ = ["Together", "clip", "make_optimizer", "penalty", "set_rate"]

_Groups = list[dict[str, Any]]
_BETAS, _LION_BETAS = (0.9, 0.999), (0.9, 0.99)  # where the recipe gives none
_MOMENTUM, _MUON_MOMENTUM = 0.9, 0.95


def make_optimizer(learned: Mapping[str, Tensor], stage: Stage) -> Optimizer:
    """Return the optimiser of `stage` over `learned`, parameters by their name in the network.

    Matrices decay; biases and norms (vectors) do not. Decay is decoupled (Loshchilov and Hutter
    2019, arXiv:1711.05101), but for adam and sgd it is a part of the gradient.
    """
    if stage.optimizer == "muon":
        return _muon(learned, stage)
    groups = _groups(learned, learned, stage)
    betas = stage.betas or (_LION_BETAS if stage.optimizer == "lion" else _BETAS)
    if stage.optimizer == "sgd":
        momentum = _MOMENTUM if stage.momentum is None else stage.momentum
        # The fused kernel does not know weights that lie in pieces on several processes. They have
        # `to_local`; their class takes seconds to import.
        fused = not any(hasattr(one, "to_local") for one in learned.values())
        return SGD(groups, lr=0.0, momentum=momentum, fused=fused)
    if stage.optimizer == "adafactor":  # Shazeer & Stern 2018, arXiv:1804.04235
        return Adafactor(groups, lr=0.0)
    if stage.optimizer == "lion":
        return Lion(groups, betas)
    kind = Adam if stage.optimizer == "adam" else AdamW
    return kind(groups, lr=0.0, betas=betas, eps=stage.eps, fused=True)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every group of `optimizer`, each by its own share of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


def penalty(learned: Mapping[str, Tensor], l1: float, l2: float) -> Tensor:
    """Return l1·Σ|w| + l2·Σw² over the matrices, as a scalar with a gradient."""
    weights = [one for one in learned.values() if _is_weight(one)]
    return torch.stack([l1 * w.abs().sum() + l2 * w.square().sum() for w in weights]).sum()


def clip(learned: Mapping[str, Tensor], largest: float) -> float:
    """Scale the gradients to a norm of at most `largest` (0: any); return what it was."""
    gradients = [one.grad for one in learned.values() if one.grad is not None]
    norm = float(whole(nn.utils.get_total_norm(gradients)))
    if largest and norm > largest:
        for gradient in gradients:
            gradient *= largest / norm
    return norm


class Together(Optimizer):
    """Several optimisers as one, each for its own parameters."""

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        # One list and one memory: whoever sets a rate or restores a state reaches them all.
        self.param_groups = [group for part in parts for group in part.param_groups]
        for part in parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Let each change its own parameters."""
        for part in self.parts:
            part.step()


def _muon(learned: Mapping[str, Tensor], stage: Stage) -> Optimizer:
    """Return Muon for the matrices between embeddings and head, and AdamW for the rest.

    Jordan et al. 2024, kellerjordan.github.io/posts/muon. The step of a matrix is scaled as in Liu
    et al. 2025, arXiv:2502.16982, section 2.2, so that both learn at AdamW's rate and decay.
    """
    inner = {
        name: tensor
        for name, tensor in learned.items()
        if tensor.ndim == 2 and not is_embedding(name) and not is_head(name)
    }
    others = {name: tensor for name, tensor in learned.items() if name not in inner}
    momentum = _MUON_MOMENTUM if stage.momentum is None else stage.momentum
    parts: list[Optimizer] = []
    if inner:
        groups = _groups(inner, learned, stage)
        parts.append(Muon(groups, lr=0.0, momentum=momentum, adjust_lr_fn="match_rms_adamw"))
    if others:
        groups = _groups(others, learned, stage)
        parts.append(AdamW(groups, lr=0.0, betas=stage.betas or _BETAS, eps=stage.eps, fused=True))
    return Together(parts)


def _groups(chosen: Mapping[str, Tensor], learned: Mapping[str, Tensor], stage: Stage) -> _Groups:
    """Return the chosen parameters by decay and by share of the rate, in their order."""
    layer = depths(learned)
    fall = stage.layer_decay if isinstance(stage, Train) else 1.0
    top = max(layer.values())
    groups: dict[tuple[bool, float], list[Tensor]] = {}
    for name, tensor in chosen.items():
        key = (_is_weight(tensor), fall ** (top - layer[name]))
        groups.setdefault(key, []).append(tensor)
    return [
        {"params": tensors, "weight_decay": stage.decay if decays else 0.0, "share": share}
        for (decays, share), tensors in groups.items()
    ]


def _is_weight(parameter: Tensor) -> bool:
    return parameter.ndim > 1
