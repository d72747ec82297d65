"""The verb `data`: the data of a recipe, prepared as a run would, without training.

What is shown is what is trained: the records come from the same `prepare`, the tokens from the
same tokenizer and `encode`, the packed rows from the batches of pretraining's first step.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tael.data.clean import clean
from tael.data.prepare import Splits, prepare
from tael.data.read import read
from tael.data.record import Record, place
from tael.data.tokens import Tokens, add_tokens
from tael.errors import RunError, UsageError
from tael.files import write_text
from tael.recipe.fingerprint import difference, fingerprint
from tael.recipe.load import resolved_yaml
from tael.recipe.package import resolve
from tael.recipe.schema import Recipe
from tael.task.answer import lengths_by_record
from tael.task.base import Task, find
from tael.task.labels import find_labels
from tael.task.view import View, record_views, row_views
from tael.train.splits import SPLITS, write_splits
from tael.train.texts import Texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Gone", "Prepared", "prepare_data"]

_TEXTS = 5000  # of the text for pretraining, packed to show its first rows
_LONGEST = 160  # characters of a text that is only named


@dataclass(frozen=True)
class Gone:
    """A record that is not trained on, and why."""

    place: str
    why: str
    text: str


@dataclass
class Prepared:
    """The data of a recipe: counts through every step, and what was asked to be shown."""

    rows: dict[str, int]
    counts: dict[str, int]
    records: list[View] = field(default_factory=list)
    packed: list[View] = field(default_factory=list)  # rows of pretraining's first step
    gone: list[Gone] = field(default_factory=list)
    tokens: dict[str, Tokens] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    folder: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "rows": self.rows,
            "counts": self.counts,
            "tokens": {split: vars(one) for split, one in self.tokens.items()},
            "records": [view.to_json() for view in self.records],
            "packed": [view.to_json() for view in self.packed],
            "gone": [vars(one) for one in self.gone],
            "notes": self.notes,
            "folder": None if self.folder is None else str(self.folder),
        }


def prepare_data(
    recipe: Recipe, *, show: int = 0, out: Path | None = None, suspects: Path | None = None
) -> Prepared:
    """Prepare the data of `recipe` and return what became of it.

    `show` records of train, as many packed rows for pretraining and as many of each kind that went
    are shown as they are; the tokenizer is that of a run of the same recipe in `runs/`, or is
    trained as the run would. `out` gets the records, `report.html` and `report.json`, in the form
    of a run's `data/`. `suspects` gets the labels of all splits that are probably wrong, as a table
    to correct and hand back as `data.fixes`. Raises what a run would raise over its data, and
    UsageError for an `out` inside a run.
    """
    if out is not None and _is_of_run(out):
        raise UsageError(f"{out}: belongs to a run, which keeps its own data; choose another --out")
    task = find(recipe.task)
    look = partial(task.check, recipe=recipe)
    forms = task.forms(recipe.data.columns)
    found = prepare(recipe.data, recipe.seed, look=look, forms=forms)
    records = {split: list(getattr(found, split)) for split in SPLITS}
    task.survey(records, recipe)
    done = Prepared({split: len(rows) for split, rows in records.items()}, dict(found.counts))
    if out is not None:
        write_splits(out, found, recipe.lang)
        write_text(out / "recipe.yaml", resolved_yaml(recipe))
        done.folder = out
    if suspects is not None:
        done.notes.append(_write_suspects(records, recipe, suspects))
    if show:
        done.gone = _gone(found, recipe, show)
    if show or out is not None:
        with tempfile.TemporaryDirectory() as folder:
            _tokenise(done, records, Texts(Path(folder), recipe, records), recipe, show, out)
    return done


def _write_suspects(records: Mapping[str, list[Record]], recipe: Recipe, path: Path) -> str:
    from tael.evaluate.mislabel import find_suspects, write_suspects

    if recipe.task != "classify":
        raise UsageError(f"--suspects: looks at labels, which task {recipe.task} does not have")

    rows = [record for split in SPLITS for record in records[split]]
    labels = find_labels(records["train"], recipe.data.labels)
    found = find_suspects(rows, labels, recipe.data.labels)
    write_suspects(path, found)
    return (
        f"{len(found):,} labels of {len(rows):,} are worth a look: {path}; correct its column "
        f"`label` (or write `drop` there), then hand it back with --apply {path}"
    )


def _is_of_run(out: Path) -> bool:
    return any((folder / "recipe.lock.yaml").exists() for folder in (out, out.absolute().parent))


def _tokenise(
    done: Prepared,
    records: dict[str, list[Record]],
    texts: Texts,
    recipe: Recipe,
    show: int,
    out: Path | None,
) -> None:
    tokenizer, whose = _tokenizer(recipe, texts)
    done.notes.append(whose)
    others = {split: rows for split, rows in records.items() if split != "train"}
    task: Task = find(recipe.task).from_records(records["train"], recipe, tokenizer, others)
    examples = {split: task.encode_many(rows) for split, rows in records.items()}
    lengths = {split: lengths_by_record(some) for split, some in examples.items()}
    done.tokens = {split: Tokens.count(*pair) for split, pair in lengths.items() if pair[0]}
    if out is not None:
        add_tokens(out, lengths, recipe.data.max_tokens)
    done.records = record_views(task, records["train"][:show])
    if show and recipe.pretrain.steps:
        done.packed = _packed(recipe, texts, tokenizer, show)
        done.notes.append(
            f"packed rows are of step 1 over the first {_TEXTS:,} texts for pretraining, if there "
            "are more"
        )


def _tokenizer(recipe: Recipe, texts: Texts) -> "tuple[Tokenizer, str]":
    """Return the tokenizer that a run of `recipe` has or would have, and whose it is."""
    from tael.data.tokenizer import load_tokenizer
    from tael.train.objective import fit_tokenizer

    if recipe.model.from_ is not None:
        return load_tokenizer(resolve(recipe.model.from_)), f"tokenizer: of {recipe.model.from_}"
    folder = Path("runs") / recipe.name
    if (folder / "tokenizer").exists() and _is_same(folder, recipe):
        return load_tokenizer(folder / "tokenizer"), f"tokenizer: of the run {folder}"
    made = texts.tokenizer()
    fit_tokenizer(made, recipe)
    return made, "tokenizer: trained for this look, as a run would train it"


def _is_same(folder: Path, recipe: Recipe) -> bool:
    from tael.train.lock import check_same, read_lock

    try:
        check_same(folder, recipe)
    except RunError:
        return False
    return not difference(read_lock(folder).recipe, fingerprint(recipe))


def _packed(recipe: Recipe, texts: Texts, tokenizer: "Tokenizer", show: int) -> list[View]:
    from tael.data.corpus import given
    from tael.data.pool import Inline
    from tael.data.shards import build
    from tael.train.batches import PackedText
    from tael.train.objective import learner_of
    from tael.train.seeds import TEXT, mix

    learner = learner_of(recipe, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        first = given(Path(folder, "texts"), islice(texts.corpus, _TEXTS), recipe.data, ())
        shard = build(Path(folder, "rows"), first, tokenizer, recipe.data.max_tokens, Inline())
        batches = PackedText(learner, shard, recipe.pretrain, mix(recipe.seed, TEXT))
        return row_views(batches[0][0], tokenizer, show)


def _gone(found: Splits, recipe: Recipe, show: int) -> list[Gone]:
    """Return up to `show` samples of each way to go."""
    kinds: list[Iterable[Gone]] = [
        _unclean(found, recipe, show),
        (
            Gone(place(m.record), f"repeats {place(m.kept)} exactly", _text(m.record))
            for m in found.duplicates
            if m.exact
        ),
        (
            Gone(
                place(m.record), f"repeats {place(m.kept)} ({m.similarity:.2f} alike)",
                _text(m.record)
            )
            for m in found.duplicates
            if not m.exact
        ),
        (
            Gone(place(m.record), f"repeats {place(m.kept)} of dev or test", _text(m.record))
            for m in found.leaks
        ),
        _contradictions(found, recipe),
    ]  # fmt: skip
    return [gone for kind in kinds for gone in islice(kind, show)]


def _contradictions(found: Splits, recipe: Recipe) -> Iterator[Gone]:
    for group in found.conflicts if recipe.data.clean.conflicts == "drop" else ():
        labels = ", ".join(dict.fromkeys(str(record.get("label")) for record in group))
        places = ", ".join(place(record) for record in group[1:4])
        yield Gone(place(group[0]), f"stands with the labels {labels} ({places})", _text(group[0]))


def _unclean(found: Splits, recipe: Recipe, show: int) -> Iterator[Gone]:
    """Yield records that cleaning drops: read again, only where the counts say there are some."""
    data = recipe.data
    for split, paths in (("train", data.train), ("dev", data.dev), ("test", data.test)):
        known = (name for name in found.counts if name.startswith(f"{split}: dropped"))
        left = min(show, sum(found.counts[name] for name in known))
        if not left or paths is None:
            continue
        rows = read(paths, encoding=data.encoding, on_error=data.on_error, txt=data.txt)
        for record in rows:
            counts: Counter[str] = Counter()
            forms = find(recipe.task).forms(data.columns)
            if not list(clean([record], data.columns, data.clean, counts, forms=forms)):
                why = next((n for n in counts if n.startswith("dropped")), "dropped")
                text = str(record.get(data.columns.text) or "")
                yield Gone(place(record), why.removeprefix("dropped: "), text[:_LONGEST])
                left -= 1
                if not left:
                    break


def _text(record: Record) -> str:
    return str(record.get("text", ""))[:_LONGEST]
