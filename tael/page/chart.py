"""Charts as SVG text for the inside of a page: they follow its colours, also in the dark.

Matplotlib draws with stand-in colours, which become the page's CSS variables afterwards; text stays
text. The same numbers give the same bytes. Matplotlib is imported when the first chart is drawn.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tael.page.svg import INK, LINE, MUTED, PAPER, SERIES, SIZE, settled, to_svg

__all__ = [
    "Point",
    "bars",
    "heatmap",
    "histogram",
    "lines",
    "reliability",
    "scatter",
]

_WIDTH = 5.4  # inches
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))  # told apart without colour


@dataclass(frozen=True)
class Point:
    """A labelled point; `low` and `high` are the ends of its interval in y."""

    label: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    highlight: bool = False


@settled
def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x: str,
    y: str,
    title: str,
    marks: Sequence[tuple[float, str]] = (),
    log_x: bool = False,
) -> str:
    """Draw each series of (x, y) as a line; `marks` are upright lines with a word beside them."""
    figure, axes = _axes(title, x, y)
    for number, (name, points) in enumerate(series.items()):
        few = len(points) <= 30
        axes.plot(
            [point[0] for point in points],
            [point[1] for point in points],
            color=SERIES[number % len(SERIES)],
            linestyle=_DASHES[number % len(_DASHES)],
            marker="o" if few else None,
            markersize=3.5,
            linewidth=1.8 if few else 1.2,
            label=name,
            zorder=3 - 0.1 * number,
        )
    if log_x:
        _log_ticks(axes)
    for place, word in marks:
        axes.axvline(place, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.annotate(
            word, (place, 1), xycoords=("data", "axes fraction"), xytext=(3, -3),
            textcoords="offset points", va="top", color=MUTED, fontsize=SIZE - 1.5,
        )  # fmt: skip
    if len(series) > 1:
        _legend(figure, axes, len(series))
    return to_svg(figure, title)


@settled
def scatter(
    points: Sequence[Point],
    *,
    x: str,
    y: str,
    title: str,
    log_x: bool = False,
    path: Sequence[str] = (),
    floor: tuple[float, str] | None = None,
) -> str:
    """Draw labelled points with their intervals; `path` names those joined by a line.

    `floor` is a level line and the word beside it.
    """
    figure, axes = _axes(title, x, y, height=3.5)
    on_path = sorted((p for p in points if p.label in path), key=lambda p: p.x)
    axes.plot(
        [p.x for p in on_path], [p.y for p in on_path], color=SERIES[0], linewidth=1.6, zorder=1
    )
    if floor is not None:
        axes.axhline(floor[0], color=SERIES[3], linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
        axes.annotate(
            floor[1], (0, floor[0]), xycoords=("axes fraction", "data"), xytext=(3, 3),
            textcoords="offset points", color=SERIES[3], fontsize=SIZE - 1,
        )  # fmt: skip
    for point in points:
        color = SERIES[3] if point.highlight else SERIES[0] if point.label in path else MUTED
        if point.low is not None and point.high is not None:
            axes.plot([point.x] * 2, [point.low, point.high], color=color, linewidth=1, zorder=2)
        size = 64 if point.highlight else 28
        axes.scatter([point.x], [point.y], s=size, color=color, edgecolors=PAPER, zorder=3)
    axes.margins(x=0.16, y=0.12)
    if log_x:
        _log_ticks(axes)
    _label_points(figure, axes, points)
    return to_svg(figure, title)


@settled
def bars(
    values: Mapping[str, float],
    *,
    x: str,
    title: str,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    digits: int = 3,
) -> str:
    """Draw one lying bar a name, in the given order from the top, with its value at its end."""
    names = list(values)
    figure, axes = _axes(title, x, "", height=0.9 + 0.26 * len(names), names=names)
    places = range(len(names))
    axes.barh(places, list(values.values()), height=0.64, color=SERIES[0], alpha=0.85)
    for place, name in zip(places, names, strict=True):
        value = values[name]
        ends = (intervals or {}).get(name, (value, value))
        if ends[0] != ends[1]:
            axes.plot(ends, [place, place], color=INK, linewidth=1.2)
        shown = f"{value:,.0f}" if float(value).is_integer() else f"{value:.{digits}f}"
        axes.annotate(
            shown, (max(value, ends[1]), place), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=SIZE - 1,
        )  # fmt: skip
    axes.set_yticks(list(places), [_short(name) for name in names])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.14)
    return to_svg(figure, title)


@settled
def histogram(
    values: Sequence[float], *, x: str, title: str, y: str = "texts", bins: int = 40
) -> str:
    """Draw how often values fall into each of `bins` equal intervals."""
    figure, axes = _axes(title, x, y)
    axes.hist(list(values), bins=bins, color=SERIES[0], alpha=0.85, edgecolor=PAPER, linewidth=0.4)
    return to_svg(figure, title)


@settled
def heatmap(
    counts: Sequence[Sequence[float]], labels: Sequence[str], *, x: str, y: str, title: str
) -> str:
    """Draw a confusion matrix: a row is a true label, its shades are shares of that row."""
    size = len(labels)
    cell = max(9.0, min(30.0, 420 / max(size, 1)))  # points
    figure, axes = _axes(title, x, y, height=(64 + cell * max(size, 3)) / 72, names=labels)
    _shade(axes, counts)
    for row, line in enumerate(counts if size <= 15 else ()):
        for column, count in enumerate(line):
            if count:
                axes.text(
                    column, row, f"{count:,.0f}", ha="center", va="center",
                    color=PAPER if count > 0.55 * sum(line) else INK,
                    fontsize=SIZE - 1 if size <= 8 else SIZE - 2.5,
                )  # fmt: skip
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    axes.grid(visible=False)
    _name_classes(figure, axes, [_short(label, 14) for label in labels], cell)
    return to_svg(figure, title)


@settled
def reliability(
    bins: Sequence[tuple[float, float, int]],
    *,
    title: str,
    x: str,
    y: str,
    names: tuple[str, str],
) -> str:
    """Draw calibration: (mean confidence, share that was right, number of answers) per bin.

    `names` are those of the dashed line, where confidence is right, and of the model's own.
    """
    figure, axes = _axes(title, x, y, height=3.4)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=names[0])
    filled = [entry for entry in bins if entry[2]]
    most = max((entry[2] for entry in filled), default=1)
    confidence, right = [entry[0] for entry in filled], [entry[1] for entry in filled]
    axes.plot(confidence, right, color=SERIES[0], linewidth=1.6, label=names[1])
    sizes = [12 + 110 * entry[2] / most for entry in filled]
    axes.scatter(confidence, right, s=sizes, color=SERIES[0], edgecolors=PAPER, zorder=3)
    axes.set_xlim(min([*confidence, 0.5]) - 0.05, 1.03)
    axes.set_ylim(min([*right, 0.5]) - 0.05, 1.05)
    _legend(figure, axes, 2)
    return to_svg(figure, title)


def _axes(
    title: str, x: str, y: str, *, height: float = 3.1, names: Sequence[str] = ()
) -> tuple[Any, Any]:
    """Return a figure with one empty chart whose left margin has room for `names`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_subplot()
    axes.set_title(
        _plain(title), loc="left", fontsize=SIZE + 1, fontweight="bold", color=INK, pad=8
    )
    axes.set_xlabel(_plain(x), color=MUTED, fontsize=SIZE)
    axes.set_ylabel(_plain(y), color=MUTED, fontsize=SIZE)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=SIZE - 0.5, length=0)
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    figure.patch.set_alpha(0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    widest = max([_width(_short(name)) for name in names], default=0) * SIZE * 0.55
    left = (14 + (18 if y else 0) + (widest if names else 26)) / (_WIDTH * 72)
    figure.subplots_adjust(
        left=left, right=0.975, top=1 - 26 / (height * 72), bottom=38 / (height * 72)
    )
    return figure, axes


def _name_classes(figure: Any, axes: Any, names: Sequence[str], cell: float) -> None:
    """Write the classes along both sides of a heatmap, aslant below when they are long."""
    size = min(SIZE - 0.5, cell * 0.85)
    axes.set_xticks(range(len(names)), names, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    longest = max(map(_width, names), default=0)
    if len(names) <= 3 and longest <= 14:
        return
    upright = len(names) > 15
    for tick in axes.get_xticklabels():
        tick.set(rotation=90 if upright else 40, ha="right", rotation_mode="anchor")
        tick.set_va("center" if upright else "top")
    below = longest * size * 0.55 * (1.0 if upright else 0.66) + 28
    height = figure.get_figheight() * 72 - 38 + below
    figure.set_figheight(height / 72)
    figure.subplots_adjust(bottom=below / height, top=1 - 26 / height)


def _log_ticks(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.set_xscale("log")
    shown = [value for value in axes.dataLim.intervalx if value > 0]
    wide = len(shown) == 2 and shown[1] > 30 * shown[0]  # else labels run into each other
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _decimal(value)))
    axes.minorticks_off()


def _decimal(value: float) -> str:
    """Return `value` in plain digits: 0.00002, not 2e-05."""
    text = f"{value:.12f}".rstrip("0").rstrip(".")
    return text if float(text) else f"{value:g}"


def _shade(axes: Any, counts: Sequence[Sequence[float]]) -> None:
    """Draw one square a cell, as dark as its share of the row; of many classes only filled ones."""
    from matplotlib.collections import PolyCollection

    corners, shares = [], []
    for row, line in enumerate(counts):
        total = sum(line) or 1
        for column, count in enumerate(line):
            if count or len(counts) <= 15:
                left, right, top, bottom = column - 0.48, column + 0.48, row - 0.48, row + 0.48
                corners.append([(left, top), (right, top), (right, bottom), (left, bottom)])
                shares.append(0.04 + 0.96 * float(count / total))
    axes.add_collection(PolyCollection(corners, facecolors=SERIES[0], alpha=shares, linewidths=0))


def _legend(figure: Any, axes: Any, entries: int) -> None:
    """Put the legend between title and chart, where it never hides a line."""
    columns = min(entries, 3)
    rows = -(-entries // columns)
    axes.legend(
        frameon=False, fontsize=SIZE - 0.5, labelcolor=INK, ncols=columns, loc="lower left",
        bbox_to_anchor=(0, 1), borderpad=0, borderaxespad=0.3, columnspacing=1.4, labelspacing=0.25,
    )  # fmt: skip
    extra = 15.0 * rows
    axes.set_title(axes.get_title(loc="left"), loc="left", pad=8 + extra)
    height = figure.get_figheight() * 72 + extra
    figure.set_figheight(height / 72)
    figure.subplots_adjust(top=1 - (26 + extra) / height, bottom=38 / height)


def _label_points(figure: Any, axes: Any, points: Sequence[Point]) -> None:
    """Write the labels in rows above all points, each joined to its own by a thin line."""
    axes.autoscale_view()
    scale = 72 / figure.dpi
    right_edge = figure.bbox.width * scale - 4
    rows: list[float] = []  # right end of what stands in each row, in points
    placed: list[tuple[Point, float, int]] = []
    for point in sorted(points, key=lambda p: p.x):
        x = float(axes.transData.transform((point.x, point.y))[0]) * scale
        width = _width(point.label) * (SIZE - 1) * 0.6
        left = min(max(x - width / 2, 4), right_edge - width)
        row = next((at for at, end in enumerate(rows) if end < left), len(rows))
        rows[row : row + 1] = [left + width + 6]
        placed.append((point, left + width / 2, row))
    height = axes.bbox.height * scale
    room = 12 * len(rows) + 4
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + (high - low) * room / (height - room))
    for point, middle, row in placed:
        axes.annotate(
            _plain(point.label), (point.x, point.high or point.y),
            xytext=(middle, 1 - (12 * row + 6) / height), ha="center", va="center",
            textcoords=("figure points", "axes fraction"),
            fontsize=SIZE - 1, color=INK, fontweight="bold" if point.highlight else "normal",
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 5},
        )  # fmt: skip


def _plain(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def _short(text: str, most: int = 22) -> str:
    """Cut `text` to `most` columns, a Chinese character counting two."""
    text = _plain(text)
    if _width(text) <= most:
        return text
    while _width(text) > most - 1:
        text = text[:-1]
    return text + "…"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
