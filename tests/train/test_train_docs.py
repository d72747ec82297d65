"""Every recipe in the pages on training is one that loads, and both languages show the same."""

import re
from pathlib import Path

import pytest

from tael.recipe.load import load_recipe

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "training.md", DOCS / "training.zh-CN.md"]


def blocks(page: Path, kind: str) -> list[str]:
    """Return the blocks of one kind without their comments."""
    found = re.findall(rf"```{kind}\n(.*?)```", page.read_text("utf-8"), flags=re.S)
    return [re.sub(r" *#.*", "", block) for block in found]


@pytest.mark.parametrize("number", range(4))
def test_a_recipe_of_the_page_loads(tmp_path: Path, number: int) -> None:
    path = tmp_path / "r.yaml"
    block = blocks(PAGES[0], "yaml")[number]
    path.write_text(f"name: r\ntask: classify\ndata: {{train: r.csv}}\n{block}")
    assert load_recipe(path).name == "r"


@pytest.mark.parametrize("kind", ["yaml", "python"])
def test_both_languages_show_the_same(kind: str) -> None:
    english, chinese = (blocks(page, kind) for page in PAGES)
    assert english == chinese
    assert english
