"""A record as the model sees it: its tokens, what carries the loss, and what was cut.

The tokens come from the task's own `encode_many` and the packed rows from pretraining's own
batches, so what is shown is what is trained. Letters: B rows · T positions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from tokenizers import Tokenizer

from tael.data.record import Record, place
from tael.task.base import Example

if TYPE_CHECKING:
    from tael.model.batch import Batch
    from tael.task.classify import Classify

__all__ = ["Piece", "View", "label_views", "row_views"]

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


def label_views(task: "Classify", records: Sequence[Record]) -> list[View]:
    """Return what classification makes of each record."""
    examples = task.encode_many(records)
    return [_view(task, *pair) for pair in zip(records, examples, strict=True)]


def _view(task: "Classify", record: Record, example: Example) -> View:
    names = _names(task.tokenizer, example.ids)
    special = _specials(task.tokenizer)
    target = _target(task, example.target)
    pieces = [
        Piece(name, "special" if token in special else "")
        for name, token in zip(names, example.ids, strict=True)
    ]
    # The answer is read off the first token, so that is where the loss comes from.
    pieces[0] = Piece(names[0], "target", target)
    texts = [str(record[role]) for role in ("text", "text_pair") if record.get(role) is not None]
    return View(
        place(record),
        pieces,
        target,
        " ¦ ".join(texts),
        " ¦ ".join(filter(None, _lost(task.tokenizer, texts, example))),
        example.cut,
    )


def _target(task: "Classify", target: Any) -> str:
    if target is None:
        return "none: the record has no label"
    if task.kind == "regression":
        return f"{target:g}, learned as {(target - task.center) / task.scale:.3f} deviations"
    if task.kind == "multi":
        chosen = [label for label, on in zip(task.labels, target, strict=True) if on]
        return f"{' | '.join(chosen) or 'no label'} (of {len(task.labels)} labels)"
    weight = "" if task.class_weights is None else f", weight {task.class_weights[target]:.3g}"
    return f"{task.labels[target]} (class {target + 1} of {len(task.labels)}{weight})"


def _lost(tokenizer: Tokenizer, texts: Sequence[str], example: Example) -> list[str]:
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
