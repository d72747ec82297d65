"""The command line: one line an error, an exit code, and what scripts rely on."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tael.cli import main as cli
from tael.errors import FloorError, RecipeError
from tael.recipe.load import load_recipe

VERBS = [
    "new",
    "check",
    "data",
    "data-diff",
    "runs",
    "compare",
    "plan",
    "run",
    "train",
    "tune",
    "evaluate",
    "predict",
    "price",
    "serve",
    "bill",
    "key",
    "doctor",
    "demo",
    "generate",
    "chat",
    "hidden",
]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tael(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in an empty folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tael", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    rows = [f"房间第{number}次很好,{'good' if number % 2 else 'bad'}" for number in range(80)]
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["review,sentiment", *rows]) + "\n", "utf-8")
    return path


def test_help_names_every_verb_and_every_verb_has_help(tael: Run) -> None:
    code, out, err = tael("--help")
    assert (code, err) == (0, "")
    for verb in VERBS:
        assert f"\n  {verb} " in out
        code, text, err = tael(verb, "--help")
        assert (code, err) == (0, "")
        assert text.startswith(f"Usage: tael {verb}")
    assert max(map(len, out.splitlines())) <= 80


def test_predict_and_evaluate_take_how_a_file_is_read(tael: Run, reviews: Path) -> None:
    said = ["data.columns.text=review", "data.columns.label=sentiment"]
    files = {
        "evaluate": ["--data", "reviews.csv"],
        "predict": ["--in", "reviews.csv", "--out", "o"],
    }
    for verb, options in files.items():
        code, out, err = tael(verb, "run", *said, *options)
        assert (code, out) == (1, "")
        assert err.startswith("run: not a run")  # all the rest was understood


def test_the_bare_command_shows_help_and_is_wrong_usage(tael: Run) -> None:
    code, out, _ = tael()
    assert code == 2
    assert "Commands:" in out


def test_the_version_is_the_packages(tael: Run) -> None:
    from importlib.metadata import version

    assert tael("--version") == (0, f"tael {version('tael')}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["run"], ["run", "x.yaml", "--fast"], ["serve", "runs/x", "--port", "many"],
     ["serve", "runs/x", "--port", "70000"], ["predict", "runs/x", "--in", "a.csv"], ["bill"],
     ["new"], ["new", "x", "--task", "clasify"], ["check", "none.yaml"], ["run", "none.yaml"]],
)  # fmt: skip
def test_wrong_usage_is_one_line_on_stderr_and_exit_2(tael: Run, arguments: list[str]) -> None:
    code, out, err = tael(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


def test_every_problem_of_a_recipe_is_a_line_that_editors_can_open(tael: Run) -> None:
    Path("bad.yaml").write_text("name: x\ntask: classify\ndata: {train: a}\ntrain:\n  step: 3\n")
    code, out, err = tael("check", "bad.yaml", "train.rate=0", "wrong")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "bad.yaml:5: train.step: unknown key; did you mean steps?",
        "override wrong: write key=value, as in train.rate=3e-4",
        "override train.rate=0: train.rate: must be a number, above 0; found 0",
    ]


def test_data_that_cannot_be_used_exits_1(tael: Run) -> None:
    Path("x.yaml").write_text("name: x\ntask: classify\ndata: {train: none.csv}\n")
    code, out, err = tael("check", "x.yaml")
    assert (code, out) == (1, "")
    assert "none.csv: no such file" in err


def test_debug_shows_the_traceback_before_the_line(tael: Run) -> None:
    code, _, err = tael("--debug", "check", "none.yaml")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("none.yaml: cannot read the recipe")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RecipeError(["a", "b"]), 2, "a\nb\n"),
        (FloorError("none keeps it"), 1, "none keeps it\n"),
        (PermissionError(13, "Permission denied", "runs/x"), 1, 
         "tael: runs/x: Permission denied\n"),
        (OSError(28, "No space left on device"), 1, "tael: [Errno 28] No space left on device\n"),
        (KeyError("lost"), 1, "tael: unexpected KeyError: 'lost' (a fault in tael; "
         "`tael --debug` shows where)\n"),
        (MemoryError(), 1, "tael: unexpected MemoryError (a fault in tael; "
         "`tael --debug` shows where)\n"),
    ],
)  # fmt: skip
def test_every_failure_has_its_line_and_code(
    tael: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, line: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("tael.recipe.load.load_recipe", fail)
    assert tael("check", "x.yaml") == (code, "", line)


def test_ctrl_c_exits_130_without_a_traceback(tael: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tael.recipe.load.load_recipe", interrupt)
    code, out, err = tael("check", "x.yaml")
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_a_price_that_keeps_no_floor_is_printed_all_the_same(
    tael: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def price(run: Path, *_: object, **__: object) -> None:
        (run / "price").mkdir(parents=True)
        (run / "price" / "frontier.json").write_text('{"variants": [], "chosen": null}')
        raise FloorError("none keeps it")

    monkeypatch.setattr("tael.road.price.price", price)
    assert tael("price", "a") == (1, "", "none keeps it\n")
    code, out, err = tael("price", "b", "price.floor=accuracy >= 2", "--json")
    assert (code, err) == (1, "none keeps it\n")
    assert json.loads(out)["chosen"] is None


def test_a_reader_that_goes_away_is_no_error(reviews: Path) -> None:
    (reviews.parent / "x.yaml").write_text("name: x\ntask: classify\ndata: {train: a.csv}\n")
    code = (
        "import sys; sys.argv = ['tael', 'check', 'x.yaml', '--resolved']\n"
        "from tael.cli.main import main\nmain()"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True,
        cwd=reviews.parent, check=False,
    )  # fmt: skip
    os.close(write)
    assert done.stderr == ""


def test_output_in_chinese_needs_no_unicode_terminal(reviews: Path) -> None:
    code = (
        "import sys; sys.argv[1:] = ['new', '--from', 'reviews.csv']\n"
        "from tael.__main__ import main; main()"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=reviews.parent, check=True,
        env=environment,
    )  # fmt: skip
    assert b"\\u623f" in done.stdout


def test_new_check_and_resolved_go_hand_in_hand(tael: Run, reviews: Path) -> None:
    code, out, err = tael("new", "--from", "reviews.csv", "train.epochs=2")
    assert (code, err) == (0, "")
    assert "'review'" in out
    assert "wrote reviews.yaml" in out
    code, out, _ = tael("check", "reviews.yaml", "data.clean.dedup=exact")
    assert code == 0
    assert out.startswith("in order")
    code, out, _ = tael("check", "reviews.yaml", "--json")
    assert sum(json.loads(out)["rows"].values()) == 80
    code, out, _ = tael("check", "reviews.yaml", "--resolved", "seed=5")
    Path("resolved.yaml").write_text(out, "utf-8")
    assert load_recipe("resolved.yaml") == load_recipe("reviews.yaml", ["seed=5"])
    code, _, err = tael("new", "--from", "reviews.csv")
    assert (code, err) == (2, "reviews.yaml exists: choose another name, or remove it first\n")


def test_new_takes_a_name_a_task_and_settings(tael: Run) -> None:
    assert tael("new", "mine", "--task", "classify", "data.train=a.csv", "seed=4")[0] == 0
    assert load_recipe("mine.yaml").seed == 4


def test_the_bill_reads_the_ledger_of_a_run(tael: Run, tmp_path: Path) -> None:
    from tael.serve.bill import ledger_url
    from tael.serve.tables import open_database

    code, _, err = tael("bill", "runs/none")
    assert code == 1
    assert len(err.splitlines()) == 1
    (tmp_path / "runs" / "x" / "serve").mkdir(parents=True)
    open_database(ledger_url(tmp_path / "runs" / "x")).dispose()
    code, out, _ = tael("bill", "runs/x", "--json")
    assert (code, json.loads(out)) == (0, {"lines": [], "owed_micros": {}})
    code, out, _ = tael("bill", "runs/x")
    assert out.split() == ["key", "requests", "texts", "owes"]


def test_python_offers_run_load_and_version_without_importing_torch() -> None:
    code = (
        "import sys, tael\nprint(tael.__version__, sorted(tael.__all__), 'torch' in sys.modules)\n"
        "try:\n    tael.fly\nexcept AttributeError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = out.stdout.splitlines()
    assert first.endswith("['__version__', 'load', 'run'] False")
    assert second == "module 'tael' has no attribute 'fly'"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["check", "new", "evaluate", "price", "--debug"]),
    st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=3),
)
def test_no_arguments_make_a_traceback(tael: Run, verb: str, arguments: list[str]) -> None:
    given = [verb, *(text.replace("\0", "") for text in arguments)]
    code, _, err = tael(*given)
    assert code in (0, 1, 2)
    assert "a fault in tael" not in err
    assert ("Traceback" not in err) or "--debug" in given
