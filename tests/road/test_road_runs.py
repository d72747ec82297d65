"""All runs of a folder in a table; one that is damaged is named and hides no other."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tael.errors import UsageError
from tael.road.runs import runs

RECIPE = "name: {name}\ntask: classify\nmachine: {{currency: CNY}}\n"


def made(folder: Path, name: str, **files: Any) -> Path:
    """Write the files of a run, by name without folder; None leaves one out."""
    run = folder / name
    for path, value in {
        "recipe.lock.yaml": "seed: 1\n",
        "recipe.yaml": RECIPE.format(name=name),
        "model/config.json": {},
        "costs.json": {
            "seconds": {"data": 2.0, "train": 60.0},
            "work": {"pretrain": {"tokens": 100}, "train": {"tokens": 23}},
            "energy": {"joules": 5.0, "source": "assumed"},
            "money": 0.25,
            "currency": "CNY",
        },
        "report.json": {
            "metric": "accuracy",
            "split": "test",
            "scores": {"test": {"accuracy": {"value": 0.875, "low": 0.85, "high": 0.9}}},
        },
        "price/frontier.json": {
            "chosen": "onnx-int8",
            "variants": [
                {"id": "tfidf", "cost_per_1000": 1.0},
                {"id": "onnx-int8", "cost_per_1000": 0.5},
            ],
        },
    }.items():
        value = files.get(path, value)
        if value is not None:
            (run / path).parent.mkdir(parents=True, exist_ok=True)
            (run / path).write_text(value if isinstance(value, str) else json.dumps(value))
    return run


def test_a_run_is_told_with_its_quality_its_price_and_what_serves(tmp_path: Path) -> None:
    made(tmp_path, "good")
    [found] = runs(tmp_path).rows
    assert (found.task, found.state, found.metric) == ("classify", "priced", "accuracy")
    assert (found.quality, found.low, found.high, found.split) == (0.875, 0.85, 0.9, "test")
    assert (found.money, found.currency, found.seconds) == (0.25, "CNY", 62.0)
    assert (found.tokens, found.joules) == (123, 5.0)
    assert (found.variant, found.cost_per_1000) == ("onnx-int8", 0.5)
    line = runs(tmp_path).lines()[1]
    for part in ("good", "accuracy 0.875", "0.85 to 0.9", "0.2500 CNY", "0:01:02", "onnx-int8"):
        assert part in line


def test_a_run_on_its_way_says_how_far_it_has_come(tmp_path: Path) -> None:
    later = {"report.json": None, "price/frontier.json": None}
    made(tmp_path, "begun", **later | {"costs.json": None, "model/config.json": None})
    final = {"stage": "final", "step": 9, "split": "dev", "metrics": {"f1": 0.5}}
    lines = [{"stage": "train", "step": 9, "tokens": 7}, final]
    made(tmp_path, "trained", **later)
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "trained" / "metrics.jsonl").write_text(text)
    begun, trained = runs(tmp_path).rows
    assert (begun.state, begun.quality, begun.money, begun.currency) == (
        "unfinished", None, 0.0, "CNY",
    )  # fmt: skip
    assert (trained.state, trained.metric, trained.quality) == ("trained", "f1", 0.5)
    assert (trained.split, trained.low, trained.variant) == ("dev", None, None)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("costs.json", '{"seconds": {'),
        ("costs.json", "[]"),
        ("costs.json", '{"seconds": {"train": "long"}}'),
        ("recipe.yaml", "name: [\n"),
        ("recipe.yaml", "task: classify\n"),
        ("report.json", '{"split": "test"}'),
        ("price/frontier.json", '{"chosen": 3}'),
        ("price/frontier.json", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")),
    ],
)
def test_a_damaged_run_is_named_and_hides_no_other(tmp_path: Path, path: str, text: str) -> None:
    made(tmp_path, "good")
    bad = made(tmp_path, "bad")
    (bad / path).write_text(text)
    found = runs(tmp_path)
    assert [row.name for row in found.rows] == ["good"]
    assert set(found.damaged) == {str(bad)}
    assert any(line.startswith(f"damaged: {bad}: ") for line in found.lines())


def test_a_file_that_is_no_text_is_damage_too(tmp_path: Path) -> None:
    bad = made(tmp_path, "bad")
    (bad / "costs.json").write_bytes(b"\xff\xfe\x00")
    assert str(bad) in runs(tmp_path).damaged


def test_other_folders_are_counted_and_one_run_can_be_asked_alone(tmp_path: Path) -> None:
    run = made(tmp_path, "good")
    (tmp_path / "notes").mkdir()
    (tmp_path / ".hidden").mkdir()
    assert runs(tmp_path).others == 1
    assert runs(tmp_path).lines()[-1] == "1 other folder is no run"
    assert [row.name for row in runs(run).rows] == ["good"]


def test_a_folder_without_runs_says_what_to_type(tmp_path: Path) -> None:
    assert "tael run RECIPE" in runs(tmp_path).lines()[0]
    with pytest.raises(UsageError, match="no such folder; `tael runs DIR`"):
        runs(tmp_path / "nowhere")


def test_the_sum_stands_below_runs_of_one_currency(tmp_path: Path) -> None:
    for name in ("one", "two"):
        made(tmp_path, name)
    assert runs(tmp_path).lines()[-1] == "2 runs: 0.5000 CNY, 0:02:04"
    shutil.rmtree(tmp_path / "two")
    assert "runs:" not in runs(tmp_path).lines()[-1]


def test_listing_loads_no_torch(tmp_path: Path) -> None:
    made(tmp_path, "good")
    code = (
        "import sys; sys.argv = ['tael', 'runs', sys.argv[1], '--json']\n"
        "from tael.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    [found] = json.loads(out.stdout)["runs"]
    assert found["quality"] == 0.875


def test_what_a_real_run_writes_can_be_listed(tiny_run: Path) -> None:
    [found] = runs(tiny_run).rows
    assert (found.state, found.metric, found.split) == ("trained", "accuracy", "dev")
    assert found.tokens > 1000
    assert found.money > 0
    assert found.joules is not None
    assert found.joules > 0
