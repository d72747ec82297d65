"""docs/model.md: its lines stand in the source, its numbers follow from both the equations and us.

The numbers come three times: from numpy (worked_example.py), from tael's modules with the same
weights, and as printed in both languages.
"""

import ast
import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import worked_example as worked
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.testing import assert_close
from worked_example import CROSS, DECODER, ENCODER, HIDDEN, Array

from tael.data.tokenizer import train_tokenizer
from tael.model.attention import Attention, Memory, View, attend, visible
from tael.model.batch import Batch
from tael.model.block import Block
from tael.model.config import ModelConfig
from tael.model.document import group
from tael.model.ffn import FeedForward
from tael.model.head import ClassifyHead, VocabHead
from tael.model.network import build
from tael.model.norm import RMSNorm, norm
from tael.model.position import Alibi, RelativeBias, Rotary, SinusoidalPositions, rotate
from tael.recipe.schema import Tokenizer as Spec
from tael.task.classify import Classify
from tael.task.labels import Kind

ROOT = Path(__file__).parents[2]
CONFIG = ModelConfig(64, HIDDEN, 1, 8, worked.FFN, norm_eps=worked.EPS, dropout=0.0)
PAGES = {name: (ROOT / "docs" / name).read_text("utf-8") for name in worked.PAGES}
EQUAL = {"atol": 1e-9, "rtol": 0.0}


# The lines quoted.


def quotes(page: str) -> list[tuple[str, str, str]]:
    """File, function and code of each quotation."""
    return re.findall(r"^`(tael/\S+\.py)` · `(\S+)`\n```python\n(.*?)```", page, re.M | re.S)


def source_of(path: str, name: str) -> list[str]:
    """The lines of a function, without their indentation."""
    text = (ROOT / path).read_text("utf-8")
    found: ast.AST = ast.parse(text)
    for part in name.split("."):
        found = next(n for n in ast.iter_child_nodes(found) if getattr(n, "name", "") == part)
    return [line.strip() for line in (ast.get_source_segment(text, found) or "").splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_every_quoted_line_stands_in_its_function_in_this_order(page: str) -> None:
    found = quotes(PAGES[page])
    assert len(found) == PAGES[page].count("```python") > 25
    for path, name, code in found:
        rest = iter(source_of(path, name))
        for line in code.splitlines():
            assert line.strip() in rest, f"{path}, {name}: {line}"


def test_both_languages_have_the_same_equations_lines_and_links() -> None:
    one, other = PAGES.values()
    assert quotes(one) == quotes(other)
    words = r"\\text\{[^}]*\}|\\[ ,]|\s"  # the words within are each page's own
    bare = [[re.sub(words, "", e) for e in re.findall(r"\$\$.+?\$\$", p)] for p in (one, other)]
    assert bare[0] == bare[1]
    assert len(bare[0]) > 20
    links = r"arxiv\.org/abs/[\d.]+"
    assert re.findall(links, one) == re.findall(links, other)


# The numbers printed.


def printed(page: str) -> dict[str, list[Array]]:
    """The tables of each generated block."""
    tables: dict[str, list[Array]] = {}
    for name, block in re.findall(r"<!-- worked: (\S+) -->\n```text\n(.*?)```", page, re.S):
        each = re.split(r"^\S.*\n", block, flags=re.M)[1:]
        tables[name] = [np.array([x.split()[1:] for x in t.splitlines()], float) for t in each]
    return tables


@pytest.mark.parametrize("page", PAGES)
def test_the_equations_give_the_numbers_printed(page: str) -> None:
    assert worked.filled(PAGES[page]) == PAGES[page], "run `make docs`"


@pytest.mark.parametrize("name", sorted(set(worked.blocks()) - {"inputs", "losses"}))
def test_our_modules_give_the_numbers_printed(name: str) -> None:
    mine = ours()[name]
    for page in PAGES.values():
        tables = printed(page)[name]
        assert len(tables) == len(mine)
        for table, x in zip(tables, mine, strict=True):
            assert table.shape == (5, 5)
            np.testing.assert_allclose(table, x[:, :5], atol=0.50001e-4, rtol=0)


# tael's modules with the weights of the example.


def held(x: Array) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(x), requires_grad=False)


