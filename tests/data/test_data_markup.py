"""HTML: what goes, what stays, and that no input is slow."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tael.data.markup import without_html


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<p>one</p><p>two</p>", "\none\n\ntwo\n"),
        ("foo<b>bar</b><BR/>baz", "foobar\nbaz"),
        ("<tr><td>a</td><td>b</td></tr>", "\n a  b \n"),
        ("<a href=\"x>y\" title='z'>link</a>", "link"),
        ("<p it's>fine</p>", "\nfine\n"),
        ("a<!-- <b> hidden -->b<!doctype html>", "ab"),
        ("a<script>if (x<b) {}</script>b<STYLE>p {}</Style >c", "abp {}c"),
        ("&lt;br&gt;&amp;amp;nbsp;&#24456;&#x597D;&quot;", '\n\xa0很好"'),
        ("&amp;lt;b&amp;gt;x", "x"),
    ],
)
def test_markup_goes_and_what_it_encloses_stays(text: str, plain: str) -> None:
    assert without_html(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "x < y and y > z",
        "i <3 you",
        "<name@host.org> wrote",
        "if a<bc and d>e",
        "<unclosed",
        "a <!-- never closed",
        "AT&T &copy &unknown; &",
        "<my-element>",
        "＜b＞",
        "《书名》",
    ],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert without_html(text) == text


def test_a_script_that_is_not_closed_loses_no_text() -> None:
    assert without_html("<script>alert and the rest") == "alert and the rest"


@settings(max_examples=300, deadline=None)
@given(st.text("<>/!-&;#abprsciptx \"'=", max_size=60))
def test_no_text_breaks_it_and_twice_is_once(text: str) -> None:
    once = without_html(text)
    assert without_html(once) == once


@pytest.mark.parametrize(
    "piece", ["<", '<a "', "<!--", "<script>", "&amp;", "&#38;#38;", '<b x=">"', "&l&#116;;"]
)
def test_ten_times_the_text_takes_no_more_than_about_ten_times_as_long(piece: str) -> None:
    def seconds(size: int) -> float:
        text, start = (piece * size)[:size], time.process_time()
        without_html(text)
        return time.process_time() - start

    seconds(1000)
    short = min(seconds(20_000) for _ in range(3))
    assert seconds(200_000) < 40 * short + 0.05  # a quadratic one would take 100 times as long
