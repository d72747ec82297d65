"""A key that does nothing under the options beside it is refused where a person wrote it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tael.errors import RecipeError
from tael.recipe.effect import _RULES
from tael.recipe.fields import infos
from tael.recipe.load import load_recipe, resolved_yaml
from tael.recipe.new import new_recipe

SMALLEST = "name: reviews\ntask: classify\ndata:\n  train: reviews.csv\n"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "reviews.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


def problems(path: Path, *overrides: str) -> list[str]:
    """Return what is wrong, without the folder in front of the file's name."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return [line.removeprefix(f"{path.parent}/") for line in caught.value.problems]


def test_the_line_says_where_why_and_what_to_do(write: Write) -> None:
    path = write(SMALLEST + "train:\n  rate: 1.0e-3\n  batch: 8\n  epochs: 1\n  power: 3\n")
    assert problems(path) == [
        "reviews.yaml:9: train.power has no effect: train.schedule is linear; "
        "set schedule: polynomial or remove it"
    ]
    assert load_recipe(path, ["train.schedule=polynomial"]).train.power == 3


@pytest.mark.parametrize(
    ("idle", "mended"),
    [
        (["pretrain.rate=2e-3", "pretrain.save_every=9"], ["pretrain.steps=5"]),
        (["pretrain.rate=1e-3"], ["pretrain.steps=5"]),  # its default, written by a person
        (["pretrain.steps=5", "pretrain.power=3"], ["pretrain.schedule=polynomial"]),
        (["train.schedule=constant", "train.final_rate=0.1"], ["train.schedule=cosine"]),
        (["train.schedule=inverse-sqrt", "train.final_rate=0.1"], ["train.schedule=stable"]),
        (["train.restarts=2"], ["train.schedule=cosine"]),
        (["pretrain.steps=5", "pretrain.cooldown=0.1"], ["pretrain.schedule=stable"]),
        (["train.factor=0.96", "train.staircase=true"], ["train.schedule=exponential"]),
        (["train.schedule=exponential", "train.factor_steps=9"], ["train.factor=0.5"]),
        (
            ["train.schedule=exponential", "train.factor=0.9", "train.final_rate=0.1"],
            ["train.factor=null"],
        ),
        (["train.optimizer=sgd", "train.betas=[0.9, 0.95]"], ["train.optimizer=lion"]),
        (["train.optimizer=lion", "train.eps=1e-6"], ["train.optimizer=adam"]),
        (["train.momentum=0.8"], ["train.optimizer=muon"]),
        (["train.freeze=body", "train.layer_decay=0.9"], ["train.freeze=2"]),
        (["train.freeze=embeddings", "train.adversary=1.0"], ["train.freeze=null"]),
        (["train.lora.dora=true", "train.lora.targets=[q]"], ["train.lora.rank=4", "model.from=b"]),
        (["model.from=bert", "train.lora.rank=4", "train.freeze=2"], ["train.lora.rank=0"]),
        (["train.micro_batch=64"], ["train.batch=128"]),
        (["data.labels=regression", "train.label_smoothing=0.1"], ["data.labels=multi"]),
        (["data.labels=regression", "train.class_weights=balanced"], ["data.labels=single"]),
        (["train.patience=10"], ["train.evaluations=20"]),
        (["train.patience=2", "data.split=[0.9, 0, 0.1]"], ["data.dev=dev.csv"]),
        (["data.dev=d.csv", "data.test=t.csv", "data.split=[0.6, 0.2, 0.2]"], ["data.test=null"]),
        (["data.dev=d.csv", "data.test=t.csv", "data.group=user"], ["data.test=null"]),
        (["data.clean.dedup=off", "data.clean.conflicts=keep"], ["data.clean.dedup=exact"]),
        (["pretrain.text=a.txt", "model.from=bert"], ["pretrain.steps=5"]),
    ],
)  # fmt: skip
def test_each_key_is_refused_without_and_taken_with_what_it_needs(
    write: Write, idle: list[str], mended: list[str]
) -> None:
    path = write(SMALLEST)
    for line in problems(path, *idle):
        assert " has no effect: " in line
        assert line.startswith(f"override {line.split()[1]}")
    load_recipe(path, [*idle, *mended])