def put(linear: nn.Module, parts: list[tuple[int, int]]) -> None:
    """Stack matrices, each a number and its rows."""
    columns = linear.weight.shape[1]
    linear.weight = held(np.concatenate([worked.matrix(n, r, columns) for n, r in parts]))
    linear.bias = held(np.concatenate([worked.bias(n, r) for n, r in parts]))


def attention_of(config: ModelConfig, n: dict[str, int], *, cross: bool = False) -> Attention:
    module = Attention(config, cross=cross).eval()
    inner = config.groups * config.width
    keys = [(n["k"], inner), (n["v"], inner)]
    if cross:
        put(module.q, [(n["q"], HIDDEN)])
        put(module.kv, keys)
    else:
        put(module.qkv, [(n["q"], HIDDEN), *keys])
    put(module.out, [(n["out"], HIDDEN)])
    return module


def put_norm(module: nn.Module | None, n: int) -> None:
    assert isinstance(module, nn.LayerNorm)
    module.weight, module.bias = held(worked.scale(n)), held(worked.bias(n, HIDDEN))


@cache
def block_of(place: str, *, decoder: bool) -> Block:
    config = replace(CONFIG, norm_place=place, stacks="both" if decoder else "encoder")
    n, block = DECODER if decoder else ENCODER, Block(config, cross=decoder).eval()
    block.attention = attention_of(config, n)
    if decoder:
        block.cross = attention_of(config, CROSS, cross=True)
        put_norm(block.cross_norm, CROSS["attention"])
    put(block.ffn.up, [(n["up"], worked.FFN)])
    put(block.ffn.down, [(n["down"], HIDDEN)])
    put_norm(block.attention_norm, n["attention"])
    put_norm(block.ffn_norm, n["ffn"])
    return block


def tensor(x: Array) -> Tensor:
    return torch.from_numpy(x)[None]


def attended(module: Attention, x_BTD: Tensor, view: View) -> list[Array]:
    """The weights of each head, seen by values that are the unit matrix, and the output."""
    parts = module.qkv(x_BTD).split(module.qkv.parts, dim=-1)
    q_BHTK, k_BGSK = (module._heads(part) for part in parts[:2])
    unit = torch.eye(x_BTD.shape[1], dtype=x_BTD.dtype).expand(1, module.groups, -1, -1)
    weights_BHTS = attend(q_BHTK, k_BGSK, unit, view, module.scale)
    return [*weights_BHTS[0].numpy(), module(x_BTD, view)[0].numpy()]


@cache
def ours() -> dict[str, list[Array]]:
    """The tables of the pages, from tael's modules."""
    x_BTD, y_BTD = tensor(worked.tokens(1)), tensor(worked.tokens(6))
    one, eight, two = (
        attention_of(replace(CONFIG, heads=h, kv_heads=g), ENCODER)
        for h, g in ((1, 1), (8, 8), (8, 2))
    )
    whole, causal = View(), View(causal=True)
    packed = View(visible(two_documents(), causal=False, window=None))
    heads = attended(eight, x_BTD, whole)
    shared = attended(two, x_BTD, whole)
    places = ("post", "pre")
    encoded = {p: block_of(p, decoder=False)(x_BTD, whole) for p in places}
    memory = Memory(encoded["post"], None)
    decoded = [block_of(p, decoder=True)(y_BTD, causal, memory)[0].numpy() for p in places]
    return {
        "one": attended(one, x_BTD, whole),
        "one-causal": attended(one, x_BTD, causal),
        "eight": [heads[0], heads[7], heads[8]],
        "eight-causal": [x for i, x in enumerate(attended(eight, x_BTD, causal)) if i in (0, 8)],
        "grouped": [shared[4], shared[8]],
        "packed": [x for i, x in enumerate(attended(eight, x_BTD, packed)) if i in (0, 8)],
        "encoder": [encoded[p][0].numpy() for p in places],
        "decoder": [read_by_the_first_head(y_BTD, memory), *decoded],
    }


