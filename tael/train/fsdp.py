"""A network whose weights lie in pieces on all processes, and are gathered a layer at a time.

Zhao et al. 2023, PyTorch FSDP, arXiv:2304.11277, by torch's second version of it: each parameter is
a DTensor, float32, a piece of its first axis here; a layer computes in the arithmetic of the run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from tael.model.batch import Batch
from tael.model.block import Block
from tael.model.network import Network
from tael.train.master import Dtype
from tael.train.parallel import whole

__all__ = ["Sharded"]


class _Learner(Protocol):
    def objective(self, network: Any, batch: Batch) -> Tensor: ...

    def supervised(self, batch: Batch) -> float: ...


class Sharded:
    """A learner over a network that it cuts into pieces in place, and makes whole at the end.

    The loop calls it as it calls the learner it stands for. All processes call everything together.
    """

    def __init__(self, network: Network, learner: _Learner, dtype: Dtype) -> None:
        self._network, self._learner = network, learner
        self._twin = _emptied(network)
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if dtype == "bfloat16" else None,
            reduce_dtype=torch.float32,
        )
        device = next(network.parameters()).device.type  # else torch takes a GPU where it sees one
        mesh = init_device_mesh(device, (dist.get_world_size(),))
        for block in (part for part in network.modules() if isinstance(part, Block)):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        # Embedding and head are gathered for the whole step: a tied matrix is used at both ends.
        self._step: Any = fully_shard(_Step(network, learner), mesh=mesh, mp_policy=policy)
        assert isinstance(self._step, FSDPModule)

    def objective(self, network: Any, batch: Batch) -> Tensor:
        """Return the loss of a micro-batch, summed over its items, in float32."""
        loss: Tensor = self._step(batch)
        return loss

    def supervised(self, batch: Batch) -> float:
        """Return what that sum is divided by."""
        return self._learner.supervised(batch)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Hold embedding and head whole inside the block, in which all processes evaluate."""
        self._step.unshard()
        try:
            yield
        finally:
            self._step.reshard()

    def restore(self) -> None:
        """Make the network whole in every process, an ordinary one again, in float32."""
        pieces = dict(self._network.named_parameters())
        with torch.no_grad():
            for name, parameter in self._twin.named_parameters():
                parameter.data = whole(pieces[name].detach()).float()
        self._network.body, self._network.head = self._twin.body, self._twin.head


class _Step(nn.Module):
    """What the pieces are gathered around: from a micro-batch to its loss."""

    def __init__(self, network: Network, learner: _Learner) -> None:
        super().__init__()
        self.network, self.learner = network, learner

    def forward(self, batch: Batch) -> Tensor:
        return self.learner.objective(self.network, batch)


def _emptied(network: Network) -> Network:
    """Return a copy without the memory of its weights."""
    kept = {name: own.data for name, own in network.named_parameters()}
    for own in network.parameters():
        own.data = own.data.new_empty(0)
    twin = deepcopy(network)
    for name, own in network.named_parameters():
        own.data = kept[name]
    return twin
