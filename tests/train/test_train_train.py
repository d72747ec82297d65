import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from train_standin import tiny_recipe, write_reviews

from tael.errors import RecipeError, RunError
from tael.machine.probe import Machine, Peaks
from tael.train import guard, lock
from tael.train.lock import read_lock
from tael.train.run import Run
from tael.train.track import Track
from tael.train.train import train


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    write_reviews(path)
    return path


@pytest.fixture(scope="module")
def whole(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tiny_recipe(reviews, pretrain={"steps": 5})
    return train(recipe, tmp_path_factory.mktemp("runs") / "whole", progress=False)


@pytest.fixture(scope="module")
def plain(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_recipe(reviews), tmp_path_factory.mktemp("runs") / "plain", progress=False)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def test_a_run_opens_with_what_the_other_rooms_need(whole: Path) -> None:
    run = Run(whole)
    assert run.recipe.name == "tiny"
    assert {split: len(run.records(split)) > 0 for split in ("train", "dev", "test")} == dict(
        train=True, dev=True, test=True
    )
    task, network = run.task(), run.network()
    records = run.records("dev")
    logits = task.logits(network, task.collate(task.encode_many(records))).detach().numpy()
    answers = task.decode(logits)
    found = task.metrics(answers, task.references(records))
    (last,) = (x for x in lines(whole) if x["stage"] == "final" and x["split"] == "dev")
    assert found["accuracy"] == last["metrics"]["accuracy"]


def test_both_stages_write_their_losses_and_scores(whole: Path) -> None:
    written = [(x["stage"], x["step"]) for x in lines(whole) if "rate" in x]
    assert written == [("pretrain", s) for s in range(1, 6)] + [("train", s) for s in range(1, 7)]
    scored = [(x["stage"], x["split"]) for x in lines(whole) if "split" in x]
    assert scored.count(("train", "dev")) == scored.count(("train", "train")) == 3
    assert scored[-2:] == [("final", "dev"), ("final", "train")]
    costs = json.loads((whole / "costs.json").read_text())
    assert costs["money"] > 0
    assert set(costs["seconds"]) == {"data", "tokenizer", "pretrain", "train", "score"}
    assert costs["train_tokens"] == sum(x["tokens"] for x in lines(whole) if x["stage"] == "train" and "rate" in x)  # fmt: skip # noqa: E501


def test_a_finished_run_is_left_untouched(whole: Path, reviews: Path) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in [whole, *whole.rglob("*")]}

    before = times()
    train(tiny_recipe(reviews, pretrain={"steps": 5}), whole, progress=False)
    assert times() == before


def test_another_recipe_in_the_same_folder_is_refused_with_the_differences(
    whole: Path, reviews: Path
) -> None:
    other = tiny_recipe(reviews, pretrain={"steps": 5}, train={"rate": 0.125, "l1": 0.5})
    with pytest.raises(RunError, match=r"train\.rate: 0\.0005 → 0\.125; train\.l1: 0.* → 0\.5"):
        train(other, whole, progress=False)


def test_data_that_changed_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "reviews.csv"
    write_reviews(data)
    train(tiny_recipe(data), tmp_path / "run", progress=False)
    write_reviews(data, 80)
    with pytest.raises(RunError, match=r"reviews\.csv: changed since the run started"):
        train(tiny_recipe(data), tmp_path / "run", progress=False)
    data.unlink()
    train(tiny_recipe(data), tmp_path / "run", progress=False)  # gone is not changed


def test_a_key_that_is_newer_than_the_run_counts_as_its_default(
    tmp_path: Path, reviews: Path, plain: Path
) -> None:
    run = Path(shutil.copytree(plain, tmp_path / "run"))
    lock_file = run / "recipe.lock.yaml"
    lines = lock_file.read_text("utf-8").splitlines(keepends=True)
    lock_file.write_text("".join(line for line in lines if "train.l1:" not in line), "utf-8")
    assert len(lock_file.read_text("utf-8").splitlines()) == len(lines) - 1
    train(tiny_recipe(reviews), run, progress=False)
    with pytest.raises(RunError, match=r"train\.l1: 0\.0 → 0\.5"):
        train(tiny_recipe(reviews, train={"l1": 0.5}), run, progress=False)


def test_a_second_process_is_refused(tmp_path: Path, reviews: Path) -> None:
    with (
        guard.locked(tmp_path / "run"),
        pytest.raises(RunError, match="is working here"),
    ):
        train(tiny_recipe(reviews), tmp_path / "run", progress=False)


