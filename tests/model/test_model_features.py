"""Parts of the core, each against its formula or against the same thing said another way."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from drawn_configs import VOCAB, apart, network_of, states, texts, together
from family_samples import close_logits, shake, transformers
from torch import Tensor
from torch.testing import assert_close

from tael.model.batch import Batch
from tael.model.cache import Cache
from tael.model.config import ModelConfig
from tael.model.head import VocabHead
from tael.model.network import Network
from tael.model.position import SinusoidalPositions

DECODER = ModelConfig(VOCAB, 12, 2, 3, 14, stacks="decoder", types=0)
BOTH = replace(DECODER, stacks="both")


def close(found: Tensor, expected: Tensor) -> None:
    assert_close(found, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("heads", [3, 4])  # slopes are said for powers of two, others fall between
def test_alibi_is_that_of_mpt(heads: int) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 24, "n_heads": heads, "n_layers": 2}
    raw = transformers.MptConfig(**sizes, max_seq_len=32, vocab_size=VOCAB)
    model = transformers.MptForCausalLM(raw).eval()
    shake(model)
    config = ModelConfig(
        VOCAB, 24, 2, heads, 96, stacks="decoder", position="alibi", norm_place="pre",
        norm_eps=1e-5, norm_bias=False, embedding_norm=False, final_norm=True, qkv_bias=False,
        out_bias=False, ffn_bias=False, types=0, vocab_transform=False, vocab_bias=False,
    )  # fmt: skip
    network = Network(config, VocabHead(config, "clm")).eval()
    names = {
        "transformer.wte": "body.embedding.tokens", "transformer.norm_f": "body.final_norm",
        "transformer.blocks": "body.blocks", "attn.Wqkv": "attention.qkv", "norm_1":
        "attention_norm", "attn.out_proj": "attention.out", "norm_2": "ffn_norm",
        "ffn.up_proj": "ffn.up", "ffn.down_proj": "ffn.down",
    }  # fmt: skip
    weights = model.state_dict()
    weights.pop("lm_head.weight")
    for their, our in names.items():
        weights = {name.replace(their, our): tensor for name, tensor in weights.items()}
    network.load_state_dict(weights)
    batch = apart(config, texts([9, 4, 17]))
    mask_BT = (batch.documents_BT > 0).long()
    with torch.no_grad():
        expected = model(batch.ids_BT, attention_mask=mask_BT).logits[mask_BT > 0]
        close_logits(network.logits(batch)[mask_BT > 0], expected)


def test_sines_and_cosines_are_the_papers_in_another_order() -> None:
    size, length = 12, 40
    table_TD = SinusoidalPositions(replace(DECODER, position="sinusoidal"))(None, length)
    for position in (0, 1, 7, 39):
        for i in range(size // 2):
            angle = torch.tensor(position / 10_000 ** (2 * i / size), dtype=torch.float64)
            assert_close(table_TD[position, i], angle.sin().float())
            assert_close(table_TD[position, size // 2 + i], angle.cos().float())
    somewhere_BT = torch.tensor([[39, 0, 7]])
    positions = SinusoidalPositions(replace(DECODER, position="sinusoidal"))
    assert torch.equal(positions(somewhere_BT, 3)[0], table_TD[[39, 0, 7]])


Cut = Callable[[ModelConfig, list[Tensor]], Batch]


def prefixed(documents: list[Tensor], lengths: list[int], cut: Cut) -> Batch:
    batch = cut(DECODER, documents)
    at_BT = batch.positions_BT
    if at_BT is None:
        at_BT = torch.arange(batch.ids_BT.shape[1]).expand_as(batch.ids_BT)
    ends = torch.tensor([0, *lengths])
    rows = batch.documents_BT.long()
    if cut is apart:
        rows = rows * torch.arange(1, len(documents) + 1)[:, None]
    return replace(batch, prefix_BT=(at_BT < ends[rows]) & (rows > 0))


@pytest.mark.parametrize("window", [None, 2])
def test_a_prefix_is_seen_by_all_and_what_follows_it_only_from_behind(window: int | None) -> None:
    config = replace(DECODER, window=window)
    network, documents = network_of(config), texts([7, 4, 9])
    batch = prefixed(documents, [3, 4, 0], apart)
    hidden_BTD = network(batch)
    close(hidden_BTD[2, :9], network(apart(config, documents))[2, :9])  # no prefix: a decoder
    close(states(network, prefixed(documents, [3, 4, 0], together)), states(network, batch))
    for at, first in ((2, 0), (3, 3), (5, 5)):  # what is changed, and the first state to change
        ids_BT = batch.ids_BT.clone()
        ids_BT[0, at] = (ids_BT[0, at] + 1) % VOCAB
        changed_T = (
            (network(replace(batch, ids_BT=ids_BT))[0, :7] - hidden_BTD[0, :7]).abs().sum(-1)
        )
        assert (changed_T[:first] < 1e-10).all()
        assert changed_T[first] > 1e-6


def test_what_follows_a_prefix_goes_on_from_a_cache() -> None:
    network, documents = network_of(DECODER), texts([9, 9])
    batch = prefixed(documents, [4, 2], apart)
    assert batch.prefix_BT is not None
    expected_BTD = network(batch)
    cache = Cache(DECODER, 2, 9, dtype=torch.float64)
    begun = Batch(batch.ids_BT[:, :5], batch.documents_BT[:, :5], prefix_BT=batch.prefix_BT[:, :5])
    close(network(begun, cache), expected_BTD[:, :5])
    at_BT = torch.arange(5, 9).expand(2, 4)
    rest = Batch(batch.ids_BT[:, 5:], batch.documents_BT[:, 5:], positions_BT=at_BT, layout="full")
    close(network(rest, cache), expected_BTD[:, 5:])


def test_a_prefix_that_is_everything_makes_an_encoder() -> None:
    network, documents = network_of(DECODER), texts([7, 4])
    encoder = network_of(replace(DECODER, stacks="encoder"))
    whole = prefixed(documents, [7, 4], apart)
    close(states(network, whole), states(encoder, apart(DECODER, documents)))


def test_keys_that_heads_share_are_keys_that_are_equal() -> None:
    shared = network_of(replace(DECODER, kv_heads=1))
    every = network_of(DECODER)
    weights = shared.state_dict()
    for name, parameter in every.named_parameters():
        tensor = weights[name]
        if ".qkv." in name:  # 3 heads of 4 numbers, then one of keys and one of values
            query, key, value = tensor.split([12, 4, 4])
            tensor = torch.cat([query, key, key, key, value, value, value])
        parameter.data.copy_(tensor)
    batch = apart(DECODER, texts([7, 4]))
    close(states(shared, batch), states(every, batch))


def same_weights(shared: Network, every: Network, twin: Callable[[str], str]) -> None:
    """Give every layer its own copy of what layers share; hold states and gradients."""
    weights = shared.state_dict()
    for name, parameter in every.named_parameters():
        parameter.data.copy_(weights[twin(name)])
    batch = apart(shared.config, texts([7, 4]))
    close(states(shared, batch), states(every, batch))
    for network in (shared, every):
        network.zero_grad()
        states(network, batch).pow(3).sum().backward()
    sums: dict[str, Tensor] = {}
    for name, parameter in every.named_parameters():
        assert parameter.grad is not None
        sums[twin(name)] = sums.get(twin(name), 0) + parameter.grad
    for name, parameter in shared.named_parameters():
        assert_close(parameter.grad, sums[name], atol=1e-8, rtol=1e-8)


def test_a_layer_used_twice_is_two_equal_layers() -> None:
    same_weights(
        network_of(replace(DECODER, sharing=2)),
        network_of(DECODER),
        lambda name: name.replace("blocks.1.", "blocks.0."),
    )


@pytest.mark.parametrize("place", ["post", "sandwich"])
def test_stacks_that_share_their_layers_are_two_stacks_of_equal_ones(place: str) -> None:
    def twin(name: str) -> str:
        own = "cross" in name or "blocks" not in name
        return name if own else name.replace("decoder", "encoder")

    config = replace(BOTH, norm_place=place)
    same_weights(network_of(replace(config, stacks_shared=True)), network_of(config), twin)


@pytest.mark.parametrize("config", [DECODER, BOTH])
def test_droppath_skips_every_branch_of_a_row_at_once(config: ModelConfig) -> None:
    config = replace(config, norm_place="pre", droppath=0.5, dropout=0.0, attention_dropout=0.0)
    batch = apart(config, texts([6] * 64))
    network = network_of(replace(config, layers=1)).train()
    torch.manual_seed(0)
    hidden_BTD, plain_BTD = network(batch), network.eval()(batch)
    stack = network.body.decoder if config.stacks == "both" else network.body
    untouched_B = (hidden_BTD == stack.embedding(batch)).flatten(1).all(dim=1)
    assert 0 < untouched_B.sum() < 32  # of 64 rows, a quarter or an eighth
    assert not torch.isclose(hidden_BTD, plain_BTD).flatten(1).all(dim=1).any()


def test_dropout_within_the_feed_forward_layer_is_for_training_only() -> None:
    config = replace(DECODER, dropout=0.0, attention_dropout=0.0)
    batch = apart(config, texts([6, 3]))
    plain, dropping = network_of(config), network_of(replace(config, ffn_dropout=0.5))
    assert torch.equal(plain(batch), dropping(batch))
    torch.manual_seed(0)
    assert not torch.allclose(dropping.train()(batch), plain.train()(batch))


@pytest.mark.parametrize("place", ["post", "pre", "sandwich"])
def test_a_decoder_reads_its_source_wherever_norms_stand(place: str) -> None:
    config = replace(BOTH, norm_place=place, qk_norm=True)
    network, batch = network_of(config), apart(BOTH, texts([6, 3]))
    assert batch.source is not None
    changed = replace(batch.source, ids_BT=(batch.source.ids_BT + 1) % VOCAB)
    one, other = network(batch), network(replace(batch, source=changed))
    assert not torch.isclose(one, other).flatten(0, 1).all(dim=1).any()
    for part in ("q_norm", "k_norm"):  # of what reads the source too
        module = getattr(network.body.decoder.blocks[0].cross, part)
        module.weight.data.mul_(2)
        assert not torch.allclose(network(batch), one)
        module.weight.data.div_(2)
