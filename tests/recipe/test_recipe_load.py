"""Loading a recipe: what is right comes through whole, what is wrong is told all at once."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tael.errors import RecipeError
from tael.recipe.fields import infos
from tael.recipe.fingerprint import difference, fingerprint
from tael.recipe.load import load_recipe, resolved_yaml

SMALLEST = "name: reviews\ntask: classify\ndata:\n  train: reviews.csv\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes, name: str = "reviews.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def problems(path: Path, *overrides: str) -> list[str]:
    """Return what is wrong, without the folder in front of the file's name."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return [line.removeprefix(f"{path.parent}/") for line in caught.value.problems]


def test_a_training_file_is_enough(write) -> None:
    recipe = load_recipe(write(SMALLEST))
    assert recipe.data.train == (Path(write(SMALLEST)).parent / "reviews.csv",)
    assert recipe.train.epochs == 3.0
    assert recipe.model.hidden == 256


def test_all_problems_come_at_once_with_their_lines(write) -> None:
    path = write(
        "name: re views\n"
        "task: classify\n"
        "epochs: 3\n"
        "data:\n"
        "  train: reviews.csv\n"
        "  split: [0.8, 0.1]\n"
        "train:\n"
        "  step: 5\n"
        "  rate: fast\n"
        "  batch: 0\n"
        "model:\n"
        "  preset: smal\n"
        "  layers: true\n"
    )
    assert problems(path) == [
        "reviews.yaml:1: name: must be letters, digits, `_`, `.` and `-`; found 're views'",
        "reviews.yaml:3: epochs: unknown key; did you mean train.epochs?",
        "reviews.yaml:6: data.split: must be a list of 3 numbers; found [0.8, 0.1]",
        "reviews.yaml:8: train.step: unknown key; did you mean steps?",
        "reviews.yaml:9: train.rate: must be a number, above 0; found 'fast'",
        "reviews.yaml:10: train.batch: must be a whole number, at least 1; found 0",
        "reviews.yaml:12: model.preset: must be tiny, small, medium or base; found 'smal'; "
        "did you mean small?",
        "reviews.yaml:13: model.layers: must be a whole number, at least 1; found true",
    ]


def test_an_override_takes_the_place_of_the_files_other_way_to_say_it(write) -> None:
    path = write(SMALLEST + "train: {epochs: 2}\nmodel: {preset: tiny}\n")
    recipe = load_recipe(path, ["train.steps=5", "model.from=bert"])
    assert (recipe.train.epochs, recipe.train.steps) == (None, 5)
    assert Path(recipe.model.from_ or "").name == "bert"
    said = "exclude each other: keep one"
    assert said in problems(path, "train.steps=5", "train.epochs=1")[0]
    assert load_recipe(path, ["train.steps="]).train.epochs == 2


def test_checks_between_fields_are_told_beside_bad_fields(write) -> None:
    path = write(SMALLEST + "train:\n  rate: x\n  steps: 5\n  epochs: 2\nmodel: {hidden: 10}\n")
    assert problems(path) == [
        "reviews.yaml:6: train.rate: must be a number, above 0; found 'x'",
        "reviews.yaml:8: train.epochs: epochs and steps exclude each other: keep one",
        "reviews.yaml:9: model.hidden: hidden (10) must be divisible by heads (4)",
    ]


def test_a_check_is_not_told_of_a_value_that_was_refused_already(write) -> None:
    path = write(SMALLEST + "model: {hidden: big, heads: 3}\n")
    assert [line.split(":")[2].strip() for line in problems(path)] == ["model.hidden"]


def test_missing_keys_say_what_they_are_for(write) -> None:
    assert problems(write("seed: 1\n")) == [
        "reviews.yaml:1: name: is missing: Name of the run.",
        "reviews.yaml:1: task: is missing: What to learn: a file's name in tael/task.",
        "reviews.yaml:1: data.train: is missing: Training files, folders or patterns: csv, tsv, "
        "jsonl, json, txt, conll, parquet, Arrow; also .gz, .zst, .zip.",
    ]


def test_a_key_that_stands_twice_is_a_problem(write) -> None:
    (line,) = problems(write(SMALLEST + "seed: 1\nseed: 2\n"))
    assert line == "reviews.yaml:6: seed: stands twice, first in line 5; keep one"


