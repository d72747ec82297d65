"""Records as the model sees them, for a reader: colours where there is a terminal, marks always."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from tael.road.data import Prepared
    from tael.task.view import Piece, View

__all__ = ["show_prepared"]

_STYLES = {"": "", "special": "dim", "target": "bold green"}
_LEGEND = "«token→what it should be» carries the loss; ✂ what data.max_tokens cuts off"


def show_prepared(prepared: "Prepared") -> None:
    """Print the counts of every step, then the records, the packed rows, and what went."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    rows = " · ".join(f"{split} {count:,}" for split, count in prepared.rows.items())
    console.print(Text(f"rows: {rows}", "bold"))
    for step, count in prepared.counts.items():
        if count and not step.endswith(" rows"):
            console.print(f"  {step}: {count:,}")
    for split, one in prepared.tokens.items():
        console.print(
            f"tokens of {split}: median {one.median:,}, longest {one.longest:,}; texts cut "
            f"{one.cut_texts:,} ({one.cut_share:.1%}), tokens lost {one.lost:,} "
            f"({one.lost_share:.1%})"
        )
    for note in prepared.notes:
        console.print(note)
    for title, views in (("records of train", prepared.records), ("packed rows", prepared.packed)):
        if views:
            console.print(Text(f"\n{title}, as the model sees them: {_LEGEND}", "bold"))
        for view in views:
            _show(console, view)
    if prepared.gone:
        console.print(Text("\nnot trained on:", "bold"))
    for gone in prepared.gone:
        console.print(f"  {gone.place}: {gone.why}: {' '.join(gone.text.split())}")
    if prepared.folder is not None:
        console.print(f"\nwritten: {prepared.folder / 'report.html'} and the records beside it")


def _show(console: Console, view: "View") -> None:
    console.print(Text(view.place, "bold"))
    if view.text:
        console.print(f"  text    {' '.join(view.text.split())}")
    tokens = Text(" ").join(_piece(piece) for piece in view.pieces)
    console.print(Text("  tokens  ") + tokens)
    console.print(Text("  target  ") + Text(view.target, _STYLES["target"]))
    if view.cut:
        lost = "" if not view.lost else f" ✂ {' '.join(view.lost.split())}"
        console.print(Text(f"  cut     {view.cut:,} tokens{lost}", "red"))


def _piece(piece: "Piece") -> Text:
    if piece.mark == "target":
        return Text(f"«{piece.text}→{piece.target}»", _STYLES["target"])
    return Text(piece.text, _STYLES[piece.mark])