def read_by_the_first_head(y_BTD: Tensor, memory: Memory) -> Array:
    block = block_of("post", decoder=True)
    assert block.cross is not None
    y_BTD = block.attention_norm(y_BTD + block.attention(y_BTD, View(causal=True)))
    k_BTE = block.cross.kv(memory.x_BSD).split(block.cross.kv.parts, dim=-1)[0]
    q_BHTK, k_BHSK = (block.cross._heads(x) for x in (block.cross.q(y_BTD), k_BTE))
    unit = torch.eye(5, dtype=torch.float64).expand(1, 8, -1, -1)
    return attend(q_BHTK, k_BHSK, unit, View(), block.cross.scale)[0, 0].numpy()


def two_documents() -> Batch:
    documents_BT = torch.tensor([[1, 1, 2, 2, 2]], dtype=torch.int32)
    return Batch(torch.zeros_like(documents_BT, dtype=torch.int64), documents_BT)


# numpy and tael beyond the digits printed.


@pytest.mark.parametrize("place", ["post", "pre"])
def test_whole_layers_are_their_equations_in_every_number(place: str) -> None:
    x_BTD, y_BTD = tensor(worked.tokens(1)), tensor(worked.tokens(6))
    encoded_BTD = block_of(place, decoder=False)(x_BTD, View())
    expected = worked.encoder_layer(x_BTD[0].numpy(), place)
    assert_close(encoded_BTD[0], torch.from_numpy(expected), **EQUAL)
    memory = Memory(encoded_BTD, None)
    decoded_BTD = block_of(place, decoder=True)(y_BTD, View(causal=True), memory)
    expected = worked.decoder_layer(y_BTD[0].numpy(), encoded_BTD[0].numpy(), place)
    assert_close(decoded_BTD[0], torch.from_numpy(expected), **EQUAL)


def test_learning_takes_the_plain_path_to_the_same_output() -> None:
    module = attention_of(CONFIG, ENCODER)
    x_BTD = tensor(worked.tokens(1)).requires_grad_()
    assert_close(module(x_BTD, View()), module(x_BTD.detach(), View()), **EQUAL)


def test_documents_gathered_give_the_output_that_a_mask_gives() -> None:
    module, x_BTD = attention_of(CONFIG, ENCODER), tensor(worked.tokens(1))
    groups = group(two_documents().documents_BT)
    expected = worked.attention(x_BTD[0].numpy(), x_BTD[0].numpy(), ENCODER, 8, worked.documents())[
        1
    ]
    assert_close(module(x_BTD, View(groups=groups))[0], torch.from_numpy(expected), **EQUAL)


@pytest.mark.parametrize("gathered", [True, False])
def test_a_hidden_document_changes_no_bit_and_gets_no_gradient(gathered: bool) -> None:
    module, batch = attention_of(CONFIG, ENCODER), two_documents()
    mask = visible(batch, causal=False, window=None)
    view = View(groups=group(batch.documents_BT)) if gathered else View(mask)
    x_BTD = tensor(worked.tokens(1)).requires_grad_()
    other_BTD = x_BTD.detach().clone()
    other_BTD[:, :2] = 1e6
    before_BTD, after_BTD = module(x_BTD, view), module(other_BTD.requires_grad_(), view)
    assert torch.equal(before_BTD[:, 2:], after_BTD[:, 2:])
    assert not torch.equal(before_BTD[:, :2], after_BTD[:, :2])
    before_BTD[:, 2:].sum().backward()
    assert x_BTD.grad is not None
    assert not x_BTD.grad[:, :2].any()
    assert x_BTD.grad[:, 2:].any()


# The equations that the example leaves out.


