"""The page about scale names verbs, options and settings that exist, in both languages alike."""

import re
from pathlib import Path

import pytest

from tael.cli.reference import verbs
from tael.recipe.load import load_recipe

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = [DOCS / "scale.md", DOCS / "scale.zh-CN.md"]


def commands(page: Path) -> list[list[str]]:
    """Return the words after `tael` of every command of a page, comments left out."""
    text = "\n".join(re.findall(r"```\n(.*?)```", page.read_text("utf-8"), re.DOTALL))
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line.partition("#")[0].split() for line in joined.splitlines()]
    return [line[line.index("tael") + 1 :] for line in lines if "tael" in line]


def test_both_languages_show_the_same_commands() -> None:
    english, chinese = map(commands, PAGES)
    assert english == chinese
    assert len(english) > 6


def test_every_command_is_a_verb_with_options_that_it_has() -> None:
    known = dict(verbs())
    for verb, *words in commands(PAGES[0]):
        options = {option for p in known[verb].params for option in p.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_every_setting_is_one_that_a_recipe_takes(tmp_path: Path) -> None:
    recipe = tmp_path / "reviews.yaml"
    recipe.write_text("name: reviews\ntask: classify\ndata: {train: r.csv}\n", "utf-8")
    settings = {word for line in commands(PAGES[0]) for word in line if "=" in word}
    assert settings
    for setting in settings:
        load_recipe(recipe, [setting])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
    assert (DOCS.parent / "bench" / "scale.py").exists()
