"""Learning from embeddings that were moved against the model."""

import math

import pytest
import torch
from torch import Tensor
from train_standin import Bag, Rows, Sums

from tael.train.adversary import Adversary


def pieces(micro: int = 8) -> tuple[Bag, list[Tensor], list[float]]:
    """Return a network after one adversarial pass over Rows, the embeddings it met, the losses."""
    torch.manual_seed(0)
    network, met, losses = Bag(), [], []
    adversary = Adversary(network, 0.5)
    for batch in Rows(micro)[0]:

        def backward(batch: object = batch) -> Tensor:
            met.append(network.embedding.weight.detach().clone())
            loss = Sums().objective(network, batch)  # type: ignore[arg-type]
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        losses.append(float(adversary.twice(backward)))
    return network, met, losses


def test_the_second_pass_meets_embeddings_moved_up_the_loss() -> None:
    network, (clean, moved), (loss,) = pieces()
    assert float((moved - clean).norm()) == pytest.approx(0.5, rel=1e-5)
    (batch,) = Rows()[0]
    own = network.embedding.weight.detach().clone()
    assert torch.equal(own, clean)  # it came back to the bit
    network.zero_grad()
    before = Sums().objective(network, batch)
    before.backward()  # type: ignore[no-untyped-call]
    assert loss == float(before.detach())  # what is told is the loss of the texts as they are
    gradient = network.embedding.weight.grad
    assert gradient is not None
    torch.testing.assert_close(moved - clean, 0.5 * gradient / gradient.norm())
    with torch.no_grad():
        network.embedding.weight.copy_(moved)
    assert float(Sums().objective(network, batch).detach()) > loss


def test_the_gradients_of_both_passes_add_up() -> None:
    network, (clean, moved), _ = pieces()
    (batch,) = Rows()[0]
    alone = []
    for weight in (clean, moved):
        torch.manual_seed(0)
        one = Bag()
        with torch.no_grad():
            one.embedding.weight.copy_(weight)
        Sums().objective(one, batch).backward()  # type: ignore[no-untyped-call]
        alone.append([p.grad for p in one.parameters()])
    for parameter, first, second in zip(network.parameters(), *alone, strict=True):
        assert parameter.grad is not None
        assert first is not None
        assert second is not None
        torch.testing.assert_close(parameter.grad, first + second)


def test_each_micro_batch_has_a_direction_of_its_own() -> None:
    _, met, losses = pieces(4)
    moves = [met[1] - met[0], met[3] - met[2]]
    assert torch.equal(met[0], met[2])
    for move in moves:
        assert float(move.norm()) == pytest.approx(0.5, rel=1e-5)
    own = [set(batch.ids_BT[batch.documents_BT > 0].tolist()) for batch in Rows(4)[0]]
    for move, ids in zip(moves, own, strict=True):
        assert set(move.abs().sum(1).nonzero().squeeze(1).tolist()) <= ids
    assert all(math.isfinite(loss) for loss in losses)


def test_the_embedding_comes_back_when_the_second_pass_fails() -> None:
    network = Bag()
    own, calls = network.embedding.weight.detach().clone(), [0]

    def backward() -> Tensor:
        calls[0] += 1
        if calls[0] == 2:
            raise MemoryError
        loss = Sums().objective(network, Rows()[0][0])
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    adversary = Adversary(network, 0.5)
    with pytest.raises(MemoryError):
        adversary.twice(backward)
    assert torch.equal(network.embedding.weight, own)
