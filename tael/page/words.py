"""The words of a page in the reader's language.

English stands in the code, where it is read beside what it says; a room's `zh.yaml` holds the
Chinese of each sentence, with the same names in braces, which may stand in another order.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

__all__ = ["LANGUAGES", "Lang", "Words", "words"]

Lang = Literal["en", "zh"]
LANGUAGES: tuple[Lang, ...] = ("en", "zh")


class Words:
    """Says a sentence of one room in one language: `say("{n} texts", n=3)`."""

    def __init__(self, lang: Lang, table: dict[str, str]) -> None:
        self.lang = lang
        self._table = table

    def __call__(self, text: str, /, **values: object) -> str:
        """Return `text` in the language, its braces filled; what has no entry stays English."""
        said = self._table.get(text, text)
        return said.format(**values) if values else said

    def instead(self, other: Mapping[str, str]) -> "Words":
        """Return words that say `other[text]` where `text` is asked for."""
        said = {text: self._table.get(new, new) for text, new in other.items()}
        return Words(self.lang, self._table | said)

    def percent(self, share: float, digits: int = 1) -> str:
        """Return `90.1 %`; in Chinese no space stands before the sign."""
        return f"{100 * share:.{digits}f}{' %' if self.lang == 'en' else '%'}"


@cache
def words(room: str, lang: Lang) -> Words:
    """Return the words of `room` (`evaluate`, `price`, `data`) in `lang`."""
    if lang == "en":
        return Words("en", {})
    from ruamel.yaml import YAML

    text = files(f"tael.{room}").joinpath("zh.yaml").read_text("utf-8")
    table: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return Words(lang, {str(key): str(value) for key, value in table.items()})
