"""The documents say what the code does: every field, verb, option and error, in both languages."""

from pathlib import Path

import pytest

from tael import errors
from tael.cli import reference
from tael.recipe.fields import fields

DOCS = Path(__file__).parent.parent.parent / "docs"
LANGUAGES = {"en": ".md", "zh": ".zh-CN.md"}


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_page_is_what_the_code_makes_of_it(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == reference.pages()[name], "run `make docs`"


@pytest.mark.parametrize("ending", LANGUAGES.values())
def test_every_recipe_field_is_documented(ending: str) -> None:
    page = (DOCS / f"recipe{ending}").read_text("utf-8")
    for row in fields():
        assert f"| `{row.name}` | " in page


@pytest.mark.parametrize("ending", LANGUAGES.values())
def test_every_error_is_documented_with_its_codes(ending: str) -> None:
    page = (DOCS / f"errors{ending}").read_text("utf-8")
    family = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(family) >= 8
    for error in family:
        assert f"| `{error.__name__}` | {error.exit_code} | " in page  # type: ignore[attr-defined]


@pytest.mark.parametrize("ending", LANGUAGES.values())
def test_every_verb_is_documented_with_all_its_options(ending: str) -> None:
    page = (DOCS / f"commands{ending}").read_text("utf-8")
    assert "key list" in dict(reference.verbs())
    for name, command in reference.verbs():
        section = page.partition(f"## tael {name}\n")[2].partition("\n## ")[0]
        assert section
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert any(f"`{option}" in section for option in parameter.opts), parameter.name


def test_the_chinese_pages_are_chinese() -> None:
    pages = reference.pages()
    for name in ("recipe", "commands", "errors"):
        rows = [line for line in pages[f"{name}.zh-CN.md"].splitlines() if line.startswith("| `")]
        plain = [
            row for row in rows if not any("\u4e00" <= character <= "\u9fff" for character in row)
        ]
        assert plain == []
        assert len(rows) == sum(line.startswith("| `") for line in pages[f"{name}.md"].splitlines())


def test_a_field_without_chinese_stops_the_making(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reference._yaml

    def without(package: str, name: str) -> dict:
        words = whole(package, name)
        words.get("fields", {}).pop("train.rate", None)
        return words

    monkeypatch.setattr(reference, "_yaml", without)
    with pytest.raises(KeyError, match=r"train\.rate"):
        reference.pages()


def test_no_words_are_left_over_from_fields_that_are_gone() -> None:
    words = reference._yaml("tael.recipe", "fields.zh.yaml")
    assert set(words["fields"]) == {row.name for row in fields()}
    commands = reference._yaml("tael.cli", "words.yaml")
    assert set(commands["errors"]) == set(errors.__all__)
    assert set(commands["commands"]) == {"tael", *dict(reference.verbs())}


def test_writing_makes_the_pages(tmp_path: Path) -> None:
    reference.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(reference.pages())
