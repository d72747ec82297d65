"""Matrices laid out once as the CPU's kernels want them: for computing in bfloat16.

torch turns a bfloat16 matrix round at every product. Laid out beforehand the same product, to the
bit, took 0.5 of the time for one position, 0.6 for eight and 0.86 for 4096 (oneDNN, torch 2.13). It
costs the memory of the matrices once more.
"""

import logging
import os
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tael.model.ffn import Stacked
from tael.model.head import VocabHead
from tael.model.network import Network
from tael.model.quant import put

__all__ = ["Prepacked", "prepack"]

_log = logging.getLogger(__name__)
_HINT = 8  # positions that the layout is chosen for


class Prepacked(Stacked):
    """A linear layer with a second copy of its weights, used while these stay as they are."""

    def __init__(self, weight: Tensor, bias: Tensor | None, parts: tuple[int, ...]) -> None:
        with torch.device("meta"):
            super().__init__(weight.shape[1], parts, bias is not None)
        self.register_parameter("weight", cast(nn.Parameter, weight))
        self.register_parameter("bias", cast(nn.Parameter | None, bias))
        self._laid_out = _mkldnn._reorder_linear_weight(weight.detach(), _HINT)
        self._when = weight._version

    def laid_out(self) -> Tensor | None:
        """Return the copy, None where the weights have changed since."""
        same = self.weight._version == self._when and self.weight.dtype == torch.bfloat16
        return self._laid_out if same else None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return (..., N) for (..., D)."""
        copy = self.laid_out() if torch.is_inference_mode_enabled() else None
        if copy is not None and x_BTD.dtype == torch.bfloat16:
            y_BTD: Tensor = _mkldnn._linear_pointwise(x_BTD, copy, self.bias, "none", [], "")
            return y_BTD
        return F.linear(x_BTD, self.weight, self.bias)


def prepack(network: Network) -> int:
    """Lay out the matrices of the layers and of the scores in place; return how many.

    None where they are not bfloat16 on a CPU that has such kernels, or where the copies would take
    more than half of the free memory. Parameters keep their names and memory; once one changes, its
    copy is no longer used.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return 0
    size = sum(p.nbytes for p in network.parameters() if _fits(p))
    if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") // 2:
        _log.info("no memory to lay out %d bytes of matrices: computing is slower", size)
        return 0
    done = 0
    for name, module in list(network.named_modules()):
        if not name.startswith("body.") or type(module) not in (nn.Linear, Stacked):
            continue
        if isinstance(module, nn.Linear) and _fits(module.weight):
            parts = module.parts if isinstance(module, Stacked) else (module.out_features,)
            put(network, name, Prepacked(module.weight, module.bias, parts))
            done += 1
    head = network.head
    if isinstance(head, VocabHead) and head.coded is None:
        weight = network.body.embedding.tokens.weight if head.weight is None else head.weight
        if _fits(weight):
            head.coded = Prepacked(weight, head.bias, (len(weight),))
            done += 1
    return done


def _fits(weight: Tensor) -> bool:
    cpu = weight.device.type == "cpu"
    return cpu and weight.dtype == torch.bfloat16 and not weight.is_inference()


_mkldnn: Any = torch.ops.mkldnn
