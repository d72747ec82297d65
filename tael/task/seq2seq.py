"""Read one text, write another: translation, summaries, answers, any text to text.

An encoder–decoder reads the source and writes the target (Vaswani et al. 2017, arXiv:1706.03762).
A decoder reads the source in a prompt and writes on; what it is asked is not learned, only what it
should write. Both learn the end token, so that they stop by themselves.

Letters: N targets · V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tokenizers import Tokenizer

from tael.data.clean import CHANGING, repair
from tael.data.lexicon import open_lexicon
from tael.data.record import Record, place
from tael.data.tokenizer import specials
from tael.errors import CheckpointError, DataError, RecipeError
from tael.recipe.package import resolve
from tael.recipe.schema import Clean, Recipe
from tael.task import seq2seq_data
from tael.task.answer import owners
from tael.task.base import Answer, Example, Group, Lesson, Predictor, Tally
from tael.task.marks import Marks, marks
from tael.task.memory import Lead, Memory
from tael.task.outcomes import Outcomes, figures
from tael.task.seq2seq_score import METRIC_WORDS, METRICS, outcomes
from tael.task.seq2seq_wire import SourceRecord, TargetText
from tael.task.writes import Writes

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tael.model.batch import Batch
    from tael.model.config import ModelConfig
    from tael.model.head import VocabHead
    from tael.model.network import Network
    from tael.model.settings import Settings

__all__ = ["Seq2Seq"]

Kind = Literal["seq2seq", "clm"]


class Seq2Seq(Writes):
    """Texts to texts.

    `kind`: "seq2seq" for an encoder–decoder, "clm" for a decoder. `start` is what the decoder of
    the former begins with. `framed`: the tokenizer's own marks go around both texts, as the
    checkpoint was trained. `prompt` holds `{source}`.
    """

    name = "seq2seq"
    variants = ("torch-fp32", "torch-bf16")
    baseline = "memory"
    problem_type = None
    labels: Sequence[str] = ()
    metric_words = METRIC_WORDS
    forms = staticmethod(seq2seq_data.forms)
    check = staticmethod(seq2seq_data.check)
    survey = staticmethod(seq2seq_data.survey)
    line = staticmethod(seq2seq_data.line)
    guess = staticmethod(seq2seq_data.guess)

    def __init__(
        self,
        tokenizer: Tokenizer,
        found: Marks,
        max_tokens: int,
        *,
        kind: Kind = "seq2seq",
        start: int = 0,
        framed: bool = False,
        prompt: str = "{source}",
        longest: int = 128,
        beams: int = 1,
        metric: str = "bleu",
        smoothing: float = 0.0,
        repairs: Clean | None = None,
    ) -> None:
        self.tokenizer, self.marks, self.max_tokens = tokenizer, found, max_tokens
        self.head_kind: Kind = kind
        self.start, self.framed, self.prompt = start, framed, prompt
        self.longest, self.beams, self.metric = longest, beams, metric
        self.smoothing, self.repairs = smoothing, repairs or Clean()

    @staticmethod
    def metric_names(recipe: Recipe) -> list[str]:
        """Return the names of the metrics, the recipe's first."""
        return sorted(METRICS, key=lambda name: name != recipe.seq2seq.metric)

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        recipe: Recipe,
        tokenizer: Tokenizer,
        others: Mapping[str, Sequence[Record]] | None = None,
    ) -> "Seq2Seq":
        """Make the task; RecipeError for a model that only reads."""
        kind, found, start = _model(recipe, tokenizer)
        wanted = recipe.seq2seq
        prompt = wanted.prompt or ("{source}" if kind == "seq2seq" else "{source}\n")
        return cls(
            tokenizer,
            found,
            recipe.data.max_tokens,
            kind=kind,
            start=start,
            framed=kind == "seq2seq",
            prompt=prompt,
            longest=wanted.longest,
            beams=wanted.beams,
            metric=wanted.metric,
            smoothing=recipe.train.label_smoothing,
            repairs=recipe.data.clean,
        )

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], tokenizer: Tokenizer) -> "Seq2Seq":
        """Build the task that `to_json` described; CheckpointError where that is no such task."""
        settings = dict(raw)
        try:
            found = Marks(**settings.pop("marks"))
            repairs = Clean.model_validate(settings.pop("repairs", {}))
            return cls(tokenizer, found, settings.pop("max_tokens"), repairs=repairs, **settings)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"task.json: not a seq2seq task: {error!r}") from error

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs to answer in the same way."""
        return {
            "marks": asdict(self.marks),
            "max_tokens": self.max_tokens,
            "kind": self.head_kind,
            "start": self.start,
            "framed": self.framed,
            "prompt": self.prompt,
            "longest": self.longest,
            "beams": self.beams,
            "metric": self.metric,
            "repairs": self.repairs.model_dump(include=CHANGING),
        }

    # Records to batches

    def repaired(self, record: Record) -> Record:
        """Return the record with its source repaired as those of train were; twice is once."""
        if not isinstance(record.get("source"), str):
            return record
        source = repair(record["source"], self.repairs)
        return record | {"source": source, "text": source}

    def encode(self, record: Record) -> Example:
        """Return one record as ids."""
        return self.encode_many([record])[0]

    def encode_many(self, records: Sequence[Record]) -> list[Example]:
        """Return the ids of what is read; the target holds those of what is to be written."""
        for record in records:
            if not isinstance(record.get("source"), str) or not record["source"].strip():
                raise DataError(f"{place(record)}: no source: there is nothing to read")
        prompts = [self.prompt.replace("{source}", str(record["source"])) for record in records]
        sources = self._ids(prompts)
        written = [seq2seq_data.targets_of(record)[0] for record in records]
        targets = self._ids(written)
        found = []
        for of, (source, target, text) in enumerate(zip(sources, targets, written, strict=True)):
            ids, lost = self._read(source)
            keep = target[: self.longest - 1]
            told = [*keep, self.marks.eos] if text else None
            cut = lost + (len(target) - len(keep) if text else 0)
            found.append(Example(ids, [0] * len(ids), told, cut=cut, of=of))
        return found

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=self.framed)
        # The end stands once, whether the tokenizer writes it or not: it is put there by us.
        return [_without(one.ids, self.marks.eos) for one in encoded]

    def _read(self, source: list[int]) -> tuple[list[int], int]:
        """Return what the model reads, and how many tokens of it are cut off its end."""
        if self.head_kind == "seq2seq":
            kept = source[: self.max_tokens - 1]
            return [*kept, self.marks.eos], len(source) - len(kept)
        begin = [] if self.marks.bos is None or source[:1] == [self.marks.bos] else [self.marks.bos]
        kept = source[: self.max_tokens - len(begin)]
        return [*begin, *kept], len(source) - len(kept)

    def collate(self, examples: Sequence[Example]) -> "Batch":
        """Pad to one batch: what is read, and (where it is known) what is to be written."""
        import torch

        from tael.task.language import packed

        pad = self.marks.pad
        reads = [np.array(example.ids, dtype=np.int64) for example in examples]
        told = [np.array(e.target, dtype=np.int64) for e in examples if e.target is not None]
        if len(told) < len(examples):
            return packed([[one] for one in reads], pad)
        targets = torch.from_numpy(np.concatenate(told))
        if self.head_kind == "seq2seq":
            source = packed([[one] for one in reads], pad)
            made = packed([[np.append(self.start, one[:-1])] for one in told], pad)
            where_N = made.documents_BT.flatten().nonzero().flatten()
            tokens = made.tokens + source.tokens
            return replace(made, targets=targets, where_N=where_N, source=source, tokens=tokens)
        rows = [np.append(read, one[:-1]) for read, one in zip(reads, told, strict=True)]
        made = packed([[row] for row in rows], pad)
        length = made.ids_BT.shape[1]
        where = [
            b * length + np.arange(len(read) - 1, len(row))
            for b, (read, row) in enumerate(zip(reads, rows, strict=True))
        ]
        return replace(made, targets=targets, where_N=torch.from_numpy(np.concatenate(where)))

    # Batches to loss

    def head(self, config: "ModelConfig") -> "VocabHead":
        """Build the head; RecipeError for a model that does not write, or has too few places."""
        from tael.model.head import VocabHead

        longest = max(self.max_tokens, self.longest)
        if self.head_kind == "clm":
            longest = self.max_tokens + self.longest
        if config.position in ("learned", "sinusoidal") and longest > config.max_positions:
            raise RecipeError(
                [
                    f"data.max_tokens, seq2seq.longest: {longest} places are needed, and the model "
                    f"has {config.max_positions}; set them lower"
                ]
            )
        return VocabHead(config, self.head_kind)

    # What is written to answers

    def settings(self) -> "Settings":
        """Return how a target is written: the likeliest, until the model ends it."""
        from tael.model.settings import Settings

        return Settings(
            max_tokens=self.longest,
            end=(self.marks.eos,),
            start=self.start if self.head_kind == "seq2seq" else None,
            beams=self.beams,
        )

    def outputs(
        self,
        network: "Network",
        examples: Sequence[Example],
        groups: Sequence[Group],
        tally: Tally | None = None,
    ) -> list[Any]:
        """Return the text written for each example, and why it ended."""
        import torch

        from tael.model import beam
        from tael.model.generate import Request, generate

        found: list[Any] = [None] * len(examples)
        settings = self.settings()
        write = beam.search if self.beams > 1 else generate
        for group in groups:
            some = [examples[n] for n in group]
            requests = [Request(example.ids, settings) for example in some]
            for n, one in zip(group, write(network, requests, self.tokenizer), strict=True):
                found[n] = (one.text.strip(), one.end, one.tokens)
            if tally is not None and all(example.target is not None for example in some):
                batch = self.collate(some)
                with torch.inference_mode():
                    tally.loss += float(self.objective(network, batch))
                tally.supervised += self.supervised(batch)
        return found

    def decode(self, outputs: Sequence[Any], examples: Sequence[Example]) -> list[Answer]:
        """Return what was written; `finished` is false where it was cut at the longest."""
        answers = []
        for numbers in owners(examples):
            text, end, tokens = outputs[numbers[0]]
            answers.append({"text": text, "finished": end != "length", "tokens": tokens})
        return answers

    def references(self, records: Sequence[Record]) -> list[list[str]]:
        """Return what may be written for each record."""
        return [seq2seq_data.targets_of(record) for record in records]

    def check_known(self, split: str, records: Sequence[Record]) -> None:
        """Raise DataError for records without anything to compare with."""
        for record in records:
            if not any(seq2seq_data.targets_of(record)):
                raise DataError(f"{place(record)}: no target to compare with in {split}")

    def outcomes(self, answers: Sequence[Answer], references: Sequence[Any]) -> Outcomes:
        """Lay answers beside references, to be measured on any draw of the records."""
        return outcomes([answer["text"] for answer in answers], references)

    def metrics(self, answers: Sequence[Answer], references: Sequence[Any]) -> dict[str, float]:
        """Return every metric, the first one first."""
        found = figures(self.outcomes(answers, references))
        return {self.metric: found[self.metric], **found}

    def mistake(self, answer: Answer, reference: Any) -> tuple[str, str, float]:
        """Return the reference and what was written, and how little they share (1 - chrF)."""
        shared = figures(outcomes([answer["text"]], [reference]))["chrf"] / 100
        return reference[0][:200], answer["text"][:200], 0.0 if shared == 1 else 1 - shared

    def baselines(self, train: Sequence[Record], dev: Sequence[Record]) -> dict[str, Predictor]:
        """Return what the nearest source of train was turned into, and the source's beginning."""
        pairs = [(str(one["source"]), seq2seq_data.targets_of(one)[0]) for one in train]
        return {"memory": Memory(pairs), "lead": Lead()}

    def lesson(self, record: Record, example: Example) -> Lesson:
        """Return what is to be written; nothing that is read is learned."""
        target = example.target or []
        told = f"{len(target)} tokens to write: {self.tokenizer.decode(target)}"
        return Lesson({}, told, written=target)

    def request_model(self) -> "type[BaseModel]":
        """Return what one record of a request looks like."""
        return SourceRecord

    def response_model(self) -> "type[BaseModel]":
        """Return what one answer looks like."""
        return TargetText


