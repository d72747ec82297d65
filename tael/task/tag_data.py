"""Records of tagging: tokens with tags, or a text with spans; checked, counted, put into words."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tael.data.form import Form, Mend, string
from tael.data.record import AT, Record, place
from tael.errors import DataError
from tael.recipe.schema import Columns, Recipe
from tael.task.scheme import OUTSIDE, Chunk, bio, chunks, is_span_tag
from tael.task.spans import Place, Span, joined, read_spans, token_list, words_of

__all__ = [
    "METRIC_WORDS", "Scheme", "Words", "check", "check_unseen", "forms", "guess", "labels_in",
    "line", "mistake", "reference", "scheme_of", "spans_at", "survey", "tags_of", "words_in",
]  # fmt: skip

Scheme = Literal["spans", "plain"]
METRIC_WORDS: Mapping[str, Mapping[str, str]] = {
    "spans": {"f1": "entity F1", "precision": "entity precision", "recall": "entity recall"},
    "plain": {"accuracy": "tag accuracy"},
}
_PLACES = 3  # named of each fault
_ROWS = 50  # looked at for a guess
_TAG_NAMES = ("tags", "ner_tags", "ner", "labels", "pos_tags", "pos", "upos", "tag", "label")
_SPAN_NAMES = ("spans", "entities", "label", "labels", "annotations")
_TEXT_NAMES = ("text", "sentence", "content", "文本", "内容", "句子")


def forms(columns: Columns) -> tuple[Form, ...]:
    """Return tokens with tags, and text with spans: first the one that the recipe names."""
    spans = Form({"text": columns.text}, {"spans": columns.spans or "spans"}, _lay_spans)
    given = {"tokens": columns.tokens}
    tokens = Form(given, {"tags": columns.tags}, _lay_tokens, made=("text", "spans"))
    return (tokens, spans) if columns.spans is None else (spans, tokens)


def _lay_tokens(record: Record, mend: Mend, counts: Counter[str]) -> Record:
    tokens = token_list(record["tokens"], record, "tokens")
    laid = record | {"tokens": tokens, "text": joined(tokens)[0]}
    if "tags" in record:
        tags = token_list(record["tags"], record, "tags")
        if len(tags) != len(tokens):
            raise DataError(
                f"{place(record)}: {len(tokens)} tokens have {len(tags)} tags; each needs one"
            )
        laid["tags"] = tags
    return laid


def _lay_spans(record: Record, mend: Mend, counts: Counter[str]) -> Record:
    text = string(record["text"], record, "text")
    laid = record | {"text": text}
    if "spans" in record:
        laid["spans"] = read_spans(record["spans"], record, text, counts)
        _count_inside(text, laid["spans"], counts)
    return laid


def _count_inside(text: str, spans: Sequence[Span], counts: Counter[str]) -> None:
    places = words_of(text)
    starts, ends = {start for start, _ in places}, {end for _, end in places}
    inside = sum(one["start"] not in starts or one["end"] not in ends for one in spans)
    counts["spans that begin or end inside a word: learned as the whole word"] += inside


@dataclass(frozen=True, slots=True)
class Words:
    """A record as words, at which labels stand: those of its text, or of each token it brought.

    A token such as 北京 or don't is several words, so that a text is read as its tokens are.
    `cells` are what tags are given to: the tokens, or the words themselves; `firsts` is the number
    of the first word of each. `given`: the cells are tokens that the record brought.
    """

    text: str
    places: list[Place]
    cells: list[Place]
    firsts: list[int]
    given: bool


def words_in(record: Record) -> Words:
    """Return the words of a record."""
    if record.get("tokens") is None:
        text = str(record["text"])
        places = words_of(text)
        return Words(text, places, places, list(range(len(places))), given=False)
    text, cells = joined(record["tokens"])
    places, firsts = [], []
    for start, end in cells:
        firsts.append(len(places))
        inside = [(start + a, start + b) for a, b in words_of(text[start:end])]
        places += inside or [(start, end)]
    return Words(text, places, cells, firsts, given=True)


def tags_of(record: Record, cells: Sequence[Place], scheme: Scheme) -> list[str] | None:
    """Return the tag of each cell, spans as BIO; None where the record has nothing."""
    if record.get("tags") is not None:
        tags = record["tags"]
        return bio(chunks(tags), len(tags)) if scheme == "spans" else list(tags)
    if record.get("spans") is None:
        return None
    return bio(_chunks(record["spans"], cells), len(cells))


def labels_in(record: Record, words: Words, scheme: Scheme) -> list[str | None] | None:
    """Return what is learned at each word, None at a word that nothing is learned at.

    Within a token that is inside a span, all words are; a plain tag stands at the first alone.
    """
    tags = tags_of(record, words.cells, scheme)
    if tags is None:
        return None
    if scheme == "plain":
        labels: list[str | None] = [None] * len(words.places)
        for first, tag in zip(words.firsts, tags, strict=True):
            labels[first] = tag
        return labels
    bounds = [*words.firsts, len(words.places)]
    spans = [(kind, bounds[first], bounds[end]) for kind, first, end in chunks(tags)]
    return list(bio(spans, len(words.places)))


def _chunks(spans: Sequence[Span], places: Sequence[Place]) -> list[Chunk]:
    """Return spans of characters as spans of words: those that they touch."""
    found = []
    for span in spans:
        touched = [
            at
            for at, (start, end) in enumerate(places)
            if start < span["end"] and end > span["start"]
        ]
        if touched:
            found.append((span["type"], touched[0], touched[-1] + 1))
    return found


def reference(record: Record, scheme: Scheme) -> Any:
    """Return the tags of a record, or its spans with their words, in the places of its text."""
    if scheme == "plain":
        return list(record["tags"])
    spans = record.get("spans") or []
    if record.get("tags") is not None:
        text, cells = joined(record["tokens"])
        return spans_at(chunks(record["tags"]), text, cells)
    return [{**one, "text": record["text"][one["start"] : one["end"]]} for one in spans]


def spans_at(found: Iterable[Chunk], text: str, cells: Sequence[Place]) -> list[Span]:
    """Return spans of cells as spans of characters, with the characters."""
    ends = [(kind, cells[first][0], cells[end - 1][1]) for kind, first, end in found]
    return [{"type": kind, "start": a, "end": b, "text": text[a:b]} for kind, a, b in ends]


def scheme_of(records: Sequence[Record]) -> Scheme:
    """Return spans where every tag is a place in one (B-PER, O, S …), else plain."""
    tags = (tag for record in records for tag in record.get("tags") or ())
    return "spans" if all(map(is_span_tag, tags)) else "plain"


def check(split: str, records: Sequence[Record], recipe: Recipe) -> None:
    """Raise DataError for records without tags or spans."""
    bare = [one for one in records if one.get("tags") is None and one.get("spans") is None]
    if bare:
        raise DataError(
            f"{split}: {len(bare)} of {len(records)} records have no tags and no spans "
            f"({_where(bare)}). Correct or remove them."
        )


def survey(splits: Mapping[str, Sequence[Record]], recipe: Recipe) -> dict[str, int]:
    """Return how many spans of each type (or tags) train has; those of others must be among them.

    Raises DataError where train has none, or another split has one that train has not.
    """
    for split, records in splits.items():
        check(split, records, recipe)
    train = splits["train"]
    scheme = scheme_of(train)
    counts = Counter(name for record in train for name in _names(record, scheme))
    if not counts or (scheme == "plain" and len(counts) < 2):
        what = "spans" if scheme == "spans" else "two different tags"
        raise DataError(f"train: {len(train)} records without {what}: there is nothing to learn")
    for split, records in splits.items():
        if split != "train":
            _refuse_unseen(split, records, counts, scheme)
    return dict(counts.most_common())


def check_unseen(
    split: str, records: Sequence[Record], labels: Sequence[str], scheme: Scheme
) -> None:
    """Raise DataError for a type, or a tag, that is not among a model's labels."""
    known = set(labels)
    if scheme == "spans":
        known = {label.partition("-")[2] for label in labels if label != OUTSIDE}
    bare = [one for one in records if one.get("tags") is None and one.get("spans") is None]
    if bare:
        raise DataError(f"{split}: {len(bare)} records have no tags and no spans ({_where(bare)})")
    _refuse_unseen(split, records, known, scheme)