def test_sizes_beside_a_checkpoint_have_no_effect_and_are_refused(write) -> None:
    path = write(SMALLEST + "model:\n  from: bert\n  preset: tiny\ntokenizer:\n  vocab: 500\n")
    told = problems(path)
    assert len(told) == 2
    assert told[0].startswith("reviews.yaml:7: model.preset: has no effect beside model.from")
    assert told[1].startswith("reviews.yaml:8: tokenizer: has no effect beside model.from")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "found nothing"),
        ("- a\n- b\n", "found ['a', 'b']"),
        ("just words", "found 'just words'"),
        ("a: [1,\n", "not YAML"),
        ("\tx: 1", "not YAML"),
        ("a: b: c", "not YAML"),
        ("a: &x [*x]", "too deeply nested"),
        ("%YAML 9.9\n---\na: 1", "not YAML"),
        ("a: !!python/object/apply:os.system ['true']", "unknown key"),
        ("name: !secret x\n", "the tag !secret is not read"),
        (b"name: \xff\xfe", "not UTF-8"),
        ("a\0b: 1", "not YAML"),
        (SMALLEST + "seed: " + "9" * 5000, "not a readable number"),
        ("a: " + "[" * 5000, "opening brackets: not a recipe"),
        ("- " * 5000, "nested deeper"),
        ("!" * 60_000, "is not read; drop it"),
        ("x" * 300_000, "not a recipe"),
        (SMALLEST + "train: 7\n", "train: must be a section of keys; found 7"),
        (SMALLEST + "[a, b]: 7\n", "a key must be a single word"),
        (SMALLEST + "train: {rate: .inf}\n", "train.rate: must be a number, above 0; found inf"),
        (SMALLEST + "train: {rate: .nan}\n", "train.rate: must be a number, above 0; found nan"),
        ("name: 7\n", 'name: must be letters, digits, `_`, `.` and `-`; found 7'),
        (SMALLEST.replace("reviews.csv", '""'), "data.train: must be a path or a list of paths"),
    ],
)  # fmt: skip
def test_what_is_no_recipe_is_refused_in_words(write, text: str | bytes, found: str) -> None:
    told = problems(write(text))
    assert any(found in line for line in told), told


def test_aliases_that_unfold_without_end_are_refused(write) -> None:
    levels = [
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]" for n in range(9)
    ]
    assert "too many values" in problems(write("\n".join(["a: &a [x]", *levels])))[0]


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    (line,) = problems(tmp_path / "none.yaml")
    assert "No such file" in line
    assert "tael new" in line


def test_overrides_are_typed_as_yaml_and_laid_over_the_file(write) -> None:
    path = write(SMALLEST + "train:\n  rate: 1\n  epochs: 5\n")
    recipe = load_recipe(
        path,
        ["train.rate=3e-4", "train.epochs=null", "train.steps=7", "data.clean.dedup=off",
         "data.split=[0.6, 0.2, 0.2]", "price.floor=accuracy >= 0.9", "model.preset=tiny",
         "train.class_weights={a: 1, 2: 3.5}"],
    )  # fmt: skip
    assert (recipe.train.rate, recipe.train.steps, recipe.train.epochs) == (3e-4, 7, None)
    assert recipe.data.clean.dedup == "off"
    assert recipe.data.split == (0.6, 0.2, 0.2)
    assert recipe.price.floor == "accuracy >= 0.9"
    assert (recipe.model.hidden, recipe.model.layers) == (128, 2)
    assert recipe.train.class_weights == {"a": 1.0, "2": 3.5}


def test_the_last_override_of_a_key_wins(write) -> None:
    assert load_recipe(write(SMALLEST), ["seed=1", "seed=2"]).seed == 2


def test_problems_of_overrides_name_the_override(write) -> None:
    path = write(SMALLEST + "train: {batch: 8}\n")
    overrides = ["train.rate=abc", "no_value", "train.bach=9", "x.y=1", "train.batch=0"]
    assert problems(path, *overrides) == [
        "override no_value: write key=value, as in train.rate=3e-4",
        "override train.rate=abc: train.rate: must be a number, above 0; found 'abc'",
        "override train.bach=9: train.bach: unknown key; did you mean batch?",
        "override x.y=1: x: unknown key; known: name, task, seed, lang, data, tokenizer, model, "
        "pretrain, train, embed, qa, chat, seq2seq, compress, price, machine, serve",
        "override train.batch=0: train.batch: must be a whole number, at least 1; found 0",
    ]


