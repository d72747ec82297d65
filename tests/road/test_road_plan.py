"""A plan follows from formulas, and what is small enough to run here confirms them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_reviews import reviews

from tael.errors import RunError, UsageError
from tael.machine.gpus import GPUS, find_gpu
from tael.machine.probe import Machine, Peaks
from tael.recipe.load import load_recipe
from tael.recipe.schema import Recipe
from tael.road import plan as planning
from tael.road.plan import plan

MACHINE = Machine(
    "a CPU", 2, 8 * 10**9, (), None, "2.13", Peaks({"float32": 200, "bfloat16": 400}, 18),
    bfloat16_faster=True,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning, "remembered", lambda: MACHINE)
    monkeypatch.setattr(planning, "cores", lambda: 2)
    monkeypatch.setattr(planning, "available_bytes", lambda: MACHINE.memory_bytes)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    lines = [f"{row['text']}\t{row['label']}" for row in reviews(200)]
    (tmp_path / "r.tsv").write_text("\n".join(["text\tlabel", *lines]), "utf-8")
    path = tmp_path / "r.yaml"
    path.write_text("name: r\ntask: classify\ndata: {train: r.tsv, max_tokens: 64}\n")

    def make(*settings: str) -> Recipe:
        return load_recipe(path, ["train.steps=100", *settings])

    return make


LARGE = (
    "model.hidden=4096", "model.layers=32", "model.heads=32", "model.ffn=16384",
    "data.max_tokens=1024", "train.batch=1024",
)  # fmt: skip


def test_twice_the_devices_take_half_the_time_and_about_the_same_money(
    recipe: Callable[..., Recipe],
) -> None:
    one, two = (plan(recipe("train.batch=64", "model.preset=base"), n, "h100", 2.0) for n in (1, 2))
    assert two.stages[0].compute_seconds == pytest.approx(one.stages[0].compute_seconds / 2)
    assert one.stages[0].talk_seconds == 0
    assert two.stages[0].talk_seconds > 0
    assert one.money == pytest.approx(one.seconds / 3600 * 2.0)
    assert two.money == pytest.approx(two.seconds / 3600 * 2 * 2.0)
    assert one.money < two.money < 2 * one.money


def test_time_is_operations_over_peak_times_utilisation(recipe: Callable[..., Recipe]) -> None:
    found = plan(recipe(), 1, "a100")
    [stage] = found.stages
    assert stage.seconds == pytest.approx(stage.flops / (312e12 * found.utilisation))
    assert "assumed" in found.utilisation_from


def test_a_model_that_one_device_cannot_hold_is_cut_into_pieces(
    recipe: Callable[..., Recipe],
) -> None:
    large = recipe(*LARGE)
    with pytest.raises(RunError, match=r"one row at once takes .* GB .* take more devices"):
        plan(large, 1, "h100")
    [stage] = plan(large, 8, "h100").stages
    assert stage.parallel == "fsdp"
    assert stage.bytes < 80e9
    assert stage.busy * stage.micro_batch * stage.accumulate >= 1024
    pieces = [plan(large, n, "h200").stages[0].memory["optimizer"] for n in (8, 16)]
    assert pieces[0] == pytest.approx(2 * pieces[1])
    assert plan(recipe(), 8, "h100").stages[0].parallel == "ddp"  # this one fits each


def test_fewer_rows_at_once_are_taken_where_memory_is_small(
    recipe: Callable[..., Recipe],
) -> None:
    settings = ("model.hidden=1024", "model.layers=24", "model.heads=16", "model.ffn=4096",
                "data.max_tokens=512", "train.batch=512")  # fmt: skip
    small, large = (plan(recipe(*settings), 1, gpu).stages[0] for gpu in ("l4", "h200"))
    assert small.micro_batch < large.micro_batch
    assert small.accumulate > large.accumulate
    assert small.bytes < 24e9


def test_devices_without_work_are_told(recipe: Callable[..., Recipe]) -> None:
    found = plan(recipe(), 1000, "h100")
    assert found.machines == 125
    assert any("32 of 1,000 devices" in note for note in found.notes)
    assert "--nnodes 125 --rdzv-backend c10d" in found.command
    assert "train.parallel=ddp" in found.command


def test_the_command_of_a_plan_is_one_that_exists(recipe: Callable[..., Recipe]) -> None:
    words = plan(recipe(), 8, "h100", named="r.yaml").command.split()
    assert words[0] == "torchrun"
    settings = words[words.index("r.yaml") + 1 :]
    checked = recipe(*settings)
    assert (checked.train.parallel, checked.train.micro_batch) == ("ddp", 4)
    assert plan(recipe(), named="r.yaml").command == "tael train r.yaml train.micro_batch=32"


def test_utilisation_is_what_the_small_run_here_reached(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    costs = tmp_path / "runs" / "r" / "costs.json"
    costs.parent.mkdir(parents=True)
    work = {"train": {"flops": 3e12}, "pretrain": {"flops": 0}}
    costs.write_text(json.dumps({"seconds": {"train": 30.0, "data": 99.0}, "work": work}))
    found = plan(recipe(), 8, "h100")
    assert found.utilisation == pytest.approx(1e11 / 4e11)
    assert "runs/r" in found.utilisation_from
    costs.write_text("{")
    with pytest.raises(RunError, match=r"costs.json: damaged"):
        plan(recipe())


def test_this_machine_is_a_device_too(recipe: Callable[..., Recipe]) -> None:
    found = plan(recipe())
    assert (found.tflops, found.memory_gb) == (0.4, 8.0)
    assert plan(recipe("machine.threads=1")).tflops == 0.2


def test_a_gpu_that_is_not_known_is_refused_with_the_nearest(
    recipe: Callable[..., Recipe],
) -> None:
    with pytest.raises(UsageError, match=r"--gpu h10: not known; did you mean h100\?"):
        plan(recipe(), 1, "h10")
    assert find_gpu("H100") is GPUS["h100"]
    assert all(gpu.source and gpu.memory_gb > 10 for gpu in GPUS.values())


def test_planning_loads_no_torch(recipe: Callable[..., Recipe]) -> None:
    recipe()
    code = (
        "import sys; sys.argv = ['tael', 'plan', 'r.yaml', '--gpus', '8', '--gpu', 'h100', "
        "'--price', '2.5', '--json']\n"
        "from tael.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    found: dict[str, Any] = json.loads(out.stdout)
    assert found["price_per_hour"] == 2.5
    assert found["stages"][0]["bytes"] > 0


@pytest.mark.slow
def test_a_run_computes_what_was_planned(train_run: Callable[..., Path]) -> None:
    """Operations within a fifth: the plan guesses lengths without a tokenizer."""
    run = train_run(
        **{
            "train.steps": "20",
            "pretrain.steps": "20",
            "pretrain.batch": "8",
            "data.max_tokens": "96",
        }
    )
    planned = {s.name: s for s in plan(load_recipe(run / "recipe.yaml")).stages}
    work = json.loads((run / "costs.json").read_text())["work"]
    for stage in ("pretrain", "train"):
        assert planned[stage].flops == pytest.approx(work[stage]["flops"], rel=0.2)
