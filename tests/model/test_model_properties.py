"""Laws that hold for every network, whatever parts it is made of."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
import torch
from drawn_configs import (
    LENGTHS,
    VOCAB,
    apart,
    configs,
    network_of,
    sources,
    states,
    texts,
    together,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from model_samples import generator, padded
from torch import Tensor
from torch.testing import assert_close

from tael.model import transformer
from tael.model.batch import Batch
from tael.model.cache import Cache
from tael.model.config import ModelConfig
from tael.model.network import Network

ANY = configs("encoder", "decoder", "both")
WRITERS = configs("decoder", "both")
few = settings(max_examples=25, deadline=None)
pytestmark = pytest.mark.slow


def close(found: Tensor, expected: Tensor) -> None:
    assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small take several times as long on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gradients(network: Network, batch: Batch) -> dict[str, Tensor]:
    states_ND = states(network, batch)
    weights_ND = torch.randn(states_ND.shape, generator=generator(3)).double()
    network.zero_grad()
    (states_ND * weights_ND).sum().backward()
    return {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


@few
@given(ANY)
def test_parameters_are_counted_without_building_them(config: ModelConfig) -> None:
    network = network_of(config)
    assert config.parameters() == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("gathered", [False, True])
@few
@given(config=ANY, lengths=LENGTHS)
def test_packed_texts_have_the_states_and_gradients_of_texts_apart(
    gathered: bool, config: ModelConfig, lengths: list[int]
) -> None:
    network, documents = network_of(config), texts(lengths)
    one, other = apart(config, documents), together(config, documents)
    # These rows are short: with the border at 1 they go document by document all the same.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, "_LONG", 1 if gathered else 1000)
        close(states(network, other), states(network, one))
        expected, found = gradients(network, one), gradients(network, other)
    assert expected.keys() == found.keys() == dict(network.named_parameters()).keys()
    for name, gradient in expected.items():
        assert_close(found[name], gradient, atol=1e-8, rtol=1e-8, msg=name)


@few
@given(ANY, LENGTHS, st.integers(1, 6))
def test_what_stands_at_padding_and_how_much_of_it_changes_nothing(
    config: ModelConfig, lengths: list[int], extra: int
) -> None:
    network, documents = network_of(config), texts(lengths)
    expected = states(network, apart(config, documents))
    batch = apart(config, documents, extra)
    junk_BT = torch.where(batch.documents_BT > 0, batch.ids_BT, VOCAB - 1)
    close(states(network, replace(batch, ids_BT=junk_BT)), expected)
    close(states(network, replace(batch, layout="packed")), expected)
    close(states(network, replace(left(documents, extra), source=batch.source)), expected)


def left(documents: list[Tensor], extra: int = 0) -> Batch:
    """Stand the padding before the text."""
    width = max(map(len, documents)) + extra
    ids_BT, documents_BT, positions_BT = torch.zeros(3, len(documents), width, dtype=torch.int64)
    for row, document in enumerate(documents):
        start = width - len(document)
        ids_BT[row, start:], documents_BT[row, start:] = document, 1
        positions_BT[row, start:] = torch.arange(len(document))
    return Batch(ids_BT, documents_BT.int(), positions_BT=positions_BT, layout="packed")


@few
@given(ANY, LENGTHS, st.randoms())
def test_the_order_of_rows_is_the_order_of_states(
    config: ModelConfig, lengths: list[int], luck: Random
) -> None:
    network, documents = network_of(config), texts(lengths)
    batch = apart(config, documents)
    order = luck.sample(range(len(lengths)), len(lengths))
    source = batch.source and Batch(
        batch.source.ids_BT[order], batch.source.documents_BT[order], layout="padded"
    )
    shuffled = Batch(batch.ids_BT[order], batch.documents_BT[order], layout="padded", source=source)
    found, expected = network(shuffled), network(batch)[order]
    real_BT = shuffled.documents_BT > 0
    close(found[real_BT], expected[real_BT])


@few
@given(WRITERS, st.integers(2, 12), st.data())
def test_what_comes_later_does_not_change_what_came_before(
    config: ModelConfig, length: int, data: st.DataObject
) -> None:
    network, documents = network_of(config), texts([length])
    at = data.draw(st.integers(1, length - 1))
    batch = apart(config, documents)
    ids_BT = batch.ids_BT.clone()
    ids_BT[:, at:] = (ids_BT[:, at:] + 1) % VOCAB
    before, after = network(batch), network(replace(batch, ids_BT=ids_BT))
    close(after[:, :at], before[:, :at])
    assert not torch.allclose(after[:, at], before[:, at])


@few
@given(WRITERS, st.lists(st.integers(1, 26), min_size=1, max_size=3), st.data())
def test_a_cache_changes_nothing(
    config: ModelConfig, starts: list[int], data: st.DataObject
) -> None:
    network = network_of(config)
    rest = data.draw(st.integers(1, 24))
    documents = texts([start + rest for start in starts])
    batch = apart(config, documents)
    expected_BTD = network(batch)
    rows = list(range(len(starts)))
    cache = Cache(config, len(rows), max(starts) + rest + 1, dtype=torch.float64)
    first = [document[:start] for document, start in zip(documents, starts, strict=True)]
    begun = data.draw(st.sampled_from([left, padded]))(first, data.draw(st.integers(0, 1)))
    close(
        network(replace(begun, source=batch.source), cache)[begun.documents_BT > 0],
        torch.cat([expected_BTD[row, :start] for row, start in enumerate(starts)]),
    )
    done = 0
    while done < rest:
        step = data.draw(st.integers(1, min(16, rest - done)))
        at_BT = torch.tensor([[starts[row] + done + n for n in range(step)] for row in rows])
        ids_BT = torch.stack([documents[row][at] for row, at in zip(rows, at_BT, strict=True)])
        new = Batch(ids_BT, torch.ones_like(ids_BT).int(), positions_BT=at_BT, layout="full")
        expected = torch.stack([expected_BTD[row, at] for row, at in zip(rows, at_BT, strict=True)])
        close(network(new, cache), expected)
        done += step
        undone = data.draw(st.sampled_from([0, 0, 0, 1, step]))
        if 0 < undone < step:  # else it might never end
            cache.forget(undone)
            done -= undone
        if data.draw(st.integers(0, 3)) == 0:
            order = data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=1, max_size=4))
            cache.reorder(order)
            rows = [rows[at] for at in order]


def test_the_laws_bite() -> None:
    network, documents = network_of(config := ModelConfig(VOCAB, 12, 2, 3, 14)), texts([4, 7])
    batch = apart(config, documents)
    unmasked = replace(batch, layout="full")
    assert not torch.allclose(states(network, unmasked), states(network, batch))
    mixed = replace(together(config, documents), documents_BT=torch.ones(1, 13).int())
    assert not torch.allclose(states(network, mixed)[:11], states(network, batch))
    both = network_of(config := replace(config, stacks="both"))
    batch = apart(config, documents)
    swapped = replace(batch, source=padded(sources(documents)[::-1]))
    assert not torch.allclose(states(both, swapped), states(both, batch))
