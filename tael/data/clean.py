"""Columns become roles, texts are repaired, records that are no use are dropped: all counted.

The same `repair` stands before training, evaluation and serving.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from tael.data.form import Form, by_role, chosen, labelled_text, roles_in
from tael.data.language import is_in
from tael.data.markup import without_html
from tael.data.personal import mask
from tael.data.record import Record
from tael.data.samples import Samples
from tael.recipe.schema import Clean, Columns

if TYPE_CHECKING:
    from ftfy import TextFixerConfig

__all__ = ["CHANGING", "clean", "name_after", "repair"]

# The rules that change a text; the others decide which texts stay.
CHANGING = {"unicode", "html", "width", "controls", "whitespace", "personal"}

# C0 and C1 without tab and newline, byte-order marks inside text, interlinear annotation.
# Joiners (U+200C, U+200D) stay: emoji and several scripts need them.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufff9-\ufffb]")
# What ftfy looks at. Text without these signs cannot be mojibake, so most Chinese and all plain
# English text goes by unlooked at: eight times faster, same result.
_DOUBTFUL = re.compile("[&\x1b\r\x80-\u04ff\u1e00-\u1fff\u2028\u2029\ud800-\udfff\ufffd]")
_UNTIDY = re.compile(r"^\s|\s$|\s\s|[^\S \n]")
_SPACES = re.compile(r"\s+")


def clean(
    records: Iterable[Record],
    columns: Columns,
    rules: Clean,
    counts: Counter[str],
    *,
    labelled: bool = True,
    keep_empty: bool = False,
    samples: Samples | None = None,
    forms: Sequence[Form] = (),
) -> Iterator[Record]:
    """Yield records with roles in the place of columns: `text`, `text_pair` and `label`.

    `forms` are those of a task with other roles; the first whose columns a row has is taken.
    Texts are repaired and `label` is a string: a number as written, a list joined by "|", a missing
    one "". Tables make 1.0 of 1 where a column has gaps, so a whole number is "1" whatever its
    type, and counted. Other columns keep their names. A record whose text is too short, too long or
    in another language than `rules` ask for is dropped, unless `keep_empty` (a prediction answers
    every row). Without `labelled` the label column may be absent. `samples` gets a few texts before
    and after each repair. Raises DataError for a missing column or a value of the wrong type, with
    its place.
    """
    forms = forms or labelled_text(columns)
    mend = partial(repair, rules=rules, counts=counts, samples=samples)
    for record in records:
        form = chosen(forms, record)
        roles = roles_in(form, record, labelled=labelled)
        cleaned = form.lay(by_role(record, roles, counts, form.made), mend, counts)
        texts = [role for role in ("text", "text_pair") if role in roles or role in form.made]
        reasons = (_unwanted(cleaned, role, rules) for role in texts)
        reason = None if keep_empty else next(filter(None, reasons), None)
        if reason:
            counts[f"dropped: {reason}"] += 1
        else:
            yield cleaned


def name_after(column: str, columns: Columns, forms: Sequence[Form] = ()) -> str:
    """Return the name that a column of the files has after cleaning."""
    form = (forms or labelled_text(columns))[0]
    roles = {**form.given, **form.target}
    for role, source in roles.items():
        if source == column:
            return role
    return f"{column}_column" if column in roles or column in form.made else column


def repair(
    text: str,
    rules: Clean,
    counts: Counter[str] | None = None,
    samples: Samples | None = None,
) -> str:
    """Return `text` without what `rules` take out: mojibake, markup, width, personal data, ...

    A run of white space becomes one newline if it holds one, else one space. Whatever changes a
    text stands here and not in `clean`, so that a served text is treated like a trained one.
    """
    counts = Counter() if counts is None else counts
    steps = (
        (rules.unicode, "texts with Unicode repaired", _unicode),
        (rules.html, "texts with HTML removed", without_html),
        (rules.width != "keep", "texts with width folded", _WIDTHS[rules.width]),
        (rules.controls, "texts with control characters removed", _without_controls),
        (rules.whitespace, "texts with white space squeezed", _squeezed),
        # Last: what stands between the parts of a number is one space by now.
        (rules.personal == "mask", "texts with personal data masked", partial(mask, counts=counts)),
    )
    for wanted, name, step in steps:
        changed = step(text) if wanted else text
        if changed != text:
            counts[name] += 1
            if samples is not None:
                samples.add(name, text, changed)
        text = changed
    return text


def _unicode(text: str) -> str:
    if text.isascii() and not ("&" in text or "\x1b" in text or "\r" in text):
        return text
    if not _DOUBTFUL.search(text) and unicodedata.is_normalized("NFC", text):
        return text
    import ftfy

    return str(ftfy.fix_text(text, _ftfy()))


@cache
def _ftfy() -> "TextFixerConfig":
    from ftfy import TextFixerConfig

    # Only what is broken is mended. Quotes, full-width signs and ligatures are as the writer meant
    # them: ftfy's defaults would turn Chinese “，” into ASCII.
    return TextFixerConfig(
        uncurl_quotes=False,
        fix_character_width=False,
        fix_latin_ligatures=False,
        remove_control_chars=False,
        normalization="NFC",
        explain=False,
    )


class _Folded(dict[int, str]):
    """Character → its usual width: ＡＢＣ，１２３ in half, ｶﾅ in full; all others as they are."""

    def __missing__(self, code: int) -> str:
        kind, _, to = unicodedata.decomposition(chr(code)).partition(" ")
        self[code] = chr(int(to, 16)) if kind in ("<wide>", "<narrow>") else chr(code)
        return self[code]


_FOLDED = _Folded()


def _fold(text: str) -> str:
    # NFC joins a voicing mark, a character of its own in half width, to its kana.
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_FOLDED))


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


_WIDTHS: dict[str, Callable[[str], str]] = {"keep": str, "fold": _fold, "nfkc": _nfkc}


def _without_controls(text: str) -> str:
    if text.isprintable():  # most are: several times faster than to look for each sign
        return text
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _squeezed(text: str) -> str:
    if " ".join(text.split()) == text or not _UNTIDY.search(text):
        return text
    return _SPACES.sub(lambda run: "\n" if "\n" in run[0] else " ", text).strip()


def _unwanted(record: Record, role: str, rules: Clean) -> str | None:
    """Return why the record goes; None for one that stays. A role that is absent is no reason."""
    text = record.get(role)
    if not isinstance(text, str):
        return None
    if len(text) < rules.min_characters:
        return f"{role} under {rules.min_characters} characters"
    if rules.max_characters is not None and len(text) > rules.max_characters:
        return f"{role} over {rules.max_characters} characters"
    if rules.languages and text and not is_in(text, rules.languages):
        return f"{role} in another language than {', '.join(rules.languages)}"
    return None