def _refuse_unseen(split: str, records: Sequence[Record], known: Any, scheme: Scheme) -> None:
    unseen: dict[str, list[Record]] = {}
    for record in records:
        for name in set(_names(record, scheme)) - set(known):
            unseen.setdefault(name, []).append(record)
    if unseen:
        told = [f"{name!r} ({_where(rows)})" for name, rows in list(unseen.items())[:_PLACES]]
        raise DataError(
            f"{split}: {len(unseen)} types that train does not have: {', '.join(told)}; train has "
            f"{', '.join(list(known)[:20])}. Correct them, or add such records to train."
        )


def _names(record: Record, scheme: Scheme) -> list[str]:
    if scheme == "plain":
        return list(record["tags"])
    if record.get("tags") is not None:
        return [kind for kind, _, _ in chunks(record["tags"])]
    return [span["type"] for span in record["spans"]]


def line(record: Record) -> str:
    """Return the text with its spans, or tags, in brackets behind."""
    if record.get("tags") is not None and scheme_of([record]) == "plain":
        pairs = zip(record["tokens"], record["tags"], strict=True)
        return " ".join(f"{token}/{tag}" for token, tag in pairs)
    return f"{_told(reference(record, 'spans'))}  {record['text']}"


def mistake(answer: Mapping[str, Any], truth: Any, scheme: Scheme) -> tuple[str, str, float]:
    """Return truth and answer in words, and how many spans (or tags) are wrong."""
    if scheme == "plain":
        pairs = list(zip(answer["tokens"], truth, answer["tags"], strict=True))
        wrong = [(token, right, said) for token, right, said in pairs if right != said]
        told = ["; ".join(f"{one[0]} {one[at]}" for one in wrong) for at in (1, 2)]
        return told[0], told[1], float(len(wrong))
    right, said = _keys(truth), _keys(answer["spans"])
    return _told(truth), _told(answer["spans"]), float(len(right ^ said))


