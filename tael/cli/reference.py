"""The reference pages of `docs/`, made from the code they describe: `python -m tael.cli.reference`.

Recipe fields come from the schema, verbs and options from the command line, errors from the error
family. What the code cannot say, the Chinese and what to do about an error, stands in two small
YAML files; a field, verb or error that they lack stops the making.
"""

import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import typer

from tael import errors
from tael.cli.main import app
from tael.files import write_text
from tael.recipe.fields import ENGLISH, fields, sections
from tael.recipe.source import parse

__all__ = ["pages", "verbs", "write"]

LANGUAGES = ("en", "zh")
_MADE = {
    "en": "<!-- made by `make docs` -->",
    "zh": "<!-- 由 `make docs` 生成 -->",
}
_REQUIRED = {"en": "required", "zh": "必填"}


def write(folder: Path) -> None:
    """Write every page into `folder`."""
    for name, text in pages().items():
        write_text(folder / name, text)


def pages() -> dict[str, str]:
    """Return the pages by file name, each in English and in Chinese."""
    made = {}
    for language in LANGUAGES:
        ending = ".md" if language == "en" else ".zh-CN.md"
        for name, lines in (
            ("recipe", _recipe(language)),
            ("commands", _commands(language)),
            ("errors", _errors(language)),
        ):
            made[f"{name}{ending}"] = "\n".join([_MADE[language], *lines]) + "\n"
    return made


def verbs(group: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command by what is typed after `tael`, those of a group too: `key list`."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        yield f"{before}{name}", command
        if hasattr(command, "commands"):
            yield from verbs(command, f"{before}{name} ")


def _recipe(language: str) -> Iterator[str]:
    chinese = _yaml("tael.recipe", "fields.zh.yaml")
    english = language == "en"
    yield from _lead("recipe", language)
    rows = list(fields(ENGLISH if english else chinese["words"]))
    for path, section in sections().items():
        name = ".".join(path)
        yield from ("", f"## {name or 'recipe'}", "")
        yield (section.__doc__ or "").splitlines()[0] if english else chinese["sections"][name]
        yield from (
            "",
            "| key | value | default | meaning |" if english else "| 键 | 取值 | 默认 | 含义 |",
        )
        yield "|---|---|---|---|"
        for row in rows:
            if row.name.rpartition(".")[0] == name:
                meaning = row.description if english else chinese["fields"][row.name]
                default = _REQUIRED[language] if row.default is None else f"`{row.default}`"
                yield f"| `{row.name}` | {_cell(row.type)} | {default} | {_cell(meaning)} |"


def _commands(language: str) -> Iterator[str]:
    words, english = _yaml("tael.cli", "words.yaml"), language == "en"
    yield from _lead("commands", language)
    for name, command in [("", typer.main.get_command(app)), *verbs()]:
        yield from ("", f"## tael {name}".rstrip(), "")
        yield " ".join(str(command.help).split()) if english else words["commands"][name or "tael"]
        parameters = [p for p in command.params if p.name != "help"]
        if parameters:
            yield from ("", "| what | meaning | default |" if english else "| 参数 | 含义 | 默认 |")
            yield "|---|---|---|"
        for parameter in parameters:
            meaning = str(parameter.help) if english else _chinese(words, name, parameter.name)
            yield f"| `{_shown(parameter)}` | {_cell(meaning)} | {_default(parameter, language)} |"


def _errors(language: str) -> Iterator[str]:
    words, english = _yaml("tael.cli", "words.yaml")["errors"], language == "en"
    yield from _lead("errors", language)
    yield from ("", "| error | exit | HTTP | meaning | what to do |" if english
                else "| 错误 | 退出码 | HTTP | 含义 | 怎么办 |")  # fmt: skip
    yield "|---|---|---|---|---|"
    own = "its own" if english else "各自的"
    for name in sorted(errors.__all__, key=lambda one: one != "TaelError"):
        error = getattr(errors, name)
        meaning, remedy = words[name][language]
        status = own if name == "RefusedError" else error.http_status
        yield f"| `{name}` | {error.exit_code} | {status} | {_cell(meaning)} | {_cell(remedy)} |"


def _lead(page: str, language: str) -> Iterator[str]:
    title, lead = _yaml("tael.cli", "words.yaml")["pages"][page][language]
    yield from (f"# {title}", "", lead.strip())


def _chinese(words: Mapping[str, Any], command: str, parameter: str) -> str:
    known: Mapping[str, str] = words["parameters"]
    return known.get(f"{command}.{parameter}") or known[parameter]


def _shown(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
        return f"{name} …" if parameter.nargs == -1 else str(name)
    option = max(parameter.opts, key=len)
    if parameter.is_flag:
        return str(option)
    return f"{option} {parameter.metavar}"


def _default(parameter: Any, language: str) -> str:
    if parameter.required:
        return _REQUIRED[language]
    if parameter.default in (None, False) or callable(parameter.default):
        return ""
    return f"`{parameter.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _yaml(package: str, name: str) -> Any:
    return parse((resources.files(package) / name).read_text(encoding="utf-8")).values


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
