"""A record as the model sees it: its tokens, what carries the loss, and what was cut.

The tokens come from the task's own `encode_many` and the packed rows from pretraining's own
batches, so what is shown is what is trained. Letters: B rows · T positions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from tokenizers import Tokenizer

from tael.data.record import Record, place
from tael.task.base import Example, Task

if TYPE_CHECKING:
    from tael.model.batch import Batch

__all__ = ["Piece", "View", "lost_ends", "record_views", "row_views"]

# special: put there by the tokenizer's template; target: the loss is computed at this position.
Mark = Literal["", "special", "target"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One token: its text, how it counts, and for a target what should be said there."""

    text: str
    mark: Mark = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """One record, or one packed row, as it enters the network."""

    place: str
    pieces: list[Piece]
    target: str  # what is learned from it, in words
    text: str = ""  # as it is after repairs; "" for a packed row
    lost: str = ""  # the end of the text that no token is left of
    cut: int = 0  # tokens lost

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def record_views(task: Task, records: Sequence[Record]) -> list[View]:
    """Return what the task makes of each record, a view a window."""
    return [_view(task, records[example.of], example) for example in task.encode_many(records)]


def _view(task: Task, record: Record, example: Example) -> View:
    names = _names(task.tokenizer, example.ids)
    special = _specials(task.tokenizer)
    lesson = task.lesson(record, example)
    pieces = [
        Piece(name, "target", lesson.targets[at])
        if at in lesson.targets
        else Piece(name, "special" if token in special else "")
        for at, (name, token) in enumerate(zip(names, example.ids, strict=True))
    ]
    pieces += [Piece(name, "target", name) for name in _names(task.tokenizer, lesson.written)]
    texts = [str(record[role]) for role in ("text", "text_pair") if record.get(role) is not None]
    return View(place(record), pieces, lesson.told, " ¦ ".join(texts), lesson.lost, example.cut)


def lost_ends(tokenizer: Tokenizer, texts: Sequence[str], example: Example) -> list[str]:
    """Return the end of each text that is behind its last token."""
    if not example.cut:
        return []
    kept = [example.types.count(segment) - 1 for segment in range(len(texts))]  # without [SEP]
    kept[0] -= 1  # nor [CLS]
    lost = []
    for text, count in zip(texts, kept, strict=True):
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        lost.append(text[offsets[count][0] :] if count < len(offsets) else "")
    return lost


def row_views(batch: "Batch", tokenizer: Tokenizer, rows: int) -> list[View]:
    """Return the first `rows` packed rows of a masked batch, padding left out."""
    length = batch.ids_BT.shape[1]
    targets: dict[int, int] = {}
    if batch.where_N is not None and batch.targets is not None:
        targets = dict(zip(batch.where_N.tolist(), batch.targets.tolist(), strict=True))
    special = _specials(tokenizer)
    views = []
    for row, (ids, documents) in enumerate(
        zip(batch.ids_BT.tolist()[:rows], batch.documents_BT.tolist(), strict=False)
    ):
        used = [at for at, document in enumerate(documents) if document]
        shown = _names(tokenizer, [ids[at] for at in used])
        wanted = {at: targets[row * length + at] for at in used if row * length + at in targets}
        names = dict(zip(wanted, _names(tokenizer, list(wanted.values())), strict=True))
        pieces = [
            Piece(name, "target", names[at])
            if at in wanted
            else Piece(name, "special" if ids[at] in special else "")
            for at, name in zip(used, shown, strict=True)
        ]
        told = f"{len(wanted)} of {len(used)} tokens, in {max(documents)} texts"
        views.append(View(f"row {row + 1}", pieces, told))
    return views


def _specials(tokenizer: Tokenizer) -> set[int]:
    return {at for at, token in tokenizer.get_added_tokens_decoder().items() if token.special}


def _names(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    return [tokenizer.id_to_token(token) or f"<{token}>" for token in ids]
