"""A change of the recipe is judged over seeds, and goes on where it stopped."""

import csv
import json
from pathlib import Path

import pytest
from made_reviews import reviews

from tael.errors import UsageError
from tael.road.ablate import ablate

RECIPE = """\
name: small
task: classify
data: {train: reviews.csv, max_tokens: 40, clean: {dedup: exact}, split: [0.5, 0.25, 0.25]}
tokenizer: {vocab: 200}
model: {hidden: 32, layers: 1, heads: 2, ffn: 64}
train: {steps: 40, rate: 5.0e-3, evaluations: 1}
machine: {threads: 1}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablate")
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(reviews(500, "single"))
    (folder / "small.yaml").write_text(RECIPE, "utf-8")
    return folder / "small.yaml"


@pytest.mark.parametrize(
    ("settings", "seeds", "message"),
    [
        (["train.rate=1e-5"], 2, "at least 3 seeds"),
        ([], 3, "what is changed"),
        (["seed=4"], 3, "seed and lang are no change"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_compute(
    recipe: Path, settings: list[str], seeds: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ablate(recipe, settings, seeds=seeds, out=recipe.parent / "never")
    assert not (recipe.parent / "never").exists()


@pytest.mark.slow
def test_a_rate_that_learns_nothing_is_seen_and_its_runs_are_kept(recipe: Path) -> None:
    out, heard = recipe.parent / "out", list[str]()
    found, folder = ablate(
        recipe, ["train.rate=1e-7"], out=out, progress=False, lang="zh", say=heard.append
    )
    effect = found.effects["accuracy"]
    assert effect.gain < 0
    assert len(effect.by_seed) == 3
    assert found.recipe == ("train.rate: 0.005 → 1e-07",)
    assert "6 runs, 6 still to train" in heard[0]
    assert {path.name for path in out.iterdir()} == {"base", "train.rate=1e-7"}
    values = json.loads((folder / "ablation.json").read_text("utf-8"))
    assert values["differences"]["accuracy"]["value"] == effect.value
    assert "个种子" in (folder / "ablation.html").read_text("utf-8")
    again, _ = ablate(recipe, ["train.rate=1e-7"], out=out, progress=False, say=heard.append)
    assert "6 runs, 0 still to train" in heard[2]
    assert again.effects == found.effects
