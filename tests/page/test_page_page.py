"""Pages fetch nothing, let no text become markup, and hold in every size."""

import re
from html.parser import HTMLParser

import pytest

from tael.page.page import (
    Html,
    Section,
    bullets,
    escape,
    figure,
    note,
    paragraph,
    preformatted,
    ranged,
    render,
    table,
    tiles,
)

HOSTILE = '<script>alert("1")</script> & \' \x00 \ud800 正面'
VOID = {"meta", "link", "br", "img"}


class Tags(HTMLParser):
    """Remembers what was opened and not closed, all tag names, and attributes that load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href"):
                if str(value).startswith("#"):
                    self.targets.add(str(value)[1:])
                else:
                    self.loads.append(str(value))
            if name == "id":
                self.anchors.add(str(value))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def everything(text: str) -> list[Section]:
    parts = [
        paragraph(text), note(text, "warn"), bullets([text]), preformatted(text),
        tiles([(text, text, text)]), table([text], [[text], [1.5]], caption=text, numeric={0}),
        figure("<svg></svg>", text, table([text], [[text]])), ranged(text, text),
    ]  # fmt: skip
    return [Section(text, Html("".join(parts))), Section("表", paragraph(text))]


def test_every_part_is_closed_and_every_link_inside_leads_somewhere() -> None:
    tags = parsed(render("a", "b", everything("c"), subtitle="d"))
    assert tags.open == []
    assert tags.targets <= tags.anchors
    assert len(tags.targets) == 2


def test_text_never_becomes_markup() -> None:
    page = render(HOSTILE, HOSTILE, everything(HOSTILE), subtitle=HOSTILE)
    tags = parsed(page)
    assert "script" not in tags.names
    assert tags.open == []
    assert "正面" in page
    page.encode("utf-8")  # no lone surrogate is left
    assert "\x00" not in page


def test_markup_that_was_made_here_is_not_escaped_twice() -> None:
    inner = paragraph("a < b")
    assert escape(inner) == inner
    assert "<p>a &lt; b</p>" in table(["x"], [[inner]])


def test_a_page_asks_for_nothing() -> None:
    page = render("a", "b", everything("c"))
    assert parsed(page).loads == ["data:,"]  # the empty icon: else a browser asks for one
    assert not re.search(r"@import|url\(\s*[\"']?http|https?://", page)
    assert "default-src 'none'" in page


def test_numbers_are_aligned_where_told_and_strong_rows_stand_out() -> None:
    html = table(["a", "b"], [["x", 1], ["y", 2]], numeric={1}, strong={1})
    assert html.count('class="number"') == 3
    assert html.count('<tr class="strong">') == 1
    assert '<tr class="strong"><td class="text">y' in html


def test_only_a_long_text_asks_for_a_wide_column() -> None:
    assert 'class="text long"' in table(["a"], [["x" * 60]])
    assert 'class="text long"' not in table(["a"], [["x"]])


@pytest.mark.parametrize("sections", [0, 1])
def test_a_short_page_has_no_contents_line(sections: int) -> None:
    assert "<nav>" not in render("a", "b", [Section("one", "")] * sections)


def test_equal_input_gives_equal_bytes() -> None:
    assert render("a", "b", everything("c")) == render("a", "b", everything("c"))