def test_a_cap_bends_the_scores_before_the_softmax() -> None:
    q, k = (torch.from_numpy(worked.matrix(n, 5, 8))[None, None] for n in (2, 3))
    unit = torch.eye(5, dtype=torch.float64)[None, None]
    scores = 20 * q.numpy()[0, 0] @ k.numpy()[0, 0].T
    expected = worked.softmax(3 * np.tanh(scores / 3))
    found = attend(q, k, unit, View(), scale=20.0, cap=3.0)
    assert_close(found[0, 0], torch.from_numpy(expected), **EQUAL)


def test_sinusoidal_positions_are_sines_then_cosines() -> None:
    t, i = np.arange(5)[:, None], np.arange(HIDDEN // 2)
    angles = t / 10_000 ** (2 * i / HIDDEN)
    expected = np.concatenate([np.sin(angles), np.cos(angles)], 1)
    found = SinusoidalPositions(replace(CONFIG, position="sinusoidal"))(None, 5)
    assert_close(found.double(), torch.from_numpy(expected), atol=1e-7, rtol=0.0)


def test_rotary_turns_each_pair_by_its_angle() -> None:
    rotary = Rotary(replace(CONFIG, position="rotary"), 10_000.0, None)
    x_TK, half = worked.tokens(1)[:, :64], 32
    angles = np.arange(5)[:, None] * 10_000.0 ** (-2 * np.arange(half) / 64)
    a, b = x_TK[:, :half], x_TK[:, half:]
    expected = np.concatenate(
        [a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], 1
    )
    found = rotate(tensor(x_TK)[None], rotary(torch.arange(5)[None], torch.float64))
    assert_close(found[0, 0], torch.from_numpy(expected), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("both_ways", [True, False])
def test_relative_distances_share_buckets_as_the_equation_says(both_ways: bool) -> None:
    config = replace(CONFIG, position="relative")
    bias, farthest = RelativeBias(config, both_ways=both_ways), config.relative_distance

    def bucket(delta: int) -> int:
        buckets = config.relative_buckets // (2 if both_ways else 1)
        start = buckets if both_ways and delta > 0 else 0
        away, near = abs(delta) if both_ways else max(-delta, 0), buckets // 2
        if away < near:
            return start + away
        share = math.log(away / near) / math.log(farthest / near)
        return start + min(near + math.floor(share * (buckets - near)), buckets - 1)

    deltas = [d for d in range(-300, 301) if abs(d) not in (16, 32, 64, 128)]  # a floor's edges
    assert bias._bucket(torch.tensor(deltas)).tolist() == [bucket(d) for d in deltas]


def test_alibi_takes_off_distance_times_slope() -> None:
    at_BT = torch.arange(5)[None]
    found = Alibi(replace(CONFIG, position="alibi"))(at_BT, at_BT)
    away = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    expected = np.stack([-(2.0 ** (-8 * h / 8)) * away for h in range(1, 9)])
    assert_close(found[0].double(), torch.from_numpy(expected))


def test_a_gate_multiplies_what_is_not_bent() -> None:
    ffn = FeedForward(replace(CONFIG, ffn=32, gated=True, activation="silu")).eval()
    put(ffn.up, [(2, 32), (3, 32)])
    put(ffn.down, [(5, HIDDEN)])
    x_TD = worked.tokens(1)
    gate, up = worked.linear(x_TD, 2, 32), worked.linear(x_TD, 3, 32)
    expected = worked.linear(gate / (1 + np.exp(-gate)) * up, 5, HIDDEN)
    assert_close(ffn(tensor(x_TD))[0], torch.from_numpy(expected), **EQUAL)


def test_norms_bring_a_vector_to_one_size() -> None:
    x_TD = worked.tokens(1)
    layer, rms = norm(CONFIG), RMSNorm(HIDDEN, worked.EPS)
    put_norm(layer, 7)
    rms.weight = held(worked.scale(7))
    assert_close(layer(tensor(x_TD))[0], torch.from_numpy(worked.layer_norm(x_TD, 7)), **EQUAL)
    size = np.sqrt((x_TD**2).mean(-1, keepdims=True) + worked.EPS)
    assert_close(rms(tensor(x_TD))[0], torch.from_numpy(x_TD / size * worked.scale(7)), **EQUAL)


@pytest.mark.parametrize(
    ("kind", "stacks"), [("mlm", "encoder"), ("clm", "decoder"), ("seq2seq", "both")]
)
def test_losses_of_language_models_are_one_formula(kind: str, stacks: str) -> None:
    config = ModelConfig(11, 8, 1, 2, 12, stacks=stacks, vocab_transform=kind == "mlm")
    network = build(config, VocabHead(config, kind), seed=3).eval()
    ids_BT = torch.tensor([[4, 7, 2, 9, 5]])
    one = torch.ones_like(ids_BT, dtype=torch.int32)
    batch = Batch(ids_BT, one, layout="full")
    where = torch.tensor([1, 3] if kind == "mlm" else [0, 1, 2, 3])
    targets_N = ids_BT[0, where + (kind != "mlm")]
    if kind == "mlm":
        batch = replace(batch, where_N=where)
    elif kind == "seq2seq":
        batch = replace(batch, source=batch)
    with torch.no_grad():
        logits_NV = network.logits(batch)
    logits_NV = logits_NV if kind == "mlm" else logits_NV[0, where]
    p_NV = worked.softmax(logits_NV.double().numpy())
    expected = -np.log(p_NV[np.arange(len(p_NV)), targets_N.numpy()]).mean()
    assert F.cross_entropy(logits_NV, targets_N).item() == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["five tokens make an example"] * 5, Spec(kind="wordpiece", vocab=100))


@pytest.mark.parametrize("smoothing", [0.0, worked.SMOOTHING])
@pytest.mark.parametrize("weights", [None, worked.WEIGHT_C])
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_the_task_divides_to_the_loss_of_the_equation(
    kind: Kind, weights: Array | None, smoothing: float, tokenizer: Tokenizer
) -> None:
    given = None if weights is None else weights.tolist()
    task = Classify(
        tokenizer, ["a", "b", "c"], kind, 8, label_smoothing=smoothing, class_weights=given
    )
    targets = torch.from_numpy(worked.CLASSES_N if kind == "single" else worked.CHOSEN_NC)
    batch = replace(two_documents(), targets=targets if kind == "single" else targets.float())
    equation = worked.cross_entropy if kind == "single" else worked.binary_cross_entropy
    expected = equation(smoothing, np.ones(3) if weights is None else weights)
    loss = task.loss(torch.from_numpy(worked.LOGITS_NC), batch).item()
    assert loss / task.supervised(batch) == pytest.approx(expected, rel=1e-6)


def test_a_number_is_scored_in_deviations(tokenizer: Tokenizer) -> None:
    task = Classify(tokenizer, [], "regression", 8, scale=worked.SPREAD, center=3.0)
    head = task.head(replace(CONFIG, pool_activation="none"))
    assert isinstance(head, ClassifyHead)
    raw_N = (worked.SCORE_N - 3.0) / worked.SPREAD  # what the network itself would say
    head.classifier.weight = held(np.eye(1, HIDDEN))
    head.classifier.bias = held(np.zeros(1))
    states_BTD = torch.zeros(2, 1, HIDDEN, dtype=torch.float64)
    states_BTD[:, 0, 0] = torch.from_numpy(raw_N)
    batch = Batch(torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1, dtype=torch.int32))
    batch = replace(batch, targets=torch.from_numpy(worked.NUMBER_N))
    answers = head.eval()(states_BTD, batch, torch.zeros(0)).detach()
    assert_close(answers[:, 0], torch.from_numpy(worked.SCORE_N))
    loss = task.loss(answers, batch).item() / task.supervised(batch)
    assert loss == pytest.approx(worked.squared_error())
