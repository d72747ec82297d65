"""Matrices of four and eight bits: the numbers they stand for, and what they multiply to."""

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_samples import generator
from torch.testing import assert_close

from tael.model.coded import CodedEmbedding, CodedLinear
from tael.model.gguf_blocks import blocks_of
from tael.model.gguf_header import Stored
from tael.model.quant import in_blocks

KINDS = ["Q4_0", "Q4_1", "Q8_0", "Q4_K"]
BITS = {"Q4_0": 4, "Q4_1": 4, "Q8_0": 8, "Q4_K": 4}


def stored(kind: str, rows: int, seed: int = 0) -> Stored:
    """Make a matrix of this type: real ones quantised, or blocks of random bytes."""
    number = gguf.GGMLQuantizationType[kind]
    luck = np.random.default_rng(seed)
    width = 512
    if kind != "Q4_K":  # the library reads that one, and writes it not
        data = gguf.quantize(luck.normal(size=(rows, width)).astype(np.float32), number)
        return Stored(number, (rows, width), data)
    blocks = luck.integers(0, 256, (rows * width // 256, 144), dtype=np.uint8)
    blocks[:, :4] = luck.uniform(0.001, 1, (len(blocks), 2)).astype(np.float16).view(np.uint8)
    return Stored(number, (rows, width), blocks.reshape(rows, -1))


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_a_file_stand_for_exactly_the_numbers_the_library_says(kind: str) -> None:
    tensor = stored(kind, rows=48)
    blocks = blocks_of(tensor)
    expected = torch.from_numpy(gguf.dequantize(tensor.data, tensor.kind))
    assert blocks is not None
    assert blocks.bits == BITS[kind]
    assert torch.equal(blocks.numbers(), expected)
    # In float32 the kernel's own scale and middle stand for the same: nothing was rounded.
    assert torch.equal(CodedLinear.of(blocks, dtype=torch.float32).numbers(), expected)
    ids = torch.tensor([[3, 0, 47]])
    assert torch.equal(CodedEmbedding.of(blocks, torch.float32)(ids), expected[ids])


def test_other_types_are_not_taken_for_blocks_of_32() -> None:
    luck = np.random.default_rng(0)
    kind = gguf.GGMLQuantizationType.Q5_0
    data = gguf.quantize(luck.normal(size=(4, 64)).astype(np.float32), kind)
    assert blocks_of(Stored(kind, (4, 64), data)) is None


@settings(max_examples=25, deadline=None)
@given(
    bits=st.sampled_from([4, 8]),
    rows=st.integers(1, 150),
    groups=st.integers(1, 5),
    positions=st.integers(1, 9),
    biased=st.booleans(),
)
def test_a_product_is_that_of_the_numbers_which_the_codes_stand_for(
    bits: int, rows: int, groups: int, positions: int, biased: bool
) -> None:
    random = generator(rows * 31 + groups)
    matrix = torch.randn(rows, 32 * groups, generator=random)
    bias = torch.randn(rows, generator=random) if biased else None
    blocks = in_blocks(matrix, bits)
    x = torch.randn(2, positions, 32 * groups, generator=random)
    expected = torch.nn.functional.linear(x, blocks.numbers(), bias)
    layer = CodedLinear.of(blocks, bias, dtype=torch.float32)
    assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)
    near = CodedLinear.of(blocks, bias)(x.bfloat16()).float()
    assert float((near - expected).norm()) <= 0.01 * float(expected.norm()) + 0.01


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_come_back_out_of_the_kernels_own_order(bits: int) -> None:
    blocks = in_blocks(torch.randn(70, 96, generator=generator()), bits)
    codes = CodedLinear.of(blocks).codes()
    if bits == 8:
        codes = codes[:, :96] << 4 | codes[:, 96:]
    assert torch.equal(codes, blocks.codes_NK)


def test_rows_can_be_reordered_and_stacked_in_codes() -> None:
    matrix = torch.randn(40, 64, generator=generator())
    blocks, order = in_blocks(matrix, 4), torch.randperm(40, generator=generator(1))
    assert torch.equal(blocks.rows(order).numbers(), blocks.numbers()[order])
    both = type(blocks).stacked([blocks, blocks.rows(order)])
    assert torch.equal(both.numbers(), torch.cat([blocks.numbers(), blocks.numbers()[order]]))


def test_four_bits_err_less_than_the_plain_range_would_and_eight_far_less() -> None:
    matrix = torch.randn(64, 512, generator=generator())
    groups = matrix.view(64, 16, 32)
    step = (groups.amax(-1) - groups.amin(-1))[..., None] / 15
    plain = ((groups - groups.amin(-1, keepdim=True)) / step).round() * step
    plain = (plain + groups.amin(-1, keepdim=True)).flatten(1)
    errors = {bits: (in_blocks(matrix, bits).numbers() - matrix).norm() for bits in (4, 8)}
    assert errors[4] < 0.99 * (plain - matrix).norm()
    assert errors[8] < 0.1 * errors[4]


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_groups_of_one_number_only_stay_that_number(value: float) -> None:
    matrix = torch.full((3, 32), value)
    for bits in (4, 8):
        assert_close(in_blocks(matrix, bits).numbers(), matrix, atol=1e-6, rtol=1e-6)
