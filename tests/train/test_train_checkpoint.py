import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from train_standin import Bag, Rows, Sums, distance

from tael.errors import CheckpointError
from tael.recipe.schema import Train
from tael.train.checkpoint import Position, load_newest, save, weights
from tael.train.optim import make_optimizer, set_rate


def trained(steps: int) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(steps)
    network = Bag()
    optimizer = make_optimizer(dict(network.named_parameters()), Train(decay=0.1))
    set_rate(optimizer, 0.01)
    advance(network, optimizer, range(steps))
    return network, optimizer


def advance(network: nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        (batch,) = Rows()[step]
        Sums().objective(network, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def named(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.named_parameters())


def fresh() -> tuple[dict[str, Tensor], Optimizer]:
    network, optimizer = trained(0)
    return named(network), optimizer


def test_a_restored_optimiser_makes_the_same_next_steps(tmp_path: Path) -> None:
    network, optimizer = trained(3)
    position = Position(3, 7, 90, 2, (0.5, -1.0), 1, losses=(0.7, 0.1 + 0.2), bad=2)
    position = replace(position, best_weights=weights(named(network)))
    save(tmp_path, position, named(network), optimizer)
    other, other_optimizer = trained(0)
    found = load_newest(tmp_path, named(other), other_optimizer)
    assert found == position
    assert found.best_weights is not None
    assert torch.equal(found.best_weights["out.weight"], weights(named(network))["out.weight"])
    set_rate(other_optimizer, 0.01)
    advance(network, optimizer, range(3, 6))
    advance(other, other_optimizer, range(3, 6))
    assert distance(network, other) == 0.0


def test_an_optimiser_of_another_kind_is_restored_with_all_it_remembers(tmp_path: Path) -> None:
    network, _ = trained(0)
    optimizer = SGD(network.parameters(), 0.01, momentum=0.9)
    advance(network, optimizer, range(3))
    save(tmp_path, Position(3), named(network), optimizer)
    other, _ = trained(0)
    other_optimizer = SGD(other.parameters(), 0.01, momentum=0.9)
    load_newest(tmp_path, named(other), other_optimizer)
    advance(network, optimizer, range(3, 6))
    advance(other, other_optimizer, range(3, 6))
    assert distance(network, other) == 0.0


def test_what_an_optimiser_keeps_beside_tensors_is_restored(tmp_path: Path) -> None:
    network, optimizer = trained(1)
    state = optimizer.state[network.get_parameter("out.bias")]
    state |= {"count": 3, "scale": 0.1 + 0.2}
    save(tmp_path, Position(3), named(network), optimizer)
    other, other_optimizer = trained(0)
    load_newest(tmp_path, named(other), other_optimizer)
    restored = other_optimizer.state[other.get_parameter("out.bias")]
    assert (restored["count"], restored["scale"]) == (3, 0.1 + 0.2)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    network, optimizer = trained(1)
    for step in (5, 10, 1_000_000, 999_999):  # a run that fell back to an older one writes again
        save(tmp_path, Position(step), named(network), optimizer)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000010", "step-999999"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "manifest gone", "manifest cut"])
def test_a_damaged_checkpoint_is_passed_over_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    network, optimizer = trained(1)
    save(tmp_path, Position(5), named(network), optimizer)
    newest = save(tmp_path, Position(10), named(network), optimizer)
    hurt = newest / ("manifest.json" if "manifest" in damage else "weights.safetensors")
    content = bytearray(hurt.read_bytes())
    content[-3] ^= 1
    if "gone" in damage:
        hurt.unlink()
    else:
        hurt.write_bytes(content if damage == "flipped" else content[:-9])
    with caplog.at_level(logging.WARNING):
        found = load_newest(tmp_path, *fresh())
    assert found == Position(5)
    assert "step-000010: damaged" in caplog.text
    assert "taking the checkpoint before it" in caplog.text


def test_no_checkpoint_is_no_error_but_only_damaged_ones_are(tmp_path: Path) -> None:
    assert load_newest(tmp_path, *fresh()) is None
    network, optimizer = trained(1)
    folder = save(tmp_path, Position(5), named(network), optimizer)
    (folder / "optimizer.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no whole checkpoint is left: .*rm -r"):
        load_newest(tmp_path, *fresh())


def test_a_half_written_checkpoint_does_not_exist(tmp_path: Path) -> None:
    network, optimizer = trained(1)
    save(tmp_path, Position(5), named(network), optimizer)
    (tmp_path / ".step-000010.part").mkdir()
    (tmp_path / ".step-000010.part" / "weights.safetensors").write_bytes(b"half")
    assert load_newest(tmp_path, *fresh()) == Position(5)
    save(tmp_path, Position(10), named(network), optimizer)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000005", "step-000010"]


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    network, optimizer = trained(1)
    save(tmp_path, Position(5), named(network), optimizer)
    other = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match="does not fit this model"):
        load_newest(tmp_path, named(other), make_optimizer(dict(other.named_parameters()), Train()))
