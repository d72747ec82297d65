"""Losses that bring vectors of like texts together, and those of unlike texts apart.

All compute in float32 on vectors of length 1. In-batch negatives make the loss of a text depend on
its neighbours: what counts as the batch is what these functions are given.

Letters: B texts · N candidates · E size of a vector.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["cosine_error", "in_batch", "nested", "ranked"]


def in_batch(
    texts_BE: Tensor, candidates_NE: Tensor, owner_B: Tensor, owner_N: Tensor, temperature: float
) -> Tensor:
    """Return, summed over the texts, the cross-entropy of finding its own among all candidates.

    Text b's own is candidate b; the candidates behind the first B are nobody's. `owner_N` says
    which candidates are the same text and `owner_B` which one text b is: an equal text is no
    negative, and neither is b itself. van den Oord et al. 2018, arXiv:1807.03748, equation 4;
    Henderson et al. 2017, arXiv:1705.00652, section 4.
    """
    count = len(texts_BE)
    scores_BN = texts_BE.float() @ candidates_NE.float().T / temperature
    own_BN = torch.eye(count, len(candidates_NE), dtype=torch.bool, device=scores_BN.device)
    same_BN = (owner_N[None, :] == owner_N[:count, None]) | (owner_N[None, :] == owner_B[:, None])
    scores_BN = scores_BN.masked_fill(same_BN & ~own_BN, -torch.inf)
    targets_B = torch.arange(count, device=scores_BN.device)
    return F.cross_entropy(scores_BN, targets_B, reduction="sum")


def ranked(cosine_B: Tensor, score_B: Tensor, temperature: float) -> Tensor:
    """Return the softplus of how wrongly pairs of pairs are ordered, times the number of pairs.

    log(1 + sum over score_i > score_j of exp((cosine_j - cosine_i) / temperature)): CoSENT
    (Su 2022, https://kexue.fm/archives/8847), which asks for the order only, as Spearman does.
    """
    gap_BB = (cosine_B.float()[None, :] - cosine_B.float()[:, None]) / temperature
    gaps = gap_BB[score_B[:, None] > score_B[None, :]]
    return torch.cat([gaps.new_zeros(1), gaps]).logsumexp(0) * len(cosine_B)


def cosine_error(cosine_B: Tensor, score_B: Tensor) -> Tensor:
    """Return the squared difference of cosine and score (0 to 1), summed."""
    return (cosine_B.float() - score_B).square().sum()


def nested(vectors_NE: Tensor, sizes: Sequence[int], loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the mean of a loss over the vectors and their first `sizes` numbers, at length 1.

    Kusupati et al. 2022, Matryoshka representation learning, arXiv:2205.13147, equation 1.
    """
    losses = [loss(vectors_NE)]
    losses += [loss(F.normalize(vectors_NE[:, :size], dim=-1)) for size in sizes]
    return torch.stack(losses).mean()
