"""The runbook has every class of error and every refusal, and quotes only what the code says."""

import ast
import re
from pathlib import Path

import pytest

from tael import errors

ROOT = Path(__file__).parent.parent.parent
PAGES = ["docs/runbook.md", "docs/runbook.zh-CN.md"]


def table_rows(page: str) -> list[list[str]]:
    """Return the cells of all table rows, headings left out."""
    lines = (ROOT / page).read_text("utf-8").splitlines()
    rows = [
        line
        for line, below in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("| ") and not below.startswith("|---")
    ]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def spoken() -> str:
    """Return all string literals of the package; what is filled in stands as a line break."""
    said = []
    for path in (ROOT / "tael").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                said.append(
                    "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "\n"
                        for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.append(node.value)
    return "\n".join(said)


def refusal_codes() -> set[str]:
    """Return every `code=` that the service refuses with."""
    sources = [path.read_text("utf-8") for path in (ROOT / "tael/serve").glob("*.py")]
    return {code for source in sources for code in re.findall(r'code="([a-z_]+)"', source)}


@pytest.mark.parametrize("page", PAGES)
def test_every_class_of_error_and_every_refusal_is_in_the_runbook(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert [name for name in errors.__all__ if f"`{name}`" not in text] == []
    rows = [row[0] for row in table_rows(page)]
    assert len(refusal_codes()) > 15
    assert [code for code in sorted(refusal_codes()) if f"`{code}`" not in rows] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_quoted_message_is_one_that_the_code_says(page: str) -> None:
    said = spoken()
    quoted = [row[0].strip("` ") for row in table_rows(page) if row[0].startswith("`")]
    assert len(quoted) > 50
    assert [text for text in quoted if text not in said] == []


def test_both_languages_have_the_same_rows() -> None:
    english, chinese = (table_rows(page) for page in PAGES)
    assert [len(row) for row in english] == [len(row) for row in chinese]
    for row, other in zip(english, chinese, strict=True):
        assert row[0] == other[0] or not row[0].startswith("`")
        assert any("\u4e00" <= character <= "\u9fff" for character in "".join(other))
    codes = [re.findall(r"^## ", (ROOT / page).read_text("utf-8"), re.M) for page in PAGES]
    assert len(codes[0]) == len(codes[1])


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_runbook_are_verbs_of_tael(page: str) -> None:
    import typer

    from tael.cli.main import app

    verbs = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"`tael ([a-z]+)", (ROOT / page).read_text("utf-8")))
    assert named
    assert named <= verbs