def test_paths_start_at_the_file_or_at_the_working_folder(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = write(SMALLEST + "model: {from: ../bert}\n")
    recipe = load_recipe(path, ["data.dev=dev.csv", "data.test=[a.csv, /b.csv]"])
    assert recipe.data.train == (tmp_path / "reviews.csv",)
    assert recipe.model.from_ == str(tmp_path.parent / "bert")
    assert recipe.data.dev == (folder / "dev.csv",)
    assert recipe.data.test == (folder / "a.csv", Path("/b.csv"))
    assert load_recipe(path, ["model.from=package://a/b"]).model.from_ == "package://a/b"


def test_given_sizes_win_over_the_preset(write) -> None:
    model = load_recipe(write(SMALLEST + "model: {preset: medium, layers: 2}\n")).model
    assert (model.hidden, model.layers, model.heads, model.ffn) == (384, 2, 6, 1536)


@pytest.mark.parametrize(
    "more",
    [
        "",
        "model: {preset: tiny}\ntrain: {steps: 5, class_weights: balanced}\n",
        "model: {from: bert}\n",
        "train: {class_weights: {好: 1, 'a: b': 2.5}}\nmachine: {price_per_hour: 0.125}\n",
        'data: {train: ["a b.csv", "#1.csv"], columns: {text: "文本: x", label: "1"}}\n',
        'machine: {currency: "元\\u0007\\U0001F600"}\n',
    ],
)
def test_the_resolved_recipe_loads_to_the_same_recipe(write, more: str) -> None:
    first = SMALLEST if "data" not in more else "name: reviews\ntask: classify\n"
    recipe = load_recipe(write(first + more))
    text = resolved_yaml(recipe)
    assert load_recipe(write(text, "resolved.yaml")) == recipe
    for path, info in infos().items():
        if path[0] not in ("model", "tokenizer"):
            assert f"{path[-1]}: " in text
            assert info.description in text


def test_fingerprints_differ_exactly_where_recipes_differ(write) -> None:
    old = load_recipe(write(SMALLEST))
    new = load_recipe(write(SMALLEST), ["train.rate=0.002", "machine.price_per_hour=0.100"])
    assert json.loads(json.dumps(fingerprint(old))) == fingerprint(old)
    assert difference(fingerprint(old), fingerprint(old)) == []
    assert difference(fingerprint(old), fingerprint(new)) == ["train.rate: 0.0005 → 0.002"]


def test_a_lock_of_an_older_schema_differs_by_the_new_field(write) -> None:
    now = fingerprint(load_recipe(write(SMALLEST)))
    old = {key: value for key, value in now.items() if key != "seed"}
    assert difference(old, now) == ["seed: null → 13"]


PIECES = st.sampled_from(
    [*"[]{}:,-&*!|>'\"#?%~\n\t ", "name", "task: ", "data", "train", "model", "from", "hidden: ",
     "split", "!!int ", "0o9", "1_", "&a ", "*a", "<<: ", "3e-4", ".nan", ".inf", "null", "true",
     "0x", "2001-99", "---", "...", "%YAML 1.1\n", "\x85", "\u2028", "\ufeff", "\n  ", ": ",
     "\\ud800"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.lists(PIECES, max_size=25).map("".join), st.text(max_size=80)),
    st.lists(st.text(max_size=15) | st.lists(PIECES, max_size=6).map("".join), max_size=2),
)
@example(":", ["\n"])
@example("&a [&a ", [])
@example("name: ~nobody/x\ndata: {train: ~nobody/x}", [])
def test_garbage_is_refused_in_lines_and_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, text: str, overrides: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        recipe = load_recipe(path, overrides)
    except RecipeError as error:
        lines = error.problems
    else:
        lines = [type(recipe).__name__]
    assert lines
    assert all(line.strip() and len(line) <= 500 and "\n" not in line for line in lines)
