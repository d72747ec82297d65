"""What all that is told by a head of the vocabulary has in common: scores, and their loss.

Letters: N targets · V vocabulary.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from tael.model.batch import Batch
    from tael.model.network import Network

__all__ = ["Writes"]


class Writes:
    """A learner whose targets are tokens.

    `smoothing`: the share of a target that is spread over the vocabulary.
    """

    smoothing: float = 0.0

    def logits(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return scores (N, V), a row a target: the last matrix is the largest."""
        return network.logits(batch)

    def loss(self, logits: "Tensor", batch: "Batch") -> "Tensor":
        """Return the cross-entropy summed over the targets, in float32."""
        import torch.nn.functional as F

        assert batch.targets is not None, "a batch without targets has no loss"
        return F.cross_entropy(
            logits.float(), batch.targets, reduction="sum", label_smoothing=self.smoothing
        )

    def objective(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return the same as `loss` of `logits`, a part of the scores at a time."""
        from tael.model.head import VocabHead

        head = network.head
        assert isinstance(head, VocabHead), "who tells tokens has a head of the vocabulary"
        embedding_VD = network.body.embedding.tokens.weight
        return head.loss(network(batch), batch, embedding_VD, self.smoothing)

    def supervised(self, batch: "Batch") -> float:
        """Return the number of targets."""
        return 0.0 if batch.targets is None else float(len(batch.targets))
