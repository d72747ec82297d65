"""The loss by chunks is torch's loss, and so is its gradient, in every dtype and cut."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tael.model.cross_entropy import summed_cross_entropy

N, D, V = 37, 12, 50


def drawn(dtype: torch.dtype, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden_ND = torch.randn(N, D, generator=generator, dtype=torch.float64) * scale
    weight_VD = torch.randn(V, D, generator=generator, dtype=torch.float64)
    bias_V = torch.randn(V, generator=generator, dtype=torch.float64)
    targets_N = torch.randint(V, (N,), generator=generator)
    leaves = [one.to(dtype).requires_grad_() for one in (hidden_ND, weight_VD, bias_V)]
    return leaves[0], leaves[1], leaves[2], targets_N


def expected(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    smoothing: float,
    cap: float | None,
) -> Tensor:
    scores_NV = F.linear(hidden_ND, weight_VD, bias_V)
    if cap is not None:
        scores_NV = cap * torch.tanh(scores_NV / cap)
    return F.cross_entropy(scores_NV, targets_N, reduction="sum", label_smoothing=smoothing)


@pytest.mark.parametrize("chunk", [1, 5, 37, 1000, None])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("biased", [False, True])
def test_loss_and_gradient_are_those_of_torch_in_float64(
    chunk: int | None, smoothing: float, cap: float | None, biased: bool
) -> None:
    hidden_ND, weight_VD, bias_V, targets_N = drawn(torch.float64)
    leaves = [hidden_ND, weight_VD, *([bias_V] if biased else [])]
    bias = bias_V if biased else None
    wanted = expected(hidden_ND, weight_VD, bias, targets_N, smoothing, cap)
    wanted_slopes = torch.autograd.grad(wanted * 0.3, leaves)
    found = summed_cross_entropy(
        hidden_ND, weight_VD, targets_N, bias, smoothing=smoothing, cap=cap, chunk=chunk
    )
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-9)
    for mine, its in zip(torch.autograd.grad(found * 0.3, leaves), wanted_slopes, strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=1e-9)


def test_a_target_whose_probability_underflows_has_a_finite_loss() -> None:
    hidden_ND, weight_VD, _, targets_N = drawn(torch.float32, scale=100.0)
    found = summed_cross_entropy(hidden_ND, weight_VD, targets_N)
    exact = expected(hidden_ND.double(), weight_VD.double(), None, targets_N, 0.0, None)
    assert exact / N > 104  # exp(-104) is 0 in float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)


def test_bfloat16_states_are_scored_in_float32() -> None:
    hidden_ND, weight_VD, bias_V, targets_N = drawn(torch.bfloat16)
    found = summed_cross_entropy(hidden_ND, weight_VD, targets_N, bias_V, chunk=10)
    assert found.dtype == torch.float32
    rounded_NV = hidden_ND @ weight_VD.T + bias_V  # the product is in bfloat16, and only that
    wanted = F.cross_entropy(rounded_NV.float(), targets_N, reduction="sum")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    slopes = torch.autograd.grad(found, [hidden_ND, weight_VD])
    wanted_slopes = torch.autograd.grad(wanted, [hidden_ND, weight_VD])
    for mine, its in zip(slopes, wanted_slopes, strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine - its).float().norm() < 0.01 * its.float().norm()  # two roundings of 2^-9


def test_under_autocast_the_matrix_takes_the_dtype_of_the_states() -> None:
    hidden_ND, weight_VD, _, targets_N = drawn(torch.float32)
    plain = summed_cross_entropy(hidden_ND, weight_VD, targets_N)
    with torch.autocast("cpu", torch.bfloat16):
        found = summed_cross_entropy(hidden_ND, weight_VD, targets_N)
        low = summed_cross_entropy(hidden_ND.bfloat16(), weight_VD, targets_N)
    assert torch.equal(found, plain)
    low.backward()  # type: ignore[no-untyped-call]
    assert weight_VD.grad is not None
    assert weight_VD.grad.dtype == torch.float32


def test_no_target_gives_no_loss_and_no_gradient() -> None:
    hidden_ND, weight_VD, bias_V, targets_N = drawn(torch.float32)
    found = summed_cross_entropy(hidden_ND[:0], weight_VD, targets_N[:0], bias_V)
    assert found.item() == 0
    found.backward()  # type: ignore[no-untyped-call]


def test_without_gradients_nothing_is_kept() -> None:
    hidden_ND, weight_VD, _, targets_N = drawn(torch.float32)
    with torch.inference_mode():
        found = summed_cross_entropy(hidden_ND, weight_VD, targets_N, chunk=4)
    learned = summed_cross_entropy(hidden_ND, weight_VD, targets_N, chunk=4)
    assert torch.equal(found, learned.detach())
    assert not found.requires_grad


def test_the_scores_of_all_rows_are_never_held_at_once() -> None:
    hidden_ND = torch.zeros(512, 4, requires_grad=True)
    weight_VD = torch.zeros(5000, 4, requires_grad=True)
    targets_N = torch.zeros(512, dtype=torch.int64)
    largest = 0

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():  # type: ignore[no-untyped-call]
        summed_cross_entropy(hidden_ND, weight_VD, targets_N, chunk=16).backward()  # type: ignore[no-untyped-call]
    assert largest == 16 * 16 * 5000  # and in the dtype of the products