def test_adapters_need_weights_to_stand_beside(write: Write) -> None:
    path = write(SMALLEST)
    (line,) = problems(path, "train.lora.rank=4")
    assert "train.lora stands beside weights that learned before: set model.from" in line
    assert load_recipe(path, ["train.lora.rank=4", "pretrain.steps=9"]).train.lora.rank == 4


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("tag", "data.columns.label=x"), ("tag", "data.columns.messages=x"),
        ("tag", "data.labels=multi"), ("tag", "data.clean.width=fold"),
        ("tag", "data.clean.personal=mask"), ("tag", "data.fixes=fixes.csv"),
        ("classify", "data.columns.tokens=words"), ("qa", "data.columns.text=x"),
        ("tag", "train.class_weights=balanced"),
    ],
)  # fmt: skip
def test_a_column_or_setting_of_another_task_is_refused(
    write: Write, task: str, given: str
) -> None:
    (line,) = problems(write(f"name: x\ntask: {task}\ndata: {{train: a.jsonl}}\n"), given)
    assert f"has no effect: task is {task};" in line


def test_the_text_column_of_pretraining_files_is_every_task_s(write: Write) -> None:
    path = write("name: x\ntask: qa\ndata: {train: a.jsonl}\n")
    given = ["pretrain.text=a.csv", "data.columns.text=body"]
    assert load_recipe(path, given).data.columns.text == "body"


@pytest.mark.parametrize(
    "setting", ["train.adversary=1.0", "train.lora.rank=4", "pretrain.optimizer=adafactor"]
)
def test_what_needs_whole_matrices_is_refused_where_they_are_cut(
    write: Write, setting: str
) -> None:
    path = write(SMALLEST)
    more = ["train.parallel=fsdp", "pretrain.steps=5", setting]
    assert "train.parallel: fsdp" in "".join(problems(path, *more))
    load_recipe(path, [*more, "train.parallel=ddp"])


def test_the_table_names_fields_that_exist() -> None:
    known = {".".join(path) for path in infos()}
    for rule in _RULES:
        assert set(rule.keys) | set(rule.because) <= known


def test_an_override_that_turns_a_part_off_leaves_the_file_as_it_is(write: Write) -> None:
    path = write(SMALLEST + "pretrain: {steps: 50, rate: 2.0e-3}\n")
    assert load_recipe(path, ["pretrain.steps=0"]).pretrain.steps == 0
    (line,) = problems(path, "pretrain.steps=0", "pretrain.batch=8")
    assert line.startswith("override pretrain.batch=8: pretrain.batch has no effect")


def test_what_was_refused_decides_nothing(write: Write) -> None:
    (line,) = problems(write(SMALLEST + "train: {schedule: polynomal, power: 3}\n"))
    assert "did you mean polynomial" in line


def test_the_text_of_pretraining_teaches_the_tokenizer_without_any_step(write: Write) -> None:
    assert load_recipe(write(SMALLEST + "pretrain: {text: a.txt}\n")).pretrain.text is not None


def test_a_recipe_that_tael_printed_is_taken_again(write: Write) -> None:
    recipe = load_recipe(write(SMALLEST))
    printed = resolved_yaml(recipe)
    assert load_recipe(write(printed)) == recipe
    changed = printed.replace("power: 2.0", "power: 3.0", 1)
    (line,) = problems(write(changed))
    assert "pretrain.power has no effect: pretrain.steps is 0" in line


def test_a_new_recipe_has_no_idle_key() -> None:
    with pytest.raises(RecipeError, match=r"train\.power has no effect"):
        new_recipe("x", "classify", ["train.power=3"])
    assert "steps: 0" in new_recipe("x", "classify")
