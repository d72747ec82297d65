"""The running mean of the weights."""

import numpy as np
import pytest
import torch
from torch import nn

from tael.train.average import Average


def weights() -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    return {"a": nn.Parameter(torch.randn(3, 4)), "b": nn.Parameter(torch.randn(4))}


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_it_is_the_weighted_mean_of_what_it_saw(decay: float) -> None:
    learned = weights()
    average = Average(learned, decay)
    expected = {name: p.detach().numpy().astype(float) for name, p in learned.items()}
    for step in range(20):
        for name, parameter in learned.items():
            with torch.no_grad():
                parameter.add_(0.1 * (step + 1))
            keep = min(decay, (1 + step) / (10 + step))
            expected[name] = keep * expected[name] + (1 - keep) * parameter.detach().numpy()
        average.update(learned, step)
    for name, mean in expected.items():
        np.testing.assert_allclose(average.named[name].numpy(), mean, rtol=1e-5)


def test_the_weights_are_lent_to_it_and_come_back_to_the_bit() -> None:
    learned = weights()
    own = {name: p.detach().clone() for name, p in learned.items()}
    average = Average(learned, 0.5)
    for parameter in learned.values():
        parameter.data = parameter.data * 2
    with average.instead(learned):
        for name, parameter in learned.items():
            assert torch.equal(parameter, own[name])
    for name, parameter in learned.items():
        assert torch.equal(parameter, 2 * own[name])
        assert torch.equal(average.named[name], own[name])
