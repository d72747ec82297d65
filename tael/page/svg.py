"""From a Matplotlib figure to SVG in the page's own colours and font.

Matplotlib draws with stand-in colours, which become CSS variables afterwards, so that a chart
follows its page into the dark; a chart that stands alone brings the variables along.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from tael.page.page import escape

__all__ = ["INK", "LINE", "MUTED", "PAPER", "SERIES", "SIZE", "settled", "standalone", "to_svg"]

# Stand-in → the page's variable, with the light colour for a chart that stands alone.
INK, MUTED, LINE, PAPER = "#010101", "#010102", "#010103", "#010104"
SERIES = tuple(f"#0101{number:02x}" for number in range(0x11, 0x18))
_VARIABLES = {
    INK: ("ink", "#1d2126", "#e8eaed"),
    MUTED: ("muted", "#5c6670", "#a0a8b0"),
    LINE: ("line", "#dde1e5", "#363c42"),
    PAPER: ("paper", "#ffffff", "#14171a"),
    SERIES[0]: ("c1", "#0072b2", "#56b4e9"),
    SERIES[1]: ("c2", "#e69f00", "#e69f00"),
    SERIES[2]: ("c3", "#009e73", "#2fc29a"),
    SERIES[3]: ("c4", "#d55e00", "#f07f3c"),
    SERIES[4]: ("c5", "#56b4e9", "#3d8fd1"),
    SERIES[5]: ("c6", "#cc79a7", "#e09cc2"),
    SERIES[6]: ("c7", "#8a8f94", "#9aa0a6"),
}
_FONT = "system-ui, 'Segoe UI', 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', sans-serif"
SIZE = 10.0  # points; a figure is about 390 wide, so this stays readable on a telephone

_P = ParamSpec("_P")


def settled(draw: Callable[_P, str]) -> Callable[_P, str]:
    """Let `draw` run with fixed settings, whatever the reader's own Matplotlib is set to."""

    @wraps(draw)
    def with_settings(*arguments: _P.args, **options: _P.kwargs) -> str:
        import matplotlib

        settings: Any = dict(matplotlib.rcParamsDefault)
        del settings["backend"]  # choosing one would load a window system's library
        settings |= {"svg.fonttype": "none", "svg.hashsalt": "tael"}
        settings |= {"text.parse_math": False, "text.color": INK}
        settings |= {"axes.titleweight": "bold", "axes.titlesize": SIZE + 1}
        with matplotlib.rc_context(settings), warnings.catch_warnings():
            # The reader's own font draws the text; that Matplotlib's lacks a glyph does not matter.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            return draw(*arguments, **options)

    return with_settings


def to_svg(figure: Any, title: str) -> str:
    """Return the figure as an `<svg>` element in the page's colours and font."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", text, flags=re.S)
    # The family stands once, at the root; how Matplotlib writes it depends on its version.
    text = re.sub(r"font-family: [^;\"]+(; )?", "", text)
    text = re.sub(r"(font: [^;\"]*?[\d.]+px) [^;\"]+", rf"\1 var(--font, {_FONT})", text)
    text = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", text)
    for stand_in, (name, color, _) in _VARIABLES.items():
        text = text.replace(stand_in, f"var(--{name}, {color})")
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None
    head = (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="{box.group(1)}" style="font-family: var(--font, {_FONT})"'
        f' role="img" aria-label="{escape(title)}">'
    )
    text = head + text[text.index(">") + 1 :]
    # Several charts share a page, so the names inside each need a prefix of its own.
    prefix = "k" + hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{prefix}-", text)
    return re.sub(r"\n\s*\n+", "\n", text).strip()


def standalone(svg: str) -> str:
    """Return a chart as a file of its own, with background and colours for light and dark."""
    light = "".join(f"--{name}: {color}; " for name, color, _ in _VARIABLES.values())
    dark = "".join(f"--{name}: {color}; " for name, _, color in _VARIABLES.values())
    style = (
        f"<style>svg {{ {light}background: var(--paper); }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {dark}}} }}</style>"
    )
    head, _, rest = svg.partition(">")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}>{style}{rest}\n'
