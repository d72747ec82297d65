"""Which tokens are hidden, how, and what the loss looks at."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.testing import assert_close

from tael.data.tokenizer import Specials
from tael.model.batch import Batch
from tael.model.config import ModelConfig
from tael.model.network import Network, build
from tael.task.mlm import MaskedLM

SPECIALS = Specials(pad=0, unk=1, cls=2, sep=3, mask=4)
VOCAB = 50
Row = list[NDArray[np.int64]]


def rows(count: int, seed: int = 0) -> list[Row]:
    luck = np.random.default_rng(seed)

    def document() -> NDArray[np.int64]:
        inside = luck.integers(1, VOCAB, luck.integers(1, 12))
        inside[inside == 2] = 5
        return np.concatenate([[2], inside, [3]])

    return [[document() for _ in range(luck.integers(1, 4))] for _ in range(count)]


def batch(packed: list[Row], seed: int = 0, task: MaskedLM | None = None) -> Batch:
    task = task or MaskedLM(SPECIALS, VOCAB)
    return task.batch(packed, 64, torch.Generator().manual_seed(seed))


def test_hidden_tokens_are_shown_as_mask_as_another_or_as_they_are() -> None:
    packed = rows(2000)
    made = batch(packed)
    assert made.where_N is not None
    assert made.targets is not None
    shown_N = made.ids_BT.flatten()[made.where_N]
    as_mask = (shown_N == SPECIALS.mask).float().mean().item()
    kept = (shown_N == made.targets).float().mean().item()
    count = len(shown_N)
    bound = 4 / count**0.5  # four deviations of a share
    assert as_mask == pytest.approx(0.8, abs=bound)
    # One in 46 of the random tokens is by chance the one that was there.
    assert kept == pytest.approx(0.1 + 0.1 / 46, abs=bound)
    other_N = shown_N[(shown_N != SPECIALS.mask) & (shown_N != made.targets)]
    assert int(other_N.min()) > 4  # never a special token
    assert len(other_N.unique()) == VOCAB - 5


def test_the_share_of_targets_is_exact_and_special_tokens_are_never_among_them() -> None:
    packed = rows(40)
    made = batch(packed)
    assert made.targets is not None
    assert made.where_N is not None
    original = torch.zeros_like(made.ids_BT)
    for b, row in enumerate(packed):
        joined = np.concatenate(row)
        original[b, : len(joined)] = torch.from_numpy(joined)
    assert torch.equal(original.flatten()[made.where_N], made.targets)
    assert int(made.targets.min()) > 4
    ordinary = int((original > 4).sum())
    assert len(made.targets) == round(0.15 * ordinary)
    assert len(made.where_N.unique()) == len(made.where_N)
    untouched = torch.ones(original.numel(), dtype=torch.bool)
    untouched[made.where_N] = False
    assert torch.equal(made.ids_BT.flatten()[untouched], original.flatten()[untouched])


def test_the_generator_alone_decides_what_is_hidden() -> None:
    one, same, other = (batch(rows(20), seed) for seed in (1, 1, 2))
    assert torch.equal(one.ids_BT, same.ids_BT)
    assert one.where_N is not None
    assert same.where_N is not None
    assert other.where_N is not None
    assert torch.equal(one.where_N, same.where_N)
    assert not torch.equal(one.where_N, other.where_N)


def test_documents_are_numbered_and_counted_from_zero_in_their_row() -> None:
    packed = [[np.array([2, 9, 3]), np.array([2, 9, 9, 3])], [np.array([2, 9, 9, 3])]]
    made = batch(packed)
    assert made.documents_BT.tolist() == [[1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 0, 0, 0]]
    assert made.positions_BT is not None
    assert made.positions_BT.tolist() == [[0, 1, 2, 0, 1, 2, 3], [0, 1, 2, 3, 0, 0, 0]]
    assert (made.size, made.tokens, made.layout) == (3, 11, "packed")
    assert batch(packed[1:]).layout == "full"
    assert batch([packed[1], [np.array([2, 9, 3])]]).layout == "padded"


def test_a_row_without_ordinary_tokens_has_no_targets() -> None:
    task, made = MaskedLM(SPECIALS, VOCAB), batch([[np.array([2, 1, 3])]])
    assert task.supervised(made) == 0
    config = ModelConfig(VOCAB, 16, 1, 2, 16)
    network = build(config, task.head(config))
    assert task.loss(task.logits(network, made), made).item() == 0


def test_the_loss_is_the_cross_entropy_at_the_hidden_positions_only() -> None:
    task, made = MaskedLM(SPECIALS, VOCAB), batch(rows(6))
    config = ModelConfig(VOCAB, 16, 2, 2, 32)
    network = build(config, task.head(config), seed=1).eval()
    everywhere = network.logits(replace(made, where_N=None))
    assert made.targets is not None
    assert made.where_N is not None
    at_targets = everywhere.flatten(0, 1)[made.where_N].log_softmax(-1)
    expected = -at_targets.gather(1, made.targets[:, None]).sum()
    logits_NV = task.logits(network, made)
    assert logits_NV.shape == (task.supervised(made), VOCAB)
    assert_close(task.loss(logits_NV, made), expected)


def test_a_packed_step_has_the_loss_and_gradient_of_its_documents_apart() -> None:
    task, made = MaskedLM(SPECIALS, VOCAB), batch(rows(5, seed=4))
    config = ModelConfig(VOCAB, 16, 2, 2, 32)
    network = build(config, task.head(config), seed=1).double().eval()
    together = task.loss(network.logits(made).double(), made)
    together.backward()
    gradients = {
        name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None
    }
    network.zero_grad()
    apart = sum((_alone(task, network, made, b, n) for b, n in _documents(made)), torch.tensor(0.0))
    apart.backward()
    assert_close(together.double(), apart.double(), rtol=1e-5, atol=1e-5)
    for name, parameter in network.named_parameters():
        if name in gradients:
            assert_close(parameter.grad, gradients[name], rtol=1e-5, atol=1e-6, msg=name)


def _documents(made: Batch) -> list[tuple[int, int]]:
    return [(b, n) for b, row in enumerate(made.documents_BT) for n in range(1, int(row.max()) + 1)]


def _alone(task: MaskedLM, network: Network, made: Batch, b: int, n: int) -> torch.Tensor:
    """The loss of one document of a packed batch, in a row of its own."""
    assert made.where_N is not None
    assert made.targets is not None
    inside = torch.zeros_like(made.documents_BT, dtype=torch.bool)
    inside[b] = made.documents_BT[b] == n
    flat = inside.flatten().nonzero().flatten()
    mine_N = torch.isin(made.where_N, flat)
    one = Batch(
        made.ids_BT.flatten()[flat][None],
        torch.ones(1, len(flat), dtype=torch.int32),
        targets=made.targets[mine_N],
        where_N=made.where_N[mine_N] - flat[0],
        layout="full",
    )
    return task.loss(network.logits(one).double(), one).double()
