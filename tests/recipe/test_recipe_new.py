"""New recipes and the rows that describe every field."""

from decimal import Decimal
from pathlib import Path

import pytest

from tael.errors import RecipeError, UsageError
from tael.recipe.fields import ENGLISH, allowed, fields, infos, sections
from tael.recipe.load import load_recipe
from tael.recipe.new import new_recipe
from tael.recipe.source import parse_value
from tael.recipe.write import scalar


def test_a_new_recipe_is_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "reviews.yaml"
    path.write_text(new_recipe("reviews", "classify"), "utf-8")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.task, recipe.train.epochs) == ("reviews", "classify", 3.0)
    assert recipe.data.train == (tmp_path / "reviews.csv",)


def test_settings_stand_in_the_new_recipe_as_they_were_typed(tmp_path: Path) -> None:
    text = new_recipe(
        "x", "classify", ["data.train=some/a.csv", "train.steps=5", "data.columns.text=文本"]
    )
    assert "train: some/a.csv" in text
    assert "epochs" not in text.replace("or epochs", "")
    (tmp_path / "x.yaml").write_text(text, "utf-8")
    recipe = load_recipe(tmp_path / "x.yaml")
    assert recipe.train.steps == 5
    assert recipe.data.columns.text == "文本"
    assert recipe.data.train == (tmp_path / "some/a.csv",)


def test_keys_that_are_often_added_wait_as_comments(tmp_path: Path) -> None:
    text = new_recipe("x", "classify")
    assert "# floor: null" in text
    (tmp_path / "x.yaml").write_text(text.replace("# p95_ms: null", "p95_ms: 50"), "utf-8")
    assert load_recipe(tmp_path / "x.yaml").price.p95_ms == 50


def test_a_checkpoint_takes_the_place_of_the_preset(tmp_path: Path) -> None:
    text = new_recipe("x", "classify", ["model.from=package://a/b"])
    assert "preset:" not in text
    (tmp_path / "x.yaml").write_text(text, "utf-8")
    assert load_recipe(tmp_path / "x.yaml").model.from_ == "package://a/b"


@pytest.mark.parametrize("name", ["a/b", "", "a b", "../x"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="must be letters"):
        new_recipe(name, "classify")


def test_wrong_settings_are_told_before_anything_is_written() -> None:
    with pytest.raises(RecipeError) as caught:
        new_recipe("x", "classify", ["train.rat=1", "train.batch=none"])
    assert len(caught.value.problems) == 2
    assert "did you mean rate?" in str(caught.value)


def test_every_field_has_a_row_with_type_and_meaning() -> None:
    rows = {row.name: row for row in fields()}
    assert set(rows) == {".".join(path) for path in infos()}
    assert len(rows) > 70
    assert all(row.type and row.description.endswith(".") for row in rows.values())
    assert [row.name for row in rows.values() if row.default is None] == [
        "name",
        "task",
        "data.train",
    ]
    assert rows["model.from"].default == "null"
    assert rows["data.max_tokens"].type == "a whole number, from 8 to 8192"
    assert rows["train.class_weights"].type == "none or balanced or a number for each label"


def test_every_section_says_what_it_is_for() -> None:
    assert ("data", "clean") in sections()
    assert all(section.__doc__ for section in sections().values())


def test_types_are_told_in_the_words_that_are_given() -> None:
    info = infos()["train", "rate"]
    assert allowed(info) == "a number, above 0"
    assert allowed(info, {**ENGLISH, "float": "数值", "above": "，大于 {low}"}) == "数值，大于 0"


@pytest.mark.parametrize(
    "value",
    ["plain", "3e-4", "true", "null", "", " x ", "a: b", "#1", "文本", "- a", "@x", "a\nb", "\x85",
     "😀", "'", '"', "\\", "2001-01-01", "{a}", "~", 1, 0.1, 5e-05, True, None, [1, "a, b"],
     {"k: 1": 2.5}],
)  # fmt: skip
def test_a_written_value_reads_back_as_itself(value: object) -> None:
    assert parse_value(scalar(value)) == value


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0.1", "0.10"), ("0.100", "0.10"), ("12", "12.00"), ("0.00025", "0.00025"),
     ("1E+3", "1000.00")],
)  # fmt: skip
def test_equal_amounts_are_written_alike(amount: str, text: str) -> None:
    assert scalar(Decimal(amount)) == text
    assert Decimal(str(parse_value(text))) == Decimal(amount)
