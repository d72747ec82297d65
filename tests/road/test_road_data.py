"""What `tael data` shows is what a run trains on; what two runs differ in is told row by row."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_reviews import reviews

from tael.cli.records import show_prepared
from tael.errors import RunError, UsageError
from tael.recipe.load import load_recipe
from tael.recipe.schema import Recipe
from tael.road.data import Prepared, prepare_data
from tael.road.diff import data_diff
from tael.task.view import record_views, row_views
from tael.train.run import Run

SETTINGS = ["data.max_tokens=24", "tokenizer.vocab=300", "pretrain.steps=3", "pretrain.batch=4",
            "data.clean.dedup=exact"]  # fmt: skip
Row = dict[str, str]


@pytest.fixture
def recipe_of(tmp_path: Path) -> Callable[..., Recipe]:
    """Write rows to a csv and return a recipe for it."""

    def make(rows: list[Row], *settings: str, name: str = "r") -> Recipe:
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows)
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"name: {name}\ntask: classify\ndata: {{train: {name}.csv}}\n", "utf-8")
        return load_recipe(path, [*SETTINGS, *settings])

    return make


@pytest.fixture
def seen(recipe_of: Callable[..., Recipe], monkeypatch, tmp_path: Path) -> Prepared:
    monkeypatch.chdir(tmp_path)
    rows = reviews(200)
    odd = [rows[0], {"text": " ", "label": "good"}, {**rows[1], "label": "good"},
           {**rows[1], "label": "bad"}]  # fmt: skip
    return prepare_data(recipe_of([*rows, *odd]), show=2)


def test_every_token_of_a_record_is_there_and_the_lost_end_is_named(seen: Prepared) -> None:
    assert len(seen.records) == 2
    for view in seen.records:
        said = "".join(piece.text for piece in view.pieces[1:-1]).replace("▁", "")
        assert said + view.lost.replace("，", ",") == view.text.replace("，", ",")
        assert bool(view.lost) == bool(view.cut)
        assert view.pieces[0].mark == "target"
        assert view.pieces[-1].text == "[SEP]"
        assert len(view.pieces) <= 24
    assert seen.tokens["train"].cut_texts > 0


def test_what_went_is_shown_with_its_reason(seen: Prepared) -> None:
    why = [gone.why for gone in seen.gone]
    assert why[0] == "text under 1 characters"
    assert seen.gone[0].place == "r.csv:203"
    assert any(reason == "repeats r.csv:2 exactly" for reason in why)
    assert any(reason.startswith("stands with the labels") for reason in why)


def test_packed_rows_show_masked_positions_and_what_stood_there(seen: Prepared) -> None:
    assert len(seen.packed) == 2
    for view in seen.packed:
        targets = [piece for piece in view.pieces if piece.mark == "target"]
        assert targets
        assert view.target.startswith(f"{len(targets)} of {len(view.pieces)} tokens")
        assert all(piece.target not in ("", "[CLS]", "[SEP]") for piece in targets)


def test_the_marks_are_there_without_colours(seen: Prepared, capsys) -> None:
    show_prepared(seen)
    out = capsys.readouterr().out
    assert out.startswith("rows: train ")
    assert "«[CLS]→" in out
    assert "\x1b[" not in out
    assert "✂" in out
    assert "not trained on:" in out


def test_a_record_is_shown_with_the_ids_that_training_gets(tiny_run: Path) -> None:
    run = Run(tiny_run)
    task, records = run.task(), run.records("train")[:20]
    for view, example in zip(record_views(task, records), task.encode_many(records), strict=True):
        ids = [task.tokenizer.token_to_id(piece.text) for piece in view.pieces]
        assert ids == example.ids
        assert view.cut == example.cut


def test_padding_is_left_out_and_other_tokens_are_not_targets() -> None:
    import torch
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "a": 1, "b": 2}, unk_token="a"))
    batch = SimpleNamespace(
        ids_BT=torch.tensor([[1, 2, 0], [2, 1, 1]]),
        documents_BT=torch.tensor([[1, 1, 0], [1, 1, 2]]),
        where_N=torch.tensor([0, 5]),
        targets=torch.tensor([2, 2]),
    )
    first, second = row_views(batch, tokenizer, 2)  # type: ignore[arg-type]
    assert [(p.text, p.mark, p.target) for p in first.pieces] == [
        ("a", "target", "b"),
        ("b", "", ""),
    ]
    assert [p.mark for p in second.pieces] == ["", "", "target"]
    assert second.target == "1 of 3 tokens, in 2 texts"


def test_out_gets_records_report_and_tokens_and_no_run_is_written_over(
    recipe_of: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe, out = recipe_of(reviews(120)), tmp_path / "looked"
    made = prepare_data(recipe, out=out)
    facts = json.loads((out / "report.json").read_text("utf-8"))
    assert facts["rows"] == made.rows
    assert facts["tokens"]["train"]["lost"] == made.tokens["train"].lost
    assert "Known once" not in (out / "report.html").read_text("utf-8")
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.lock.yaml").write_text("x")
    for folder in (run, run / "data"):
        with pytest.raises(UsageError, match="belongs to a run"):
            prepare_data(recipe, out=folder)


def test_a_difference_names_rows_added_removed_moved_and_relabelled(
    recipe_of: Callable[..., Recipe], tmp_path: Path
) -> None:
    rows = reviews(120)
    old = recipe_of(rows)
    prepare_data(old, out=tmp_path / "old")
    kept = [dict(row) for row in rows[1:]] + [{"text": "全新的一条评论", "label": "good"}]
    kept[0]["label"] = "good" if kept[0]["label"] == "bad" else "bad"
    kept[1]["text"] = kept[1]["text"].replace("，", " ")  # other punctuation: the same text
    prepare_data(recipe_of(kept, "train.epochs=7"), out=tmp_path / "new")
    found = data_diff(tmp_path / "old", tmp_path / "new")
    assert [change.text for change in found.removed] == [rows[0]["text"]]
    assert [change.text for change in found.added] == ["全新的一条评论"]
    assert [change.text for change in found.relabelled] == [kept[0]["text"]]
    assert found.moved == []
    assert found.recipe == ["train.epochs: 3.0 → 7.0"]
    assert len(found.files) == 1
    assert "other content" in found.files[0]
    assert found.lines()[0] == "texts: 1 added, 1 removed, 1 relabelled"
    assert json.loads(json.dumps(found.to_json()))["added"][0]["before"] == ""


def test_another_seed_moves_rows_and_changes_no_file(
    recipe_of: Callable[..., Recipe], tmp_path: Path
) -> None:
    prepare_data(recipe_of(reviews(120)), out=tmp_path / "old")
    prepare_data(recipe_of(reviews(120), "seed=14"), out=tmp_path / "new")
    found = data_diff(tmp_path / "old", tmp_path / "new")
    assert found.moved
    assert [found.added, found.removed, found.relabelled, found.files] == [[], [], [], []]
    same = data_diff(tmp_path / "old", tmp_path / "old")
    assert same.lines()[0].startswith("the same texts")


def test_runs_are_compared_too_and_other_folders_refused(tiny_run: Path, tmp_path: Path) -> None:
    assert data_diff(tiny_run, tiny_run).recipe == []
    with pytest.raises(RunError, match="no prepared data"):
        data_diff(tiny_run, tmp_path)


def test_corrected_labels_are_counted_and_are_what_differs(
    recipe_of: Callable[..., Recipe], tmp_path: Path
) -> None:
    rows = reviews(120)
    prepare_data(recipe_of(rows), out=tmp_path / "old")
    other = "bad" if rows[0]["label"] == "good" else "good"
    (tmp_path / "fixes.csv").write_text(f"place,label\nr.csv:2,{other}\nr.csv:3,drop\n")
    made = prepare_data(
        recipe_of(rows, f"data.fixes={tmp_path / 'fixes.csv'}"), out=tmp_path / "new"
    )
    assert made.counts["fixes: relabelled"] == made.counts["fixes: dropped"] == 1
    found = data_diff(tmp_path / "old", tmp_path / "new")
    assert [change.place for change in found.relabelled] == ["r.csv:2"]
    assert [change.text for change in found.removed] == [rows[1]["text"]]
    assert found.files == [f"{tmp_path / 'fixes.csv'}: read now"]


def test_wrong_labels_are_found_corrected_and_handed_back(
    recipe_of: Callable[..., Recipe], tmp_path: Path
) -> None:
    rows = reviews(240)
    wrong = {f"r.csv:{at + 2}" for at in range(0, 240, 24)}
    for at in range(0, 240, 24):
        rows[at]["label"] = "bad" if rows[at]["label"] == "good" else "good"
    table = tmp_path / "suspects.csv"
    noted = prepare_data(recipe_of(rows), suspects=table).notes
    assert any("worth a look" in note for note in noted)
    with table.open(encoding="utf-8-sig", newline="") as file:
        found = list(csv.DictReader(file))
    caught = [row for row in found if row["place"] in wrong]
    assert len(caught) >= 5  # of 10 flipped ones
    fixes = "".join(f"{row['place']},{row['suggested']}\n" for row in caught)
    (tmp_path / "fixes.csv").write_text(f"place,label\n{fixes}")
    made = prepare_data(recipe_of(rows, f"data.fixes={tmp_path / 'fixes.csv'}"))
    assert made.counts["fixes: relabelled"] == len(caught)
