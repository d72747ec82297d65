"""HTML in texts: tags, comments and entities go, what they enclose stays.

Only names that HTML has count as tags, so `x < y`, `<3` and `<name@host.org>` stay. What is not
closed is text. Each look goes through the text once, whatever it holds: no input is slow.
"""

import re
from html import unescape

__all__ = ["without_html"]

# A quoted value may hold ">", none may hold "<": so no look goes past the next "<".
_TAG = re.compile(
    r"<(/?)([A-Za-z][A-Za-z0-9]*+)(?![\w:-])"
    r"(?:(?:[^<>\"']++|\"[^\"<]*+\"|'[^'<]*+')*+>|[^<>]*+>)"
    r"|<!--|<!doctype\b[^<>]*+>|<\?xml\b[^<>]*+>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_AGAIN = re.compile(r"&(?:(?:amp|AMP|#0*38|#[xX]0*26);)++(?=[#A-Za-z])")  # &amp;amp;lt;
_ROUNDS = 8  # text that was escaped once more than it was shown needs another round
_SILENT = ("script", "style", "template")
_BLOCKS = """
    address article aside blockquote br center dd details dialog div dl dt fieldset figcaption
    figure footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol optgroup option p pre section
    summary table tbody tfoot thead title tr ul
"""
_APART = "td th img input button select textarea"
_INLINE = """
    a abbr acronym applet area audio b base bdi bdo big body canvas caption cite code col colgroup
    data datalist del dfn dir em embed font frame frameset head html i iframe ins kbd label
    legend link map mark marquee menu meta meter nobr noframes noscript object output param
    picture progress q rb rp rt rtc ruby s samp script slot small source span strike strong style
    sub sup svg template time track tt u var video wbr
"""
_INSTEAD = {
    name: sign
    for names, sign in ((_BLOCKS, "\n"), (_APART, " "), (_INLINE, ""))
    for name in names.split()
}


def without_html(text: str) -> str:
    """Return `text` without markup; a block element becomes a line break, a table cell a space.

    The contents of scripts and styles go with their tags. What turns out to be markup once it is
    unescaped goes as well.
    """
    for _ in range(_ROUNDS):
        before = text
        if "<" in text:
            text = _without_tags(text)
        if "&" in text:
            text = _ENTITY.sub(lambda entity: unescape(entity[0]), _AGAIN.sub("&", text))
        if text == before:
            break
    return text


def _without_tags(text: str) -> str:
    parts, at = [], 0
    gone: set[str] = set()  # ends that do not come any more: looked for once
    for tag in _TAG.finditer(text):
        if tag.start() < at:
            continue  # inside a comment or a script
        name = (tag[2] or "").lower()
        end = tag.end()
        if tag[0] == "<!--":
            end = _after(text, end, "-->", gone)
        elif name in _SILENT and not tag[1]:
            end = _after(text, end, f"</{name}>", gone) or end
        elif name and name not in _INSTEAD:
            continue
        if end:
            parts += [text[at : tag.start()], _INSTEAD.get(name, "")]
            at = end
    return "".join([*parts, text[at:]])


def _after(text: str, start: int, mark: str, gone: set[str]) -> int:
    """Return the place behind the next `mark`, 0 where there is none."""
    if mark in gone:
        return 0
    found = re.compile(re.escape(mark), re.IGNORECASE).search(text, start)
    if found is None:
        gone.add(mark)
        return 0
    return found.end()
