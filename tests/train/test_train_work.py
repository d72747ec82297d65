"""The work that a run reports is what torch itself counts, and nothing else."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tael.machine.work import training_rates
from tael.model.batch import Batch
from tael.model.config import ModelConfig
from tael.model.head import ClassifyHead, VocabHead
from tael.model.network import Network, build
from tael.model.transformer import Transformer
from tael.train.work import Meter

SIZES = ModelConfig(vocab=90, hidden=32, layers=3, heads=4, ffn=48, max_positions=64)


def full(rows: int, length: int) -> Batch:
    ids_BT = torch.arange(rows * length).view(rows, length) % 80 + 5
    documents_BT = torch.ones(rows, length, dtype=torch.int32)
    return Batch(ids_BT, documents_BT, tokens=rows * length, layout="full")


def packed(lengths: list[int], padding: int) -> Batch:
    at = torch.cat([torch.arange(n) for n in lengths] + [torch.zeros(padding, dtype=torch.int64)])
    numbers = [torch.full((n,), i, dtype=torch.int32) for i, n in enumerate(lengths, 1)]
    documents = torch.cat([*numbers, torch.zeros(padding, dtype=torch.int32)])
    where = torch.tensor([0, lengths[0], sum(lengths) - 1])
    return Batch(
        torch.arange(len(at))[None] % 80 + 5,
        documents[None],
        positions_BT=at[None],
        where_N=where,
        tokens=sum(lengths),
    )


def counted(network: Network, batch: Batch) -> int:
    """Return what torch counts for one step."""
    with FlopCounterMode(display=False) as counter:
        network.logits(batch).sum().backward()  # type: ignore[no-untyped-call]
    return counter.get_total_flops()


def with_vocabulary(config: ModelConfig) -> Network:
    return build(config, VocabHead(config)).train()


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(**vars(SIZES)),
        ModelConfig(**vars(SIZES) | {"sharing": 3}),
        ModelConfig(**vars(SIZES) | {"gated": True, "kv_heads": 2, "head_size": 16}),
        ModelConfig(**vars(SIZES) | {"embedding_size": 16, "tied": False}),
    ],
    ids=["BERT", "shared layers", "grouped heads", "narrow embedding"],
)
def test_flops_of_full_rows_are_what_torch_counts(config: ModelConfig) -> None:
    network, batch = with_vocabulary(config), full(3, 20)
    assert Meter(network).count([batch]).flops == pytest.approx(counted(network, batch))


def test_flops_of_a_classifier_are_what_torch_counts() -> None:
    network, batch = build(SIZES, ClassifyHead(SIZES, 5)).train(), full(4, 11)
    assert Meter(network).count([batch]).flops == pytest.approx(counted(network, batch))


def test_what_is_frozen_costs_what_torch_counts() -> None:
    network, batch = build(SIZES, ClassifyHead(SIZES, 5)).train(), full(4, 11)
    whole = Meter(network).count([batch]).flops
    body = network.body
    assert isinstance(body, Transformer)
    for parameter in (*body.embedding.parameters(), *body.blocks[0].parameters()):
        parameter.requires_grad = False
    upper = Meter(network).count([batch]).flops
    # The lowest layer that learns is counted as if something below it did.
    assert counted(network, batch) < upper < 1.07 * counted(network, batch)
    for parameter in body.parameters():
        parameter.requires_grad = False
    head = Meter(network).count([batch]).flops
    assert head == pytest.approx(counted(network, batch), rel=0.02)
    assert head < upper < whole


def test_padding_and_strangers_in_a_row_are_no_useful_work() -> None:
    network, lengths = with_vocabulary(SIZES), [7, 12, 5]
    row = packed(lengths, padding=6)
    work = Meter(network).count([row])
    assert (work.tokens, work.positions) == (24, 30)
    head = 6 * 3 * SIZES.hidden * (SIZES.vocab + SIZES.hidden)  # three targets
    alone = [Meter(network).count([full(1, n)]) for n in lengths]
    heads = 6 * 24 * SIZES.hidden * (SIZES.vocab + SIZES.hidden)  # every position a target
    assert work.flops - head == pytest.approx(sum(one.flops for one in alone) - heads)


def test_a_decoder_is_counted_for_what_it_looks_back_at() -> None:
    length, window, causal = 10, 4, {"stacks": "decoder", "types": 0}
    base = vars(SIZES) | causal
    mixing = SIZES.layers * SIZES.hidden

    def pairs(**more: object) -> float:
        network = with_vocabulary(ModelConfig(**base | more))
        rates = (
            2
            * 3
            * sum(
                w.numel()
                for part in (network.body.blocks, network.head)
                for w in part.parameters()  # type: ignore[union-attr]
                if w.ndim > 1
            )
            + 6 * network.body.embedding.tokens.weight.numel()
        )
        return (Meter(network).count([full(1, length)]).flops - length * rates) / 12 / mixing

    assert pairs() == pytest.approx(length * (length + 1) / 2)
    assert pairs(window=window) == pytest.approx(sum(min(p + 1, window) for p in range(length)))


def test_an_encoder_window_is_counted_to_both_sides() -> None:
    length, window = 12, 5
    near = Meter(with_vocabulary(ModelConfig(**vars(SIZES) | {"window": window})))
    far = Meter(with_vocabulary(SIZES))
    seen = sum(abs(p - q) <= window // 2 for p in range(length) for q in range(length))
    lost = far.count([full(1, length)]).flops - near.count([full(1, length)]).flops
    assert lost == pytest.approx(12 * SIZES.layers * SIZES.hidden * (length**2 - seen))


def test_an_encoder_decoder_reads_and_writes() -> None:
    config = ModelConfig(**vars(SIZES) | {"stacks": "both", "decoder_layers": 2, "layers": 1})
    network = build(config, VocabHead(config, "seq2seq")).train()
    source, target = full(2, 9), full(2, 4)
    both = Batch(target.ids_BT, target.documents_BT, source=source, tokens=8, layout="full")
    work = Meter(network).count([both])
    assert work.positions == 2 * 9 + 2 * 4
    causal = 12 * 2 * config.hidden * 2 * (4 * 4 - 4 * 5 / 2)  # torch counts what is masked too
    assert work.flops + causal == pytest.approx(counted(network, both))


def test_the_formula_without_a_network_agrees_with_the_count() -> None:
    rates = training_rates(
        weights=SIZES.layers * (4 * SIZES.hidden**2 + 2 * SIZES.hidden * SIZES.ffn),
        mixing=SIZES.layers * SIZES.hidden,
        head=SIZES.hidden * (SIZES.hidden + SIZES.vocab),
    )
    work = Meter(with_vocabulary(SIZES)).count([full(3, 20)])
    assert rates.flops(60, 3 * 20 * 20, 60) == pytest.approx(work.flops)
