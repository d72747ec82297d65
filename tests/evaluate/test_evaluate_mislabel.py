"""Wrong labels: planted ones are found, and the table of suspects goes there and back."""

import csv
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tael.data.fixes import Fix, apply_fixes, read_fixes
from tael.errors import DataError
from tael.evaluate import mislabel
from tael.evaluate.mislabel import COLUMNS, find_suspects, write_suspects

DATA = Path(os.environ.get("TAEL_DATA", "../shared/data"))
WORDS = {"good": "clean quiet kind warm fine", "bad": "dirty loud rude cold poor"}
OTHERS = "room bed staff food view door lamp road shop desk bath hall"


def reviews(number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Made-up reviews, three in five of whose telling words agree with the label."""
    draw = random.Random(seed)
    rows = []
    for n in range(number):
        label = draw.choice(["good", "bad"])
        other = "bad" if label == "good" else "good"
        words = [draw.choice(WORDS[draw.choice([label] * 4 + [other])].split()) for _ in range(6)]
        words += draw.choices(OTHERS.split(), k=8)
        draw.shuffle(words)
        rows.append({"text": " ".join(words) + f" {n}", "label": label, "@": f"train.csv:{n + 2}"})
    return rows


def flipped(rows: list[dict[str, Any]], seed: int = 0) -> tuple[list[dict[str, Any]], set[str]]:
    """Give one row in twenty another label; return the rows, and the places of the wrong ones."""
    draw = random.Random(seed)
    labels = sorted({row["label"] for row in rows})
    wrong = set(draw.sample(range(len(rows)), len(rows) // 20))
    changed = [
        row | {"label": draw.choice([x for x in labels if x != row["label"]])}
        if n in wrong
        else row
        for n, row in enumerate(rows)
    ]
    return changed, {rows[n]["@"] for n in wrong}


def lift(rows: list[dict[str, Any]], most: int = 200) -> float:
    """How many more planted labels the suspects hold than as many rows taken at random."""
    planted, wrong = flipped(rows)
    found = find_suspects(planted, sorted({row["label"] for row in rows}), most=most)
    hits = sum(suspect.record["@"] in wrong for suspect in found)
    return hits / (len(found) * len(wrong) / len(rows))


def test_planted_labels_are_found_far_above_chance_with_the_right_suggestion() -> None:
    rows = reviews(1000)
    assert lift(rows, most=100) >= 3
    planted, wrong = flipped(rows)
    truth = {row["@"]: row["label"] for row in rows}
    found = find_suspects(planted, ["bad", "good"], most=20)
    assert all(s.suggested == truth[s.record["@"]] for s in found if s.record["@"] in wrong)
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    assert all(0 <= s.score <= 1 and s.suggested != s.record["label"] for s in found)


def real_rows(name: str) -> list[dict[str, Any]]:
    """Return 2,000 rows of a real set."""
    path = DATA / name / "train.csv"
    if not path.exists():
        pytest.skip(f"needs {path}; set TAEL_DATA")
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    rows = [row | {"@": f"train.csv:{n + 2}"} for n, row in enumerate(table)]
    return random.Random(3).sample(rows, 2000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cls_zh_hotel", "spam_en_sms", "cls_zh_csl_category"])
def test_labels_flipped_in_real_reviews_are_found_at_three_times_the_random_rate(name: str) -> None:
    assert lift(real_rows(name)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["made up", "cls_zh_hotel", "spam_en_sms", "cls_zh_csl_category"])
def test_no_fewer_planted_labels_are_found_than_by_cleanlab(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same probabilities for both, as many rows as were planted, and the table's 200."""
    cleanlab = pytest.importorskip("cleanlab.filter", reason="cleanlab is not installed")
    rows = reviews(1000) if name == "made up" else real_rows(name)
    planted, wrong = flipped(rows)
    ranked, seen = mislabel._ranked, []

    def watched(records: Any, labels: Any, given_N: Any, chance_NC: Any) -> list[Any]:
        seen.append(([record["@"] in wrong for record in records], given_N, chance_NC))
        return ranked(records, labels, given_N, chance_NC)

    monkeypatch.setattr(mislabel, "_ranked", watched)
    found = find_suspects(planted, sorted({row["label"] for row in rows}), most=200)
    ours = np.array([suspect.record["@"] in wrong for suspect in found])
    ((is_wrong, given_N, chance_NC),) = seen
    order = cleanlab.find_label_issues(
        given_N, chance_NC, return_indices_ranked_by="self_confidence"
    )
    theirs = np.array(is_wrong)[order]
    for most in (len(wrong), 200):
        print(f"{name}, first {most}: {ours[:most].sum()}, cleanlab {theirs[:most].sum()}")
        assert ours[:most].sum() >= theirs[:most].sum() - 2  # of 50 or 100: no more than noise


def test_the_order_of_the_records_plays_no_part() -> None:
    rows = flipped(reviews(200))[0]
    other = rows[:]
    random.Random(1).shuffle(other)
    one, two = (find_suspects(some, ["bad", "good"]) for some in (rows, other))
    assert [s.record["@"] for s in one] == [s.record["@"] for s in two]


def test_the_ranking_is_the_papers() -> None:
    """Section 3 said again in plain loops: thresholds, confident class; then self-confidence."""
    draw = np.random.default_rng(0)
    chance_NC = draw.dirichlet([0.5] * 4, 300)
    given_N = np.where(draw.random(300) < 0.8, chance_NC.argmax(1), draw.integers(0, 4, 300))
    labels = list("abcd")
    records = [{"text": "x", "label": labels[g], "n": n} for n, g in enumerate(given_N)]
    usual = [chance_NC[given_N == c, c].mean() for c in range(4)]
    doubted: list[tuple[float, float, int, str]] = []
    for n, row in enumerate(chance_NC.tolist()):
        own = given_N[n]
        others = [c for c in range(4) if c != own]
        above = [c for c in others if row[c] >= usual[c]]
        best = max(above or others, key=lambda c: row[c])
        if above or row[best] > row[own]:
            doubted.append((row[own], row[own] - row[best], n, labels[best]))
    expected = [(n, label) for _, _, n, label in sorted(doubted)]
    found = mislabel._ranked(records, labels, given_N, chance_NC)
    assert [(s.record["n"], s.suggested) for s in found] == expected
    assert 0 < len(doubted) < 300


def test_several_labels_and_numbers_are_judged_too() -> None:
    rows = reviews(300)
    several = [row | {"label": f"said|{row['label']}"} for row in rows]
    wrong = {several[n]["@"] for n in range(0, 300, 30)}
    planted = [
        row | {"label": "said|good|bad" if row["@"] in wrong else row["label"]} for row in several
    ]
    found = find_suspects(planted, ["bad", "good", "said"], "multi", most=30)
    assert sum(s.record["@"] in wrong for s in found) >= 5
    numbers = [row | {"label": "5" if row["label"] == "good" else "1"} for row in rows]
    numbers[7]["label"] = "900"
    top = find_suspects(numbers, [], "regression")[0]
    assert top.record["@"] == numbers[7]["@"]
    assert float(top.suggested) < 200
    assert top.score > 3


def test_a_class_with_a_single_row_and_too_few_rows_are_no_surprise() -> None:
    rows = reviews(60)
    rows[0]["label"] = "rare"
    assert find_suspects(rows, ["bad", "good", "rare"])
    with pytest.raises(DataError, match="49 records are too few"):
        find_suspects(rows[:49], ["bad", "good", "rare"])


def test_the_table_holds_no_formula_and_comes_back_as_fixes(tmp_path: Path) -> None:
    rows = [row | {"label": "-1" if row["label"] == "good" else "+1"} for row in reviews(120)]
    for row in rows[:60]:
        row["text"] = f"=1+1 {row['text']},\n“中文”"
    planted, wrong = flipped(rows)
    found = find_suspects(planted, ["+1", "-1"])
    path = tmp_path / "data" / "suspects.csv"
    write_suspects(path, found)
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.reader(file))
    assert tuple(table[0]) == COLUMNS
    assert not [cell for row in table for cell in row if cell.startswith(("=", "+", "-", "@"))]
    fixes = read_fixes(path)
    assert [(fix.place, fix.label) for fix in fixes] == [
        (s.record["@"], s.record["label"]) for s in found
    ]
    same, counts = apply_fixes(planted, fixes)  # untouched it changes nothing
    assert same == planted
    assert counts["fixes: left as they were"] == len(found)
    edited = [Fix(f.place, s.suggested, f.text) for f, s in zip(fixes, found, strict=True)]
    assert apply_fixes(planted, edited)[1]["fixes: relabelled"] == len(found)
    assert wrong & {fix.place for fix in edited}
