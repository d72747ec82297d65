"""Texts as careless or cunning people write them: typos, homophones, other case and spaces.

Each change is a pure function of a text and a random generator; a text that it cannot change comes
back as it is. About one word (or character) in ten is changed, and at least one.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

__all__ = ["PERTURBATIONS", "coverage", "negated"]

Perturb = Callable[[str, Random], str]

_SHARE = 0.1
_CHOICES = 8  # of the characters that sound alike, the most frequent ones that are taken
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_LONG_WORD = re.compile(r"[A-Za-z]{4,}")  # in shorter ones a typo makes another word
_STOPS = re.compile(r"[.!?。！？]+")
_FULL = 0xFEE0  # from an ASCII sign to the same one in full width


def _typos(text: str, rng: Random) -> str:
    """Replace, swap or drop a letter inside some Latin words, as fingers on a keyboard do."""
    return _some(text, list(_LONG_WORD.finditer(text)), _typo, rng)


def _typo(word: str, rng: Random) -> str:
    at = rng.randrange(1, len(word) - 1)  # people read, and mistype, the first letter best
    way = rng.choice(("neighbour", "swap", "drop"))
    if way == "swap":
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if way == "drop":
        return word[:at] + word[at + 1 :]
    near = rng.choice(_neighbours()[word[at].lower()])
    return word[:at] + (near.upper() if word[at].isupper() else near) + word[at + 1 :]


def _homophones(text: str, rng: Random) -> str:
    """Replace some Chinese characters by others of the same sound, as an input method does."""
    return _replace(text, _sounds(), rng)


def _lookalikes(text: str, rng: Random) -> str:
    """Replace some letters and characters by others of the same shape, as spammers do."""
    return _replace(text, _shapes(), rng)


def _zero_width(text: str, rng: Random) -> str:
    """Put zero-width spaces between some letters: the text looks as before."""
    return _some(text, list(re.finditer(r"\w(?=\w)", text)), lambda found, _: f"{found}\u200b", rng)


def _joined(text: str, rng: Random) -> str:
    """Leave out some of the spaces between words."""
    return _some(text, list(re.finditer(r"(?<=\S) (?=\S)", text)), lambda *_: "", rng)


def _spaced(text: str, rng: Random) -> str:
    """Put spaces inside some words."""
    return _some(text, list(re.finditer(r"\w(?=\w)", text)), lambda found, _: f"{found} ", rng)


def _width(text: str, rng: Random) -> str:
    """Write full-width signs in half width, and half-width ones in full."""
    del rng
    return "".join(_other_width(letter) for letter in text)


def _other_width(letter: str) -> str:
    if "!" <= letter <= "~":
        return chr(ord(letter) + _FULL)
    return chr(ord(letter) - _FULL) if "！" <= letter <= "～" else letter


def _unpunctuated(text: str, rng: Random) -> str:
    """Leave out every punctuation mark, with a space where words would run together."""
    del rng
    plain = "".join(
        " " if unicodedata.category(letter).startswith("P") and letter != "'" else letter
        for letter in text
    )
    return " ".join(plain.split())


def _shouted(text: str, rng: Random) -> str:
    """End every sentence with three exclamation marks."""
    del rng
    mark = "！！！" if re.search(r"[\u3400-\u9fff]", text) else "!!!"
    return _STOPS.sub(mark, text) if _STOPS.search(text) else text + mark


# In the order in which a report shows them.
PERTURBATIONS: dict[str, Perturb] = {
    "typos": _typos,
    "homophones": _homophones,
    "upper case": lambda text, _: text.upper(),
    "lower case": lambda text, _: text.lower(),
    "title case": lambda text, _: text.title(),
    "words joined": _joined,
    "spaces inside words": _spaced,
    "width of signs": _width,
    "no punctuation": _unpunctuated,
    "exclamation marks": _shouted,
    "look-alike letters": _lookalikes,
    "zero-width spaces": _zero_width,
}

_ENGLISH = re.compile(
    r"\b(?:(?P<be>is|are|was|were|am|can|could|will|would|should|must)\b(?!\s+not\b|n['’]t)"
    r"|(?P<who>I|we|you|they)\s+(?P<verb>like|love|enjoy|recommend|want|need|think)\b)",
    re.IGNORECASE,
)
_ADJECTIVES = (
    "好|不错|干净|满意|喜欢|方便|舒服|舒适|漂亮|便宜|快|棒|香|新|大|值|实惠|合适|清楚|清晰|热情|开心|高兴|"
    "差|烂|脏|吵|贵|慢|难|失望|严重|高|低|多|少|重要|容易|简单|复杂|安静|安全|细|甜|美|强|全|准"
)
_CHINESE = re.compile(
    rf"(?P<degree>很|非常|特别|十分|挺|相当|真|超级|比较)(?=(?:{_ADJECTIVES}))"
    r"|(?<![不没别无非未还但可于只就总要或凡老倒算])(?P<is>是)(?![不否非])"
    r"|(?<![不没别无非未])(?P<like>喜欢|推荐|值得|满意|建议|应该|愿意|可以|好用|好看|好吃|好喝)"
    r"|(?<![不没别无非未所只还具含拥享富])(?P<have>有)(?![没点些时人限关])"
)


def negated(text: str) -> str:
    """Return `text` with every clause negated that the rules know; as it is where they know none.

    English: `not` after a form of to be or a modal verb, `do not` before a few verbs. Chinese: 不
    for a word of degree before an adjective, 不 or 没 before a few verbs. No parser: some of the
    sentences come out odd, and what is negated already stays.
    """
    return _CHINESE.sub(_not_chinese, _ENGLISH.sub(_not_english, text))


def coverage(texts: Sequence[str]) -> float:
    """Return the share of the Chinese characters in `texts` that have a homophone in the table."""
    letters = [x for text in texts for x in text if "\u3400" <= x <= "\u9fff"]
    return sum(letter in _sounds() for letter in letters) / len(letters) if letters else 0.0


def _not_english(found: re.Match[str]) -> str:
    return f"{found['be']} not" if found["be"] else f"{found['who']} do not {found['verb']}"


def _not_chinese(found: re.Match[str]) -> str:
    if found["degree"]:
        return "不"
    return f"没{found['have']}" if found["have"] else f"不{found[0]}"


def _some(
    text: str,
    places: Sequence[re.Match[str]],
    change: Callable[[str, Random], str],
    rng: Random,
) -> str:
    """Change one in ten of `places`, at least one."""
    if not places:
        return text
    chosen = rng.sample(range(len(places)), max(1, round(_SHARE * len(places))))
    parts, end = [], 0
    for place in (places[number] for number in sorted(chosen)):
        parts += [text[end : place.start()], change(place[0], rng)]
        end = place.end()
    return "".join([*parts, text[end:]])


def _replace(text: str, others: dict[str, str], rng: Random) -> str:
    known = [found for found in re.finditer(".", text) if found[0] in others]
    return _some(text, known, lambda letter, rng: rng.choice(others[letter]), rng)


@cache
def _neighbours() -> dict[str, str]:
    """Return the letters beside each on a QWERTY keyboard, whose rows are shifted by half a key."""
    at = {
        letter: (row, place + row / 2)
        for row, letters in enumerate(_ROWS)
        for place, letter in enumerate(letters)
    }
    return {
        letter: "".join(
            other for other, (y, x) in at.items()
            if other != letter and abs(y - row) <= 1 and abs(x - place) <= 1
        )
        for letter, (row, place) in at.items()
    }  # fmt: skip


@cache
def _sounds() -> dict[str, str]:
    return _each_other(_read("homophones.yaml").values())


@cache
def _shapes() -> dict[str, str]:
    found = _read("lookalikes.yaml")
    return {str(letter): str(same) for letter, same in found["latin"].items()} | _each_other(
        found["han"]
    )


def _each_other(groups: Any) -> dict[str, str]:
    """Return for each character of a group the others, the most frequent ones."""
    others: dict[str, str] = {}
    for group in map(str, groups):
        for letter in group:
            same = others.get(letter, "") + group.replace(letter, "")
            others[letter] = same[:_CHOICES]
    return others


def _read(name: str) -> Any:
    from ruamel.yaml import YAML

    text = files("tael.evaluate").joinpath(name).read_text("utf-8")
    return YAML(typ="safe", pure=True).load(text)
