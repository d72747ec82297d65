"""What brings vectors together: the losses against plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from tael.task.contrast import cosine_error, in_batch, nested, ranked


def vectors(rows: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, 6, generator=generator, dtype=torch.float64), dim=-1)


def test_the_right_text_is_told_from_all_others_of_the_batch() -> None:
    a_BE, c_NE = vectors(3), vectors(5, 1)
    found = in_batch(a_BE, c_NE, torch.arange(3), torch.arange(10, 15), temperature=0.1)
    expected = 0.0
    for b in range(3):
        scores = [float(a_BE[b].float() @ c_NE[n].float()) / 0.1 for n in range(5)]
        expected += math.log(sum(map(math.exp, scores))) - scores[b]
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_an_equal_text_is_no_negative() -> None:
    a_BE, c_NE = vectors(3), vectors(4, 1)
    owner_B, owner_N = torch.tensor([0, 1, 2]), torch.tensor([5, 6, 5, 1])
    found = in_batch(a_BE, c_NE, owner_B, owner_N, temperature=0.5)
    # Candidate 2 is the text of candidate 0, and candidate 3 is text 1 itself.
    allowed = [[0, 1, 3], [0, 1, 2], [1, 2, 3]]
    expected = 0.0
    for b, mine in enumerate(allowed):
        scores = {n: float(a_BE[b].float() @ c_NE[n].float()) / 0.5 for n in mine}
        expected += math.log(sum(map(math.exp, scores.values()))) - scores[b]
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_ranked_asks_for_the_order_only() -> None:
    score = torch.tensor([0.0, 1.0, 5.0, 5.0])
    right = torch.tensor([-0.9, 0.1, 0.8, 0.9])
    assert ranked(right, score, 0.05) < 1e-3
    assert ranked(-right, score, 0.05) > 1
    assert torch.equal(ranked(right, score, 0.1), ranked(right, score * 7 + 3, 0.1))
    cosine = torch.tensor([0.3, 0.1])
    assert ranked(cosine, torch.tensor([0.0, 1.0]), 0.1).item() == pytest.approx(
        2 * math.log(1 + math.exp(2.0)), rel=1e-5
    )


def test_shorter_vectors_are_learned_beside_the_whole() -> None:
    x_NE, score = vectors(2), torch.tensor([0.7])

    def loss(part_NE: torch.Tensor) -> torch.Tensor:
        return cosine_error((part_NE[0] * part_NE[1]).sum()[None], score)

    parts = [loss(x_NE), loss(F.normalize(x_NE[:, :2], dim=-1))]
    assert torch.allclose(nested(x_NE, [2], loss), sum(parts, torch.zeros(())) / 2)
    assert torch.equal(nested(x_NE, [], loss), parts[0])
