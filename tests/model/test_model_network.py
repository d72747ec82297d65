"""What holds for every network, whatever its weights."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from model_samples import CONFIG, packed, padded
from torch import Tensor
from torch.testing import assert_close

from tael.model.batch import Batch
from tael.model.block import DropPath
from tael.model.head import ClassifyHead, Head, VocabHead
from tael.model.network import ForExport, Network, build

Tiny = Callable[..., Network]


def real(hidden_BTD: Tensor, batch: Batch) -> Tensor:
    return hidden_BTD[batch.documents_BT > 0]


def gradients(network: Network, score: Tensor) -> dict[str, Tensor]:
    network.zero_grad(set_to_none=True)
    score.backward()
    return {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


def test_padding_does_not_change_logits(tiny: Tiny, documents: list[Tensor]) -> None:
    network = tiny(ClassifyHead)
    logits_BC = network.logits(padded(documents))
    assert_close(network.logits(padded(documents, extra=9)), logits_BC, atol=1e-5, rtol=1e-5)
    batch = padded(documents, extra=9)
    junk_BT = torch.where(batch.documents_BT > 0, batch.ids_BT, 60)
    assert_close(network.logits(replace(batch, ids_BT=junk_BT)), logits_BC, atol=1e-5, rtol=1e-5)
    unmasked = network.logits(replace(batch, layout="full"))
    assert not torch.allclose(unmasked, logits_BC, atol=1e-3)  # the mask does something


def test_each_document_alone_gives_the_same_logits(tiny: Tiny, documents: list[Tensor]) -> None:
    network = tiny(ClassifyHead)
    alone = [network.logits(replace(padded([d]), layout="full")) for d in documents]
    assert_close(network.logits(padded(documents)), torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_the_order_of_rows_is_the_order_of_logits(tiny: Tiny, documents: list[Tensor]) -> None:
    network, order = tiny(ClassifyHead), [3, 0, 4, 1, 2]
    logits_BC = network.logits(padded(documents))
    shuffled_BC = network.logits(padded([documents[i] for i in order]))
    assert_close(shuffled_BC, logits_BC[order], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(shuffled_BC, logits_BC, atol=1e-3)


def test_every_layout_that_fits_gives_the_same_hidden_states(
    tiny: Tiny, documents: list[Tensor]
) -> None:
    network, batch = tiny(), padded(documents)
    as_packed = replace(batch, layout="packed")
    assert_close(real(network(as_packed), batch), real(network(batch), batch), atol=1e-5, rtol=1e-5)
    assert torch.isfinite(network(as_packed)).all()


@pytest.mark.parametrize("head", [ClassifyHead, VocabHead])
def test_packed_rows_equal_padded_rows_with_gradients(
    tiny: Tiny, documents: list[Tensor], head: type[Head]
) -> None:
    network = tiny(head).double()
    apart, together = padded(documents), packed(documents)
    if head is VocabHead:  # two targets in each document, its last token among them
        lasts = [len(d) - 1 for d in documents]
        width = apart.ids_BT.shape[1]
        where = torch.tensor([b * width + t for b, last in enumerate(lasts) for t in (0, last)])
        apart = replace(apart, where_N=where)
    starts = torch.tensor([0, *(len(d) for d in documents)]).cumsum(0)
    firsts = starts[:-1]
    if head is VocabHead:
        firsts = torch.stack([firsts, starts[1:] - 1], dim=1).flatten()
    together = replace(together, where_N=firsts)
    one, other = network.logits(apart), network.logits(together)
    assert_close(other, one, atol=1e-10, rtol=1e-10)
    weights = torch.randn(one.shape, generator=torch.Generator().manual_seed(3)).double()
    expected = gradients(network, (one * weights).sum())
    found = gradients(network, (other * weights).sum())
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert_close(found[name], gradient, atol=1e-9, rtol=1e-9, msg=name)


def test_documents_in_a_row_never_see_each_other(tiny: Tiny, documents: list[Tensor]) -> None:
    network, batch = tiny(), packed(documents)
    changed_BT = batch.ids_BT.clone()
    changed_BT[0, :7] = 60  # the whole first document
    before, after = network(batch), network(replace(batch, ids_BT=changed_BT))
    assert torch.equal(before[0, 7:28], after[0, 7:28])
    assert not torch.allclose(before[0, :7], after[0, :7])


@pytest.mark.parametrize("head", [ClassifyHead, VocabHead])
def test_the_gradient_does_not_depend_on_how_a_batch_is_cut(
    tiny: Tiny, documents: list[Tensor], head: type[Head]
) -> None:
    network = tiny(head).double()

    def score(part: list[Tensor]) -> Tensor:
        batch = padded(part)
        where = torch.arange(batch.ids_BT.numel())[batch.documents_BT.flatten() > 0]
        batch = replace(batch, where_N=where) if head is VocabHead else batch
        return network.logits(batch).logsumexp(-1).sum() / len(documents)

    whole = gradients(network, score(documents))
    network.zero_grad(set_to_none=True)
    for part in (documents[:1], documents[1:4], documents[4:]):
        score(part).backward()
    for name, parameter in network.named_parameters():
        assert_close(parameter.grad, whole[name], atol=1e-6, rtol=1e-6, msg=name)


def test_dropout_is_off_in_evaluation_and_on_in_training(
    tiny: Tiny, documents: list[Tensor]
) -> None:
    network, batch = tiny(ClassifyHead), padded(documents)
    assert torch.equal(network.logits(batch), network.logits(batch))
    network.train()
    torch.manual_seed(0)
    assert not torch.allclose(network.logits(batch), network.logits(batch))
    still = build(replace(CONFIG, dropout=0.0, attention_dropout=0.0), ClassifyHead(CONFIG, 2))
    still.head = ClassifyHead(replace(CONFIG, dropout=0.0), 2)
    still.train()
    assert torch.equal(still.logits(batch), still.logits(batch))


def test_attention_dropout_alone_changes_training(tiny: Tiny, documents: list[Tensor]) -> None:
    config = replace(CONFIG, dropout=0.0, attention_dropout=0.3)
    network, batch = tiny(None, config).train(), padded(documents)
    torch.manual_seed(0)
    assert not torch.allclose(network(batch), network(batch))


def test_droppath_keeps_the_expectation_and_drops_whole_rows() -> None:
    torch.manual_seed(0)
    layer, x_BTD = DropPath(0.3).train(), torch.ones(4000, 2, 3)
    out_BTD = layer(x_BTD)
    assert out_BTD.mean().item() == pytest.approx(1, abs=0.05)
    rows_B = out_BTD.flatten(1)
    assert (rows_B == rows_B[:, :1]).all()
    assert (rows_B[:, 0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(layer.eval()(x_BTD), x_BTD)


def test_a_network_with_droppath_trains_another_way_and_answers_the_same(
    tiny: Tiny, documents: list[Tensor]
) -> None:
    still = replace(CONFIG, dropout=0.0, attention_dropout=0.0)
    plain, dropping = tiny(None, still), tiny(None, replace(still, droppath=0.5))
    batch = padded(documents)
    assert torch.equal(plain(batch), dropping(batch))
    torch.manual_seed(0)
    assert not torch.allclose(dropping.train()(batch), plain(batch))


def test_the_seed_decides_every_new_weight() -> None:
    one, same, other = (build(CONFIG, VocabHead(CONFIG), seed) for seed in (5, 5, 6))
    weights = one.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in same.state_dict().items())
    tokens_VD = weights["body.embedding.tokens.weight"]
    assert not torch.equal(other.body.embedding.tokens.weight, tokens_VD)
    assert tokens_VD.abs().max() <= 0.04
    assert 0.015 < tokens_VD.std() < 0.02  # a normal of 0.02, cut at two deviations: 0.0176


def test_bfloat16_and_autocast_stay_near_float32(tiny: Tiny, documents: list[Tensor]) -> None:
    network, batch = build(CONFIG, ClassifyHead(CONFIG, 3), seed=2).eval(), padded(documents)
    expected = network.logits(batch)
    with torch.autocast("cpu", torch.bfloat16):
        automatic = network.logits(batch)
    assert automatic.dtype == torch.bfloat16
    assert_close(automatic.float(), expected, atol=0.01, rtol=0.05)
    network.train()
    with torch.autocast("cpu", torch.bfloat16):
        network.logits(batch).float().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    whole = network.eval().to(torch.bfloat16).logits(batch)
    assert whole.dtype == torch.bfloat16
    assert_close(whole.float(), expected, atol=0.01, rtol=0.05)


def test_a_regression_head_answers_in_the_users_unit(tiny: Tiny, documents: list[Tensor]) -> None:
    network, batch = tiny(ClassifyHead), padded(documents)
    plain = network.logits(batch)
    assert isinstance(network.head, ClassifyHead)
    network.head.scale, network.head.center = 3.0, 40.0
    assert_close(network.logits(batch), plain * 3 + 40)


@pytest.mark.slow
@pytest.mark.parametrize("head", [ClassifyHead, VocabHead])
def test_one_graph_serves_every_batch_and_length(
    tiny: Tiny, documents: list[Tensor], head: type[Head]
) -> None:
    network = tiny(head)
    rows, length = torch.export.Dim("rows", min=1), torch.export.Dim("length", min=1, max=32)
    ids_BT = torch.ones(3, 9, dtype=torch.int64)
    free = {0: rows, 1: length}
    inputs = (ids_BT, ids_BT.clone(), ids_BT * 0)  # one tensor given twice would be one input
    program = torch.export.export(ForExport(network), inputs, dynamic_shapes=(free, free, free))
    for part in (documents, documents[:1], documents[3:4], documents[1:3]):
        batch = padded(part, extra=3)
        mask_BT = (batch.documents_BT > 0).long()
        found = program.module()(batch.ids_BT, mask_BT, torch.zeros_like(batch.ids_BT))
        assert_close(found, network.logits(batch), atol=1e-5, rtol=1e-5)
