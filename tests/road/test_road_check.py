"""Check finds what a run would meet; new guesses what a person would say."""

import json
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from tael.data import dedup
from tael.errors import CheckpointError, DataError, RecipeError, UsageError
from tael.recipe.load import load_recipe
from tael.road import check as checking
from tael.road.check import check
from tael.road.guess import guess_columns
from tael.road.new import new


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a csv of 60 reviews."""
    monkeypatch.chdir(tmp_path)
    write_reviews(tmp_path / "reviews.csv", 60)
    (tmp_path / "reviews.yaml").write_text(
        "name: reviews\ntask: classify\ndata:\n  train: reviews.csv\n"
        "  columns: {text: review, label: mood}\n"
    )
    return tmp_path


def write_reviews(path: Path, rows: int) -> None:
    lines = [
        f"{number},房间第{number}次很好,{'good' if number % 3 else 'bad'}" for number in range(rows)
    ]
    path.write_text("\n".join(["id,review,mood", *lines]) + "\n", "utf-8")


def checked(*overrides: str, full: bool = False) -> checking.Checked:
    return check(load_recipe("reviews.yaml", ["data.clean.dedup=exact", *overrides]), full=full)


@pytest.mark.usefixtures("here")
def test_a_recipe_in_order_shows_rows_labels_samples_and_an_estimate() -> None:
    seen = checked()
    assert sum(seen.rows.values()) == 60
    assert set(seen.labels) == {"good", "bad"}
    assert sum(seen.labels.values()) == seen.rows["train"]
    assert len(seen.samples) == 3
    assert seen.limit is None
    assert seen.estimate.seconds > 0
    text = "\n".join(seen.lines())
    assert text.startswith("in order: all rows read for exact duplicates only")
    assert "good" in text
    assert "estimate: about" in text
    assert json.loads(json.dumps(seen.to_json()))["rows"] == seen.rows


@pytest.mark.usefixtures("here")
def test_only_the_first_rows_are_read_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_FIRST_ROWS", 40)
    seen = checked()
    assert sum(seen.rows.values()) == 40
    assert "first 40 rows" in seen.lines()[0]
    assert "at least" in seen.lines()[-1]
    whole = checked(full=True)
    assert sum(whole.rows.values()) == 60
    assert whole.lines()[0] == "in order: all rows read"


@pytest.mark.usefixtures("here")
def test_all_absent_files_are_named_at_once() -> None:
    with pytest.raises(DataError) as caught:
        checked("data.train=no.csv", "data.test=none.csv", "pretrain.text=nothing.txt")
    lines = str(caught.value).splitlines()
    assert [line.rpartition("; ")[2] for line in lines] == [
        "data.train names it",
        "data.test names it",
        "pretrain.text names it",
    ]


@pytest.mark.usefixtures("here")
def test_a_column_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(DataError, match=r"no column 'text'.*id, review, mood"):
        checked("data.columns.text=text")


@pytest.mark.usefixtures("here")
def test_wrong_tasks_floors_and_checkpoints_are_found_before_a_run() -> None:
    with pytest.raises(UsageError, match="unknown task 'clasify'; did you mean classify"):
        checked("task=clasify")
    with pytest.raises(UsageError, match=r"price\.floor"):
        checked("price.floor=good enough")
    with pytest.raises(UsageError, match=r"unknown metric 'acuracy'; did you mean 'accuracy'"):
        checked("price.floor=acuracy >= 0.9")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checked("model.from=nowhere")
    with pytest.raises(UsageError, match=r"model\.from: .*pip install no-such-package"):
        checked("model.from=package://no_such_package/model")


def test_a_checkpoint_is_estimated_by_its_own_words_for_its_sizes(here: Path) -> None:
    sizes = {"hidden_size": 256, "num_hidden_layers": 3, "intermediate_size": 512}
    others = {"dim": 256, "n_layers": 3, "hidden_dim": 512}
    estimates = []
    for name, said in (("bert", sizes), ("distilbert", others)):
        (here / name).mkdir()
        (here / name / "config.json").write_text(json.dumps(said | {"vocab_size": 9000}))
        estimates.append(checked(f"model.from={name}").estimate)
    assert estimates[0] == estimates[1] != checked().estimate
    (here / "bert" / "config.json").write_text(json.dumps(sizes | {"hidden_size": "many"}))
    with pytest.raises(CheckpointError, match="needs whole numbers hidden_size or dim"):
        checked("model.from=bert")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("setting", "error"),
    [("price.floor=good enough", UsageError), ("price.floor=acuracy >= 0.9", UsageError),
     ("price.traffic=none.csv", DataError)],
)  # fmt: skip
def test_what_pricing_would_refuse_is_refused_before_training(
    setting: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tael.road import run as running

    monkeypatch.setattr(running, "train", lambda *_, **__: pytest.fail("compute was spent"))
    with pytest.raises(error, match=setting.partition("=")[0]):
        running.run(load_recipe("reviews.yaml", [setting]))


def test_a_label_that_train_does_not_have_is_refused(here: Path) -> None:
    (here / "test.csv").write_text("review,mood\nfine,7\n")
    with pytest.raises(DataError, match=r"'7' \(test.csv:2\)"):
        checked("data.test=test.csv")


def test_missing_labels_are_counted_before_anything_else_goes_wrong(here: Path) -> None:
    lines = ["review,mood", "fine,", "bad,nan", "good,yes", "fine,"]
    (here / "few.csv").write_text("\n".join(lines) + "\n")
    said = r"train: of 4 records, 2 with no label \(few.csv:2, few.csv:5\); 1 .*'nan' \(few.csv:3\)"
    with pytest.raises(DataError, match=said):
        checked("data.train=few.csv")
    (here / "test.csv").write_text("review,mood\nfine,\n")
    with pytest.raises(DataError, match=r"test: of 1 records, 1 with no label \(test.csv:2\)"):
        checked("data.test=test.csv")


def test_the_estimate_grows_with_the_work(here: Path) -> None:
    one, two = checked("train.epochs=1").estimate, checked("train.epochs=2").estimate
    assert two.seconds == pytest.approx(2 * one.seconds)
    assert two.cost == pytest.approx(2 * one.cost)
    assert checked("pretrain.steps=10").estimate.seconds > checked().estimate.seconds
    assert checked("model.preset=medium").estimate.parameters > one.parameters
    folder = here / "bert"
    folder.mkdir()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 16, "vocab_size": 50}
    (folder / "config.json").write_text(json.dumps(sizes))
    assert checked("model.from=bert").estimate.parameters == 4 * 64 + 2 * 128 + (50 + 514) * 8


# What a check of a csv has no use for: each would add its import to the wait.
NOT_FOR_A_CHECK = {
    "torch", "sklearn", "onnxruntime", "onnx", "scipy", "matplotlib", "transformers", "datasets",
    "pyarrow", "pandas", "polars", "fastapi", "sqlalchemy", "tensorboard", "rich", "jinja2",
}  # fmt: skip


@pytest.mark.usefixtures("here")
def test_a_check_imports_nothing_that_it_has_no_use_for() -> None:
    code = (
        "import atexit, json, sys\nsys.argv = ['tael', 'check', 'reviews.yaml']\n"
        "loaded = lambda: sorted({name.partition('.')[0] for name in sys.modules})\n"
        "atexit.register(lambda: print(json.dumps(loaded())))\n"
        "from tael.cli.main import main\nmain()"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(json.loads(out.stdout.splitlines()[-1]))
    assert "pydantic" in modules
    assert not NOT_FOR_A_CHECK & modules


def test_a_check_works_out_the_normal_form_of_each_text_once(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dev", "test"):
        write_reviews(here / f"{name}.csv", 20)
    seen = Counter[str]()
    normalize = unicodedata.normalize

    def counted(form: str, text: str) -> str:
        seen[text] += form == "NFKC"
        return normalize(form, text)  # type: ignore[arg-type]

    dedup._remembered.cache_clear()
    monkeypatch.setattr(dedup.unicodedata, "normalize", counted)
    checked("data.dev=dev.csv", "data.test=test.csv", "data.max_leak=1")
    assert set(seen.values()) == {1}
    assert len(seen) == 60


@pytest.mark.parametrize(
    ("header", "row", "text", "pair", "label"),
    [
        ("id,review,sentiment", "{n},nice place {n},{c}", "review", None, "sentiment"),
        ("类别,内容", "{c},很好 {n}", "内容", None, "类别"),
        ("sentence1,sentence2,score", "one {n},two {n},{n}.5", "sentence1", "sentence2", "score"),
        ("a,b", "{c},a long text about number {n}", "b", None, "a"),
        ("Review Text,Star-Rating", "a b c {n},{c}", "Review Text", None, "Star-Rating"),
        ("a,b,label", "cat {n} sat there,dog {n} sat here,{c}", "a", "b", "label"),
        ("y,甲,乙", "{c},第{n}只猫在这里,那里有{n}只狗", "甲", "乙", "y"),
        ("by,a,label", "Al {n},cat {n} sat on the mat and the mat was red,{c}", "a", None, "label"),
        ("on,a,label", "2024-01-05 10:{n},cat {n} sat there,{c}", "a", None, "label"),
        ("a,b,c,label", "cat {n} sat,dog {n} sat,cow {n} sat,{c}", "a", None, "label"),
        ("text,b,label", "cat {n} sat there,dog {n} sat here,{c}", "text", None, "label"),
        ("a,room,label", "cat {n} sat there,the big one,{c}", "a", None, "label"),
    ],
)  # fmt: skip
def test_columns_are_guessed_by_name_or_by_what_they_hold(
    tmp_path: Path, header: str, row: str, text: str, pair: str | None, label: str
) -> None:
    rows = [row.format(n=n, c="ab"[n % 2]) for n in range(30)]
    (tmp_path / "x.csv").write_text("\n".join([header, *rows]), "utf-8")
    guess = guess_columns(tmp_path / "x.csv")
    assert (guess.text, guess.text_pair, guess.label) == (text, pair, label)
    assert len(guess.rows) == 3


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(["a", "b"], "single"), (["0", "1"], "single"), (["a|b", "c"], "multi"),
     ([f"{n}.25" for n in range(40)], "regression"), ([str(n) for n in range(40)], "regression")],
)  # fmt: skip
def test_the_kind_of_label_is_guessed_from_its_values(
    tmp_path: Path, labels: list[str], kind: str
) -> None:
    rows = [f"text {n},{labels[n % len(labels)]}" for n in range(40)]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *rows]), "utf-8")
    assert guess_columns(tmp_path / "x.csv").kind == kind


def test_a_file_without_labels_cannot_be_guessed(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text\na b\nc d\n")
    with pytest.raises(DataError, match="which column holds the label; the file has text"):
        guess_columns(tmp_path / "x.csv")


def test_new_writes_a_recipe_that_checks_out(here: Path) -> None:
    (here / "reviews.yaml").unlink()
    made = new(None, None, ["train.epochs=1"], Path("reviews.csv"))
    assert made.path == Path("reviews.yaml")
    assert any("房间第1次很好" in line for line in made.lines)
    recipe = load_recipe(made.path)
    assert recipe.train.epochs == 1
    assert recipe.data.columns.label == "mood"
    assert check(recipe).rows["train"] > 0


@pytest.mark.usefixtures("here")
def test_two_columns_of_text_are_proposed_as_a_pair_and_shown() -> None:
    rows = [f"cat {n} sat there,dog {n} sat here,{'yes' if n % 2 else 'no'}" for n in range(60)]
    Path("pairs.csv").write_text("\n".join(["a,b,label", *rows]), "utf-8")
    made = new(None, None, [], Path("pairs.csv"))
    assert made.lines[:2] == [
        "text in 'a' with its pair in 'b', label in 'label': one label a text",
        "  no  cat 0 sat there  ↔  dog 0 sat here",
    ]
    assert len(made.lines) == 5
    recipe = load_recipe(made.path)
    assert (recipe.data.columns.text, recipe.data.columns.text_pair) == ("a", "b")
    assert check(recipe).rows["train"] > 0


def test_new_never_writes_over_a_file(here: Path) -> None:
    before = (here / "reviews.yaml").read_text()
    with pytest.raises(UsageError, match=r"reviews\.yaml exists"):
        new("reviews", "classify")
    assert (here / "reviews.yaml").read_text() == before


@pytest.mark.usefixtures("here")
def test_new_needs_a_name_and_a_known_task() -> None:
    with pytest.raises(UsageError, match="needs a name and a task"):
        new("x", None)
    with pytest.raises(UsageError, match="did you mean classify"):
        new("x", "clasify")
    with pytest.raises(RecipeError, match=r"train\.rat"):
        new("x", "classify", ["train.rat=1"])
    assert not Path("x.yaml").exists()


@pytest.mark.usefixtures("here")
def test_a_file_name_with_odd_characters_still_makes_a_recipe() -> None:
    write_reviews(Path('my "best" 评论 #1.csv'), 60)
    made = new(None, None, [], Path('my "best" 评论 #1.csv'))
    assert made.path == Path("my_best_评论_1.yaml")
    assert check(load_recipe(made.path)).rows["train"] > 0


@pytest.mark.usefixtures("here")
def test_the_rate_is_drawn_for_each_stage_in_characters_and_as_a_page() -> None:
    changes = ["train.schedule=stable", "train.steps=40", "train.warmup=0.25", "pretrain.steps=9"]
    recipe = load_recipe("reviews.yaml", ["data.clean.dedup=exact", "pretrain.batch=8", *changes])
    lines = checking.plot_rate(recipe, check(recipe))
    assert lines[0].startswith("pretrain: 9 steps, linear: peak 0.001 at step 2")
    assert "train: 40 steps, stable: peak 0.0005 at step 11" in lines[9]
    widest, *_, lowest = lines[10:18]
    assert widest.count("█") == 23  # the peak from step 11 to 33, a column a step
    assert lowest.count("█") > widest.count("█")
    assert lines[-1] == "wrote reviews-rate.html"
    text = Path("reviews-rate.html").read_text("utf-8")
    assert text.count("<svg") == 2
    assert "Stage pretrain" in text


@pytest.mark.usefixtures("here")
def test_a_drawing_that_did_not_see_all_rows_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_FIRST_ROWS", 40)
    recipe = load_recipe("reviews.yaml", ["data.clean.dedup=exact", "lang=zh"])
    assert "not all read" in checking.plot_rate(recipe, check(recipe))[-2]
    text = Path("reviews-rate.html").read_text("utf-8")
    assert "学习率" in text


def test_drawing_a_rate_loads_no_torch(here: Path) -> None:
    code = (
        "import sys; sys.argv = ['tael', 'check', 'reviews.yaml', '--plot-rate']\n"
        "from tael.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    print('code', done.code)\n"
        "print('torch' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here
    )
    assert out.stdout.splitlines()[-3:] == ["wrote reviews-rate.html", "code 0", "False"]
