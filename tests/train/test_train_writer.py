"""What is written in the background is what stood there when it was handed over."""

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from train_standin import Bag, Rows, Sums

from tael.train import writer as writing
from tael.train.checkpoint import Position, Snapshot, load_newest, write
from tael.train.optim import set_rate
from tael.train.writer import Writer


@pytest.fixture
def learned() -> tuple[dict[str, Tensor], AdamW]:
    torch.manual_seed(0)
    network: nn.Module = Bag()
    named = dict(network.named_parameters())
    optimizer = AdamW(named.values(), fused=True)
    set_rate(optimizer, 0.01)
    (batch,) = Rows()[0]
    Sums().objective(network, batch).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return named, optimizer


class Gate:
    """Holds every write until the test opens it; fails the one that it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.begun = threading.Event(), threading.Event()
        self.running = self.most = 0
        self.fail = False
        monkeypatch.setattr(writing, "write", self.write)

    def write(self, root: Path, position: Position, state: Snapshot, *, every: int) -> Path:
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.set()
        assert self.open.wait(10)
        self.running -= 1
        if self.fail:
            raise OSError(28, "No space left on device", str(root))
        return write(root, position, state, every=every)


def steps(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_the_copy_is_of_the_moment_it_was_handed_over(
    tmp_path: Path, learned: tuple[dict[str, Tensor], AdamW], monkeypatch: pytest.MonkeyPatch
) -> None:
    named, optimizer = learned
    before = {name: tensor.detach().clone() for name, tensor in named.items()}
    first = next(iter(named.values()))
    moment = optimizer.state[first]["exp_avg"].clone()
    gate, writer = Gate(monkeypatch), Writer(tmp_path, lambda: None)
    writer.submit(Position(5), named, optimizer)
    assert gate.begun.wait(10)
    with torch.no_grad():
        for tensor in named.values():
            tensor.add_(1)
        optimizer.state[first]["exp_avg"].add_(1)
    gate.open.set()
    writer.close()
    assert load_newest(tmp_path, named, optimizer) == Position(5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in named.items())
    assert torch.equal(optimizer.state[first]["exp_avg"], moment)


def test_one_write_at_a_time_and_the_loop_does_not_wait_for_it(
    tmp_path: Path, learned: tuple[dict[str, Tensor], AdamW], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, writer = Gate(monkeypatch), Writer(tmp_path, lambda: None)
    writer.submit(Position(5), *learned)  # returns, though nothing can be written yet
    writer.check()
    assert steps(tmp_path) == []
    gate.open.set()
    for step in (10, 15, 20):
        writer.submit(Position(step), *learned)
    writer.close()
    assert gate.most == 1
    assert steps(tmp_path) == ["step-000015", "step-000020"]


@pytest.mark.parametrize("when", ["check", "submit", "close"])
def test_what_a_write_raised_is_raised_once_in_the_loop(
    tmp_path: Path,
    learned: tuple[dict[str, Tensor], AdamW],
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    gate, writer = Gate(monkeypatch), Writer(tmp_path, lambda: None)
    gate.fail = True
    writer.submit(Position(5), *learned)
    gate.open.set()
    if when == "check":
        assert writer._pending is not None
        writer._pending.exception(10)  # until it has failed
    look = {
        "check": writer.check,
        "submit": lambda: writer.submit(Position(6), *learned),
        "close": writer.close,
    }[when]
    with pytest.raises(OSError, match="No space left"):
        look()
    gate.fail = False
    writer.submit(Position(7), *learned) if when != "close" else None
    writer.close()


def test_the_record_is_on_the_disk_before_a_checkpoint_that_knows_of_it(
    tmp_path: Path, learned: tuple[dict[str, Tensor], AdamW]
) -> None:
    seen: list[list[str]] = []
    writer = Writer(tmp_path / "train", lambda: seen.append(steps(tmp_path)))
    writer.submit(Position(5), *learned)
    writer.close()
    assert seen == [[]]
    assert steps(tmp_path / "train") == ["step-000005"]


def test_the_newest_regular_checkpoint_outlives_those_that_signals_asked_for(
    tmp_path: Path, learned: tuple[dict[str, Tensor], AdamW]
) -> None:
    writer = Writer(tmp_path, lambda: None, every=10)
    for step in (10, 20, 22, 23, 27):
        writer.submit(Position(step), *learned)
    writer.close()
    assert steps(tmp_path) == ["step-000020", "step-000023", "step-000027"]
    assert load_newest(tmp_path, *learned, latest=20) == Position(20)


def test_a_running_average_comes_back_with_the_rest(
    tmp_path: Path, learned: tuple[dict[str, Tensor], AdamW]
) -> None:
    named, optimizer = learned
    average = {name: tensor.detach() * 2 for name, tensor in named.items()}
    writer = Writer(tmp_path, lambda: None)
    writer.submit(Position(5), named, optimizer, average)
    writer.close()
    other = {name: torch.zeros_like(tensor) for name, tensor in average.items()}
    load_newest(tmp_path, named, optimizer, other)
    assert all(torch.equal(other[name], average[name]) for name in average)
