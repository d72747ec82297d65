"""Charts are well-formed, repeatable, follow the page's colours and survive any label."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache

import matplotlib
import pytest

from tael.page import chart
from tael.page.svg import standalone

NASTY = ["正面", "$x_1$ <b>&", "a very long label that goes on and on", "\x00\ud800", "😀"]
COUNTS = [[9.0 if row == column else row + column for column in range(5)] for row in range(5)]
CHARTS: dict[str, Callable[[], str]] = {
    "lines": lambda: chart.lines(
        {"train": [(0, 3.0), (1, 1.0)], "正 $a$": [(0, 2.0), (1, 2.5)]},
        x="step", y="损失", title="Loss <1>", marks=[(0.5, "turn")],
    ),
    "scatter": lambda: chart.scatter(
        [chart.Point(x, 3**i / 1e3, 0.8 + i / 100, 0.7, 0.95, i == 1) for i, x in enumerate(NASTY)],
        x="cost", y="accuracy", title="Frontier", log_x=True, path=NASTY[:2], floor=(0.8, "底线"),
    ),
    "bars": lambda: chart.bars(dict.fromkeys(NASTY, 2.0), x="texts", title="Classes",
                               intervals={"正面": (1.0, 3.0)}),
    "histogram": lambda: chart.histogram([1, 2, 2, 3, 10], x="characters", title="Lengths"),
    "heatmap": lambda: chart.heatmap(COUNTS, NASTY, x="answered", y="truth", title="Confusion"),
    "many": lambda: chart.heatmap([[1.0] * 30] * 30, [f"c{i}" for i in range(30)],
                                  x="answered", y="truth", title="Many"),
    "reliability": lambda: chart.reliability([(0.6, 0.5, 3), (0.9, 0.95, 30)], title="Trust",
                                          x="sure", y="right", names=("line", "模型")),
}  # fmt: skip


@cache
def drawn(name: str) -> str:
    return CHARTS[name]()


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_well_formed_and_says_what_it_is(name: str) -> None:
    root = ET.fromstring(drawn(name))
    assert root.tag.endswith("svg")
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.get("viewBox")


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_the_same_bytes_each_time(name: str) -> None:
    assert drawn(name) == CHARTS[name]()


@pytest.mark.parametrize("name", CHARTS)
def test_every_colour_is_the_pages_own(name: str) -> None:
    svg = drawn(name)
    bare = re.sub(r"var\(--[\w-]+, [^)]*\)", "", svg)
    assert not re.findall(r"#[0-9a-f]{6}\b", bare)
    assert "--font" in svg
    # Text without a fill would be black, and unread in the dark.
    assert all("fill:" in text for text in re.findall(r"<text [^>]*>", svg))


def test_labels_stay_text_whatever_they_hold() -> None:
    svg = drawn("heatmap")
    texts = [
        "".join(node.itertext()) for node in ET.fromstring(svg).iter() if node.tag.endswith("}text")
    ]
    assert texts.count("正面") == 2
    assert "$x_1$ <b>&" in texts  # not read as mathematics
    assert any(text.endswith("…") for text in texts)
    assert "\ufffd\ufffd" in texts


def test_two_charts_on_a_page_share_no_name() -> None:
    names = [set(re.findall(r'\bid="([^"]+)"', drawn(name))) for name in ("lines", "scatter")]
    assert names[0]
    assert not names[0] & names[1]
    for name in CHARTS:
        svg = drawn(name)
        used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
        assert used <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_the_readers_own_settings_change_nothing() -> None:
    before = drawn("lines")
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "svg.fonttype": "path"}):
        assert CHARTS["lines"]() == before


def test_a_chart_of_its_own_brings_colours_for_light_and_dark() -> None:
    alone = standalone(drawn("bars"))
    ET.fromstring(alone.encode())
    assert "prefers-color-scheme: dark" in alone
    assert alone.count("--c1:") == 2


def test_a_long_name_is_cut_and_a_chinese_one_counts_double() -> None:
    wide = chart.bars({"字" * 30: 1.0}, x="n", title="t")
    narrow = chart.bars({"a" * 30: 1.0}, x="n", title="t")
    assert "字" * 10 + "…" in wide
    assert "字" * 11 not in wide
    assert "a" * 21 + "…" in narrow


def test_small_costs_are_printed_in_plain_digits() -> None:
    points = [chart.Point(name, cost, 0.8) for name, cost in (("a", 2e-6), ("b", 3e-4))]
    svg = chart.scatter(points, x="cost", y="accuracy", title="Frontier", log_x=True)
    ticks = re.findall(r">([\d.e-]+)</text>", svg)
    assert "0.00001" in ticks
    assert not any("e" in tick for tick in ticks)
