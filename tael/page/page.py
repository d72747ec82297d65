"""One self-contained HTML page: a sentence that answers, then sections of evidence.

Nothing is fetched and no script runs; a policy in the page itself forbids both. Text handed in is
escaped; what these functions return is `Html`, which is put in as it is.
"""

import html
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files

from tael.page.words import Lang

__all__ = [
    "Html",
    "Section",
    "answers",
    "bullets",
    "details",
    "escape",
    "figure",
    "grid",
    "language",
    "note",
    "paragraph",
    "preformatted",
    "ranged",
    "render",
    "subheading",
    "table",
    "tiles",
]

# Not even an icon is asked for: a page opened from a file or behind a firewall stays silent.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_TAGS = {"en": "en", "zh": "zh-CN"}

_LONG = 40  # characters from which a cell gets a wider column


class Html(str):
    """Text that is markup already; every other string is escaped."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading and the markup under it."""

    heading: str
    html: str


def render(
    title: str,
    lead: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    first: str = "",
    lang: Lang = "en",
) -> str:
    """Return the whole document: `lead` is the sentence that answers the reader's question.

    `first` is markup that the first screen shows below it.
    """
    anchors = [_anchor(number, section.heading) for number, section in enumerate(sections)]
    links = "".join(
        f'<a href="#{anchor}">{escape(section.heading)}</a>'
        for anchor, section in zip(anchors, sections, strict=True)
    )
    bodies = "\n".join(
        f'<section id="{anchor}">\n<h2>{escape(section.heading)}</h2>\n{section.html}\n</section>'
        for anchor, section in zip(anchors, sections, strict=True)
    )
    below = f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else ""
    contents = f"<nav>{links}</nav>" if len(sections) > 1 else ""
    return f"""<!doctype html>
<html lang="{_TAGS[lang]}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{_style()}</style>
</head>
<body>
<div class="page">
<header>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
{first}{below}
{contents}
</header>
<main>
{bodies}
</main>
</div>
</body>
</html>
"""


def language(document: str) -> Lang:
    """Return the language of a document that `render` wrote, to add to it in the same."""
    return "zh" if f'<html lang="{_TAGS["zh"]}">' in document[:200] else "en"


def escape(text: object) -> Html:
    """Return `text` fit for markup; `Html` passes untouched, characters HTML forbids become �."""
    if isinstance(text, Html):
        return text
    # Lone surrogates cannot be written as UTF-8, and control characters are errors in HTML.
    cleaned = re.sub(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "\ufffd", str(text)
    )
    return Html(html.escape(cleaned))


def paragraph(text: str) -> Html:
    """Return a paragraph."""
    return Html(f"<p>{escape(text)}</p>")


def subheading(text: str) -> Html:
    """Return a heading inside a section."""
    return Html(f"<h3>{escape(text)}</h3>")


def preformatted(text: str) -> Html:
    """Return text whose line breaks and spaces count: a recipe, a command."""
    return Html(f"<pre><code>{escape(text)}</code></pre>")


def note(text: str, kind: str = "info") -> Html:
    """Return a set-off remark; `kind` is info, warn or good."""
    return Html(f'<div class="note {escape(kind)}">{escape(text)}</div>')


def bullets(items: Sequence[str]) -> Html:
    """Return a list, one item a line."""
    return Html("<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>")


def tiles(items: Sequence[tuple[str, str, str]]) -> Html:
    """Return the few figures that matter, each as (label, value, detail)."""
    return Html(
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><div class="label">{escape(label)}</div>'
            f'<div class="value">{escape(value)}</div>'
            f'<div class="detail">{escape(detail)}</div></div>'
            for label, value, detail in items
        )
        + "</div>"
    )


def answers(items: Sequence[tuple[str, str, str, str]]) -> Html:
    """Return short answers to questions, each as (question, answer, detail, kind).

    `kind` is good, warn or info, as a note's.
    """
    return Html(
        '<div class="answers">'
        + "".join(
            f'<div class="answer {escape(kind)}"><div class="label">{escape(question)}</div>'
            f'<div class="value">{escape(answer)}</div>'
            f'<div class="detail">{escape(detail)}</div></div>'
            for question, answer, detail, kind in items
        )
        + "</div>"
    )


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    caption: str = "",
    numeric: Collection[int] = (),
    strong: Collection[int] = (),
) -> Html:
    """Return a table that scrolls inside its own box when it is wider than the page.

    `numeric` columns are right-aligned with tabular digits; `strong` rows stand out.
    """
    body = "\n".join(
        _row(row, "td", numeric, "strong" if number in strong else "")
        for number, row in enumerate(rows)
    )
    # Outside the box that scrolls: a caption as wide as a wide table would leave the screen.
    title = f'<p class="caption">{escape(caption)}</p>' if caption else ""
    return Html(
        f'{title}<div class="scroll" tabindex="0"><table>'
        f"<thead>{_row(headings, 'th', numeric, '')}</thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def ranged(value: str, ends: str) -> Html:
    """Return a table cell with a value and its interval in small type below it."""
    return Html(f'{escape(value)}<span class="range">{escape(ends)}</span>')


def figure(svg: str, caption: str, data_table_html: str, summary: str = "The numbers") -> Html:
    """Return a chart with its caption, and its numbers behind it for those who cannot see it."""
    behind = details(summary, Html(data_table_html)) if data_table_html else ""
    return Html(f"<figure>{svg}<figcaption>{escape(caption)}</figcaption>{behind}</figure>")


def details(summary: str, inside: str) -> Html:
    """Return a part that is closed until the reader opens it."""
    return Html(f"<details><summary>{escape(summary)}</summary>{escape(inside)}</details>")


def grid(*parts: str) -> Html:
    """Return parts side by side where the screen is wide, below each other where it is not."""
    return Html(
        '<div class="grid">' + "".join(f"<div>{escape(part)}</div>" for part in parts) + "</div>"
    )


def _row(row: Sequence[object], tag: str, numeric: Collection[int], kind: str) -> str:
    cells = "".join(
        f'<{tag} class="{_kind(cell, place in numeric)}">{escape(cell)}</{tag}>'
        for place, cell in enumerate(row)
    )
    return f'<tr class="{kind}">{cells}</tr>' if kind else f"<tr>{cells}</tr>"


def _kind(cell: object, is_number: bool) -> str:
    if is_number:
        return "number"
    return "text long" if len(str(cell)) > _LONG and not isinstance(cell, Html) else "text"


def _anchor(number: int, heading: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
    return f"s{number + 1}-{words}".rstrip("-")


def _style() -> str:
    return files("tael.page").joinpath("style.css").read_text("utf-8")
