"""Several processes learn what one does, hand over what they saved, and outlive each other."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train_standin import tiny_recipe, write_reviews

from tael.errors import CheckpointError, RunError
from tael.train.parallel import ALONE, Team, join
from tael.train.saver import make_saver
from tael.train.train import train

HERE = Path(__file__).parent
Sections = dict[str, dict[str, Any]]
# Three micro-batches a step: with two processes one of them has one, the other two.
OPTIONS: Sections = {
    "pretrain": {"steps": 3, "batch": 6, "micro_batch": 2, "rate": 0.01},
    "train": {"steps": 6, "batch": 6, "micro_batch": 2, "save_every": 2, "rate": 0.01},
}


def sections_of(parallel: str, **more: Any) -> Sections:
    return OPTIONS | {"train": OPTIONS["train"] | {"parallel": parallel} | more}


def torchrun(
    processes: int, file: Path, out: Path, sections: Sections, *death: int, restarts: int = 0
) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
        "--standalone", "--max-restarts", str(restarts),
        "--monitor-interval", "0.1",
        str(HERE / "train_team.py"), str(file), str(out), json.dumps(sections), *map(str, death),
    ]  # fmt: skip
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("team") / "reviews.csv"
    write_reviews(file)
    return file


@pytest.fixture(scope="module")
def alone(reviews: Path) -> Path:
    """The run of one process."""
    recipe = tiny_recipe(reviews, **sections_of("none"))
    return train(recipe, reviews.parent / "alone", progress=False)


def curve(run: Path) -> list[tuple[str, int, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(line["stage"], line["step"], line["loss"]) for line in lines]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(run / "model" / "model.safetensors")
    return tensors


def assert_same_run(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    for mine, theirs in zip(curve(one), curve(other), strict=True):
        assert mine[:2] == theirs[:2]
        assert mine[2] == pytest.approx(theirs[2], abs=tolerance)
    theirs_by_name = weights_of(other)
    for name, weight in weights_of(one).items():
        torch.testing.assert_close(weight, theirs_by_name[name], rtol=0, atol=10 * tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "victim"), [("ddp", 1), ("fsdp", 0)])
def test_two_processes_learn_what_one_does_even_if_one_of_them_dies(
    parallel: str, victim: int, reviews: Path, alone: Path, tmp_path: Path
) -> None:
    run = tmp_path / "dying"
    done = torchrun(2, reviews, run, sections_of(parallel), victim, 5, restarts=1)
    assert done.returncode == 0, done.stderr[:6000]
    assert_same_run(run, alone)
    assert "tael" not in done.stdout
    assert json.loads((run / "costs.json").read_text())["work"]["train"]["steps"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_what_two_processes_saved_one_goes_on_with(
    parallel: str, reviews: Path, alone: Path, tmp_path: Path
) -> None:
    run = tmp_path / "handed"
    died = torchrun(2, reviews, run, sections_of(parallel), 0, 5)
    assert died.returncode != 0
    [*_, newest] = sorted((run / "checkpoints" / "train").iterdir())
    assert (parallel == "fsdp") == bool(list(newest.glob("shard-00002*.safetensors")))
    train(tiny_recipe(reviews, **sections_of(parallel)), run, progress=False)
    assert_same_run(run, alone)


@pytest.mark.slow
def test_what_one_process_saved_two_go_on_with(reviews: Path, alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "handed"
    died = torchrun(1, reviews, run, sections_of("fsdp"), 0, 5)
    assert died.returncode != 0
    done = torchrun(2, reviews, run, sections_of("fsdp"))
    assert done.returncode == 0, done.stderr[:6000]
    assert_same_run(run, alone)


def test_every_micro_batch_is_somebody_s_and_nobody_s_twice() -> None:
    for size in (1, 2, 3, 5):
        window = list("abcd")
        for kind in ("ddp", "fsdp"):
            shares = [Team(kind, rank, size).share(window) for rank in range(size)]  # type: ignore[arg-type]
            done = [m for share in shares for m, _, weight in share if weight]
            assert sorted(done) == [0, 1, 2, 3]
            assert all(window[m] == part for share in shares for m, part, _ in share)
            if kind == "fsdp":  # all gather together, so all have as many turns
                assert len({len(share) for share in shares}) == 1


def test_a_step_is_cut_so_that_every_process_has_some_of_it() -> None:
    assert Team("ddp", 0, 4).rows(32, 32) == 8
    assert Team("ddp", 0, 3).rows(32, 32) == 11
    assert Team("ddp", 0, 4).rows(2, 32) == 2
    assert Team("ddp", 0, 64).rows(32, 32) == 1
    assert ALONE.rows(32, 32) == 32


def test_one_process_alone_sums_and_waits_for_nobody() -> None:
    assert ALONE.total([1.5, 2.5]) == [1.5, 2.5]
    assert ALONE.any(True)
    assert not ALONE.any(False)
    order = []
    with ALONE.first_before_others():
        order.append(1)
    assert order == [1]
    with join("ddp") as team:
        assert (team.kind, team.size, team.machines, team.first) == ("ddp", 1, 1, True)


def test_processes_that_nobody_told_to_share_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match=r"2 processes.*train.parallel is none.*train.parallel=ddp"):
        join("none").__enter__()


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
@pytest.mark.parametrize("kind", ["none", "fsdp"])
def test_a_checkpoint_with_a_pickle_in_it_is_refused(kind: Any, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "step-000004"
    folder.mkdir()
    (folder / name).write_bytes(b"\x80\x04.")
    saver = make_saver(Team(kind), tmp_path, lambda: None)
    with pytest.raises(CheckpointError, match=rf"{name}: a pickle, .* safetensors only"):
        saver.load({}, torch.optim.SGD([torch.zeros(1)]), None)
    saver.close()