OPTIONS: list[dict[str, dict[str, Any]]] = [
    {"model": {"dropout": 0.5}},
    {"model": {"droppath": 0.5}},
    {"train": {"label_smoothing": 0.3}},
    {"train": {"class_weights": {"positive": 3.0, "negative": 1.0}}},
    {"train": {"decay": 0.9}},
    {"train": {"epochs": 0.5, "steps": None}},
    {"train": {"dtype": "bfloat16"}},
    {"pretrain": {"steps": 2}},
    {"tokenizer": {"kind": "wordpiece"}},
]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda o: ".".join((*o, *next(iter(o.values())))))
def test_every_option_of_the_recipe_reaches_the_weights(
    reviews: Path, plain: Path, tmp_path: Path, option: dict[str, dict[str, Any]]
) -> None:
    run = train(tiny_recipe(reviews, **option), tmp_path / "run", progress=False)
    assert weights(run) != weights(plain)


def test_the_same_recipe_gives_the_same_bits_and_another_seed_does_not(
    reviews: Path, plain: Path, tmp_path: Path
) -> None:
    again = train(tiny_recipe(reviews), tmp_path / "again", progress=False)
    assert weights(again) == weights(plain)
    other = tiny_recipe(reviews).model_copy(update={"seed": 4})
    assert weights(train(other, tmp_path / "other", progress=False)) != weights(plain)


def test_the_micro_batch_changes_nothing_but_rounding(reviews: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load

    found = []
    for rows in (8, 3):
        recipe = tiny_recipe(
            reviews,
            model={"dropout": 0.0},
            pretrain={"steps": 3, "micro_batch": rows},
            train={"micro_batch": rows, "rate": 1e-3},
        )
        run = train(recipe, tmp_path / str(rows), progress=False)
        found.append(load(weights(run)))
    for name, tensor in found[0].items():
        # float32 sums in another order; Adam's first steps enlarge what rounding leaves
        assert abs(tensor - found[1][name]).max() < 2e-4, name


def machine(faster: bool) -> Machine:
    return Machine("cpu", 2, 2**34, (), None, "2", Peaks({"float32": 1.0}, 1.0), faster)


@pytest.mark.parametrize(("faster", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_the_arithmetic_is_decided_once_and_kept_on_resume(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: bool, dtype: str
) -> None:
    recipe = tiny_recipe(reviews, train={"dtype": "auto"})
    monkeypatch.setattr(lock, "probe", lambda: machine(faster))

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Track, "step", die)
        with pytest.raises(RunError, match="stopped by SIGINT"):
            train(recipe, tmp_path / "run", progress=False)
    monkeypatch.setattr(lock, "probe", lambda: pytest.fail("measured again"))
    train(recipe, tmp_path / "run", progress=False)
    assert read_lock(tmp_path / "run").dtype["train"] == dtype
    assert read_lock(tmp_path / "run").machine["bfloat16_faster"] is faster
    other = tiny_recipe(reviews, train={"dtype": dtype})
    assert weights(tmp_path / "run") == weights(train(other, tmp_path / "set", progress=False))


def test_an_unfinished_run_and_no_run_are_told_apart(tmp_path: Path, plain: Path) -> None:
    with pytest.raises(RunError, match=r"not a run .*`tael train RECIPE --out"):
        Run(tmp_path)
    (tmp_path / "recipe.lock.yaml").write_bytes((plain / "recipe.lock.yaml").read_bytes())
    with pytest.raises(RunError, match=r"not finished; `tael train .* goes on"):
        Run(tmp_path)
    (tmp_path / "recipe.lock.yaml").write_text("seed: [")
    with pytest.raises(RunError, match="cannot be read"):
        Run(tmp_path)


def test_a_pretrained_folder_is_a_start_for_another_run(
    whole: Path, reviews: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(reviews, model={"from": str(whole / "pretrain")})
    run = train(recipe, tmp_path / "run", progress=False)
    assert Run(run).network().config.hidden == 16
    too_long = tiny_recipe(
        reviews, model={"from": str(whole / "pretrain")}, data={"max_tokens": 600}
    )
    with pytest.raises(RecipeError, match="600 is more than the 512 positions"):
        train(too_long, tmp_path / "long", progress=False)


def test_the_lock_says_all_that_was_decided(plain: Path, reviews: Path) -> None:
    found = dataclasses.asdict(read_lock(plain))
    assert found["threads"] == 1
    assert found["dtype"] == {"pretrain": "float32", "train": "float32"}
    assert set(found["versions"]) >= {"tael", "torch", "tokenizers", "python"}
    assert list(found["data"]) == [str(reviews)]
    assert found["recipe"]["train.steps"] == 6