def _keys(spans: Sequence[Span]) -> set[tuple[str, int, int]]:
    return {(span["type"], span["start"], span["end"]) for span in spans}


def _told(spans: Sequence[Span]) -> str:
    return "; ".join(f"{span['text']} {span['type']}".strip() for span in spans) or "none"


def guess(records: Sequence[Record]) -> list[str] | None:
    """Return settings for rows of tokens beside tags, or of a text beside spans of it."""
    rows = list(records[:_ROWS])
    if not rows:
        return None
    for tags in _TAG_NAMES:
        if all(_is_tagged(row, tags) for row in rows):
            return [f"data.columns.tags={tags}"] if tags != "tags" else []
    for text in _TEXT_NAMES:
        for spans in _SPAN_NAMES:
            if all(_is_spanned(row, text, spans) for row in rows):
                named = [f"data.columns.text={text}"] if text != "text" else []
                return [*named, f"data.columns.spans={spans}"]
    return None


def _is_tagged(row: Record, tags: str) -> bool:
    tokens, found = row.get("tokens"), row.get(tags)
    return isinstance(tokens, list) and isinstance(found, list) and len(tokens) == len(found)


def _is_spanned(row: Record, text: str, spans: str) -> bool:
    if not isinstance(row.get(text), str) or not isinstance(row.get(spans), list | dict):
        return False
    try:
        read_spans(row[spans], {AT: ""}, row[text], Counter())
    except DataError:
        return False
    return True


def _where(records: Sequence[Record]) -> str:
    places = ", ".join(place(record) for record in records[:_PLACES])
    return f"{places}, …" if len(records) > _PLACES else places
