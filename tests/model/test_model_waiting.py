"""Parameters that come late are the same as those that were there from the start."""

import copy
import os
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from torch import Tensor, nn

from tael.errors import CheckpointError
from tael.model.head import VocabHead
from tael.model.network import Network
from tael.model.waiting import OpenFile, give, wait
from tael.model.weights import open_folder, save_folder

Tiny = Callable[..., Network]
ASKED: Mapping[str, Callable[[nn.Linear], object]] = {
    "by name": lambda module: module.weight,
    "all of the network": lambda module: dict(nn.Sequential(module).named_parameters()),
    "its state": lambda module: module.state_dict(),
    "another type": lambda module: module.to(torch.float64),
    "a copy": copy.deepcopy,
    "a pickle": lambda module: pickle.dumps(module._parameters),
    "computing": lambda module: module(torch.ones(1, 3)),
    "another bias": lambda module: setattr(module, "bias", nn.Parameter(torch.zeros(2))),
    "no bias": lambda module: delattr(module, "bias"),
}


def waiting(made: list[str]) -> nn.Linear:
    """Return a layer whose weight waits; it is noted when it is made."""
    with torch.device("meta"):
        module = nn.Linear(3, 2)

    def make() -> Tensor:
        made.append("weight")
        return torch.arange(6.0).view(2, 3)

    wait(module, "weight", make)
    give(module, "bias", torch.ones(2))
    return module


@pytest.mark.parametrize("asked", ASKED)
def test_a_parameter_is_made_once_when_it_is_asked_for(asked: str) -> None:
    made: list[str] = []
    module = waiting(made)
    assert not made
    ASKED[asked](module)
    assert made == ["weight"]
    assert torch.equal(module.weight.float(), torch.arange(6.0).view(2, 3))
    assert type(module._parameters) is dict
    assert made == ["weight"]


def test_what_a_forward_pass_made_can_be_trained() -> None:
    module = waiting([])
    with torch.inference_mode(), torch.device("meta"):
        module.eval()
        assert module.weight.device.type == "cpu"
    module(torch.ones(1, 3)).sum().backward()
    assert module.weight.grad is not None


def test_threads_that_ask_at_once_get_the_same_parameters() -> None:
    for _ in range(20):
        made: list[str] = []
        module, start = waiting(made), Barrier(4)

        def ask(_: int, module: nn.Linear = module, start: Barrier = start) -> int:
            start.wait()
            return id(module.weight)

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(ask, range(4)))) == 1
        assert made == ["weight"]


def test_a_folder_that_is_written_over_or_gone_is_still_the_one_that_was_opened(
    tiny: Tiny, tmp_path: Path
) -> None:
    first, second = tiny(VocabHead), tiny(VocabHead)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(1)
    save_folder(tmp_path, first)
    opened, _ = open_folder(tmp_path, dtype=torch.float64)
    save_folder(tmp_path, second)
    (tmp_path / "model.safetensors").unlink()
    for name, parameter in opened.state_dict().items():
        assert torch.equal(parameter, first.state_dict()[name].double())


def test_a_file_that_was_cut_short_is_refused_when_it_is_read(tiny: Tiny, tmp_path: Path) -> None:
    save_folder(tmp_path, tiny(VocabHead))
    opened, _ = open_folder(tmp_path)
    os.truncate(tmp_path / "model.safetensors", 2000)
    with pytest.raises(CheckpointError, match="ends within tensor 'bert"):
        _ = opened.body.get_submodule("blocks.1.attention.qkv").weight


def test_a_file_is_closed_when_nobody_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(10)))
    file = OpenFile(tmp_path / "file")
    number, into = file.number, bytearray(4)
    assert file.read(into, 3)
    assert into == bytes(range(3, 7))
    assert not file.read(into, 8)
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
