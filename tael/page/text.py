"""A table for a terminal: first column left, the others right."""

from collections.abc import Sequence

__all__ = ["table_lines"]


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; a Chinese character counts as the two cells it takes."""
    from rich.cells import cell_len

    lines = [headings, *rows]
    widths = [max(cell_len(line[at]) for line in lines) for at in range(len(headings))]
    drawn = []
    for line in lines:
        spaces = [" " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)]
        cells = [line[0] + spaces[0]]
        cells += [space + text for text, space in zip(line[1:], spaces[1:], strict=True)]
        drawn.append("  ".join(cells).rstrip())
    return drawn
