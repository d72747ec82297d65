"""A run goes on only with the recipe and the data it began with; every difference is named."""

from pathlib import Path

import pytest
from train_standin import tiny_recipe, write_reviews

from tael.errors import RunError
from tael.recipe.schema import Recipe
from tael.train.lock import check_same, lower_micro_batch, open_lock, read_lock


@pytest.fixture(params=["reviews", "reviews/*.csv"])
def recipe(request: pytest.FixtureRequest, tmp_path: Path) -> Recipe:
    """Begin a run on a folder of two files, named as a folder or by a pattern."""
    (tmp_path / "reviews").mkdir()
    for name in ("a.csv", "b.csv"):
        write_reviews(tmp_path / "reviews" / name)
    made = tiny_recipe(tmp_path / request.param)
    open_lock(tmp_path / "run", made)
    return made


def test_a_file_added_to_what_the_recipe_names_is_named(recipe: Recipe, tmp_path: Path) -> None:
    check_same(tmp_path / "run", recipe)
    write_reviews(tmp_path / "reviews" / "c.csv")
    with pytest.raises(RunError, match=r"[^;]*reviews/c\.csv: added since the run started\. Cho"):
        check_same(tmp_path / "run", recipe)


def test_files_that_are_gone_are_no_difference(recipe: Recipe, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / "reviews" / name).unlink()
        check_same(tmp_path / "run", recipe)
    (tmp_path / "reviews").rmdir()
    check_same(tmp_path / "run", recipe)


def test_another_list_of_files_is_told_as_such_and_not_file_by_file(
    recipe: Recipe, tmp_path: Path
) -> None:
    write_reviews(tmp_path / "other.csv")
    with pytest.raises(RunError, match=r"data\.train: ") as caught:
        check_same(tmp_path / "run", tiny_recipe(tmp_path / "other.csv"))
    assert "added" not in str(caught.value)


def test_a_micro_batch_that_memory_forced_is_no_other_recipe(
    recipe: Recipe, tmp_path: Path
) -> None:
    before = (tmp_path / "run" / "recipe.lock.yaml").read_text("utf-8")
    lower_micro_batch(tmp_path / "run", "train", 16)
    lower_micro_batch(tmp_path / "run", "pretrain", 8)
    lower_micro_batch(tmp_path / "run", "train", 4)
    check_same(tmp_path / "run", recipe)
    assert open_lock(tmp_path / "run", recipe).micro_batch == {"train": 4, "pretrain": 8}
    after = (tmp_path / "run" / "recipe.lock.yaml").read_text("utf-8")
    kept = [line for line in before.splitlines() if not line.startswith("micro_batch")]
    assert after.startswith("\n".join(kept))


def test_a_lock_from_before_there_were_lower_micro_batches_is_read(
    recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "run" / "recipe.lock.yaml"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(x for x in lines if not x.startswith("micro_batch")), "utf-8")
    assert read_lock(tmp_path / "run").micro_batch == {}