def _without(ids: Sequence[int], end: int) -> list[int]:
    return list(ids[:-1]) if ids and ids[-1] == end else list(ids)


def _model(recipe: Recipe, tokenizer: Tokenizer) -> tuple[Kind, Marks, int]:
    """Return what kind of model writes, its marks, and what its decoder begins with."""
    if recipe.model.from_ is None:
        own = specials(tokenizer)
        found = Marks(own.cls, own.sep, own.pad, own.mask)
        return _kind(recipe.model.architecture), found, own.pad
    import json

    from tael.model.settings import model_settings
    from tael.model.weights import read_sizes

    folder = resolve(recipe.model.from_)
    stacks = read_sizes(folder).stacks
    kind = _kind({"both": "encoder-decoder", "encoder": "encoder", "decoder": "decoder"}[stacks])
    raw = json.loads((folder / "config.json").read_text("utf-8"))
    settings = model_settings(folder, raw)
    found = marks(open_lexicon(folder))
    if settings.end:
        found = replace(found, eos=settings.end[0])
    return kind, found, found.pad if settings.start is None else settings.start


def _kind(architecture: str) -> Kind:
    if architecture == "encoder":
        raise RecipeError(
            [
                "task: seq2seq writes, and an encoder only reads; "
                "set model.architecture=encoder-decoder (or decoder)"
            ]
        )
    return "seq2seq" if architecture == "encoder-decoder" else "clm"
