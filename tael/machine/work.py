"""What training computes, in floating-point operations: formulas over sizes, and nothing measured.

A matrix of N weights costs a token 2 N operations forward and 4 N backward (Kaplan et al. 2020,
arXiv:2001.08361, 2.1), a pair of positions that see each other two products of a head's size, three
times over. What is looked up, normed, bent or dropped is not counted, nor what padding computes.
"""

from dataclasses import dataclass

__all__ = ["Rates", "training_rates"]

_PASSES = 3  # forward, and twice as much backward: for the weights and for what came in


@dataclass(frozen=True, slots=True)
class Rates:
    """Operations of one training step, forward and backward, by what causes them."""

    token: float  # in the layers and in front of them
    pair: float  # a query and a key that it sees, over all layers that see everything
    target: float  # in the head
    near_pair: float = 0.0  # the same as `pair` over the layers that see a window only

    def flops(self, tokens: float, pairs: float, targets: float, near_pairs: float = 0.0) -> float:
        """Return the operations that teach: those of real tokens, seen pairs and targets."""
        return (
            self.token * tokens
            + self.pair * pairs
            + self.near_pair * near_pairs
            + self.target * targets
        )


def training_rates(weights: float, mixing: float, head: float) -> Rates:
    """Return the rates of a network that learns all its weights.

    `weights`: those in the matrices of all layers; `mixing`: layers x heads x size of a head;
    `head`: the weights that a target meets.
    """
    return Rates(token=2 * _PASSES * weights, pair=4 * _PASSES * mixing, target=2 * _PASSES * head)
