"""Tagging: names, places and the like in a text (spans), or a tag a word (parts of speech).

A label stands at the first token of each word. Long texts are read in windows that overlap, and
each word is answered from the window in which it has the wider surroundings: nothing is cut.
Texts are never repaired: spans count the characters of the text as it was written.

Letters: B rows · T positions · N words of a batch · W words of a text · C labels.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from tokenizers import Tokenizer

from tael.data.record import Record
from tael.data.tokenizer import specials
from tael.errors import CheckpointError, RecipeError
from tael.recipe.schema import Recipe
from tael.task import tag_data
from tael.task.answer import finite, owners, read_off
from tael.task.base import Answer, Example, Group, Lesson, Predictor, Tally
from tael.task.dictionary import Dictionary
from tael.task.outcomes import Outcomes, figures
from tael.task.scheme import best_path, bio, chunks, labels_of
from tael.task.tag_data import Scheme, Words, labels_in, spans_at, words_in
from tael.task.tag_score import outcomes
from tael.task.tag_wire import TagRecord, response_of

if TYPE_CHECKING:
    from torch import Tensor

    from tael.model.batch import Batch
    from tael.model.config import ModelConfig
    from tael.model.head import TokenHead
    from tael.model.network import Network

__all__ = ["Tag"]

_OVERLAP = 0.25  # of a window that the next one reads again
_NOTHING = -100  # is learned here


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of words that is computed together; those of `at` are answered from it."""

    at: list[int]  # where in the ids the first token of each of its own words stands
    source: Words


class Tag:
    """Texts, or tokens, to spans or tags. `scheme`: spans, or plain for a tag a word."""

    name = "tag"
    variants = ("torch-fp32", "torch-bf16")
    baseline = "dictionary"
    head_kind: Literal["tag"] = "tag"
    problem_type = None
    forms = staticmethod(tag_data.forms)
    check = staticmethod(tag_data.check)
    survey = staticmethod(tag_data.survey)
    line = staticmethod(tag_data.line)
    guess = staticmethod(tag_data.guess)

    def __init__(
        self,
        tokenizer: Tokenizer,
        labels: Sequence[str],
        scheme: Scheme,
        max_tokens: int,
        *,
        label_smoothing: float = 0.0,
    ) -> None:
        self.tokenizer, self.labels, self.scheme = tokenizer, list(labels), scheme
        self.max_tokens, self.label_smoothing = max_tokens, label_smoothing
        self.metric = "f1" if scheme == "spans" else "accuracy"
        self.metric_words = tag_data.METRIC_WORDS[scheme]
        self._specials = specials(tokenizer)
        self._index = {label: at for at, label in enumerate(self.labels)}
        # A byte-level unit says by its first byte whether a space stands before it.
        self._spaced = "ByteLevel" in str(tokenizer.pre_tokenizer)

    @staticmethod
    def metric_names(recipe: Recipe) -> list[str]:
        """Return the names of the metrics of spans and of plain tags."""
        return ["f1", "precision", "recall", "accuracy"]

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        recipe: Recipe,
        tokenizer: Tokenizer,
        others: Mapping[str, Sequence[Record]] | None = None,
    ) -> "Tag":
        """Find the types of spans (or the tags) in train; those of `others` must be among them."""
        found = tag_data.survey({"train": records, **(others or {})}, recipe)
        scheme = tag_data.scheme_of(records)
        labels = labels_of(sorted(found)) if scheme == "spans" else sorted(found)
        smoothing = recipe.train.label_smoothing
        most = recipe.data.max_tokens
        return cls(tokenizer, labels, scheme, most, label_smoothing=smoothing)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], tokenizer: Tokenizer) -> "Tag":
        """Build the task that `to_json` described; CheckpointError where that is no such task."""
        try:
            labels, scheme, most = raw["labels"], raw["scheme"], raw["max_tokens"]
        except KeyError as error:
            raise CheckpointError(f"task.json: no {error}, so it is not a tag task") from error
        if scheme not in tag_data.METRIC_WORDS or not isinstance(most, int) or most < 4:
            raise CheckpointError(f"task.json: scheme {scheme!r}, max_tokens {most!r}: not a task")
        return cls(tokenizer, [str(label) for label in labels], scheme, most)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs to answer in the same way."""
        return {"labels": self.labels, "scheme": self.scheme, "max_tokens": self.max_tokens}

    # Records to batches

    def repaired(self, record: Record) -> Record:
        """Return the record as it is: repairs would move its places."""
        return record

    def encode(self, record: Record) -> Example:
        """Return the first window of a record."""
        return self.encode_many([record])[0]

    def encode_many(self, records: Sequence[Record]) -> list[Example]:
        """Return `[CLS] words [SEP]` of each record, in windows where it is longer."""
        sources = [words_in(record) for record in records]
        encoded = self.tokenizer.encode_batch(
            [self._pieces(source) for source in sources],
            is_pretokenized=True,
            add_special_tokens=False,
        )
        found: list[Example] = []
        for of, (record, source, encoding) in enumerate(
            zip(records, sources, encoded, strict=True)
        ):
            ids: list[list[int]] = [[] for _ in source.places]
            for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
                assert word is not None, "there are no special tokens"
                ids[word].append(token)
            targets = self._targets(record, source)
            found += self._windows(of, source, ids, targets)
        return found

    def _pieces(self, source: Words) -> list[str]:
        pieces = [source.text[start:end] for start, end in source.places]
        if not self._spaced:
            return pieces
        before = [0, *(end for _, end in source.places)]
        return [
            f" {piece}" if start > last else piece
            for piece, (start, _), last in zip(pieces, source.places, before, strict=False)
        ]

    def _targets(self, record: Record, source: Words) -> list[int] | None:
        labels = labels_in(record, source, self.scheme)
        if labels is None:
            return None
        return [_NOTHING if label is None else self._index[label] for label in labels]

    def _windows(
        self, of: int, source: Words, ids: list[list[int]], targets: list[int] | None
    ) -> Iterator[Example]:
        """Yield the windows of a text; a word is its own window's where it is further inside."""
        room = self.max_tokens - 2
        cut = sum(max(0, len(word) - room) for word in ids)
        words = [word[:room] or [self._specials.unk] for word in ids]
        stretches = list(_stretches([len(word) for word in words], room))
        # In the middle of what two windows share, the one hands over to the other.
        ends = [(last + first) // 2 for (_, last), (first, _) in itertools.pairwise(stretches)]
        begin = 0
        for number, ((first, last), end) in enumerate(
            zip(stretches, [*ends, len(words)], strict=True)
        ):
            tokens, at = [self._specials.cls], []
            for word in range(first, last):
                if begin <= word < end:
                    at.append(len(tokens))
                tokens += words[word]
            tokens.append(self._specials.sep)
            yield Example(
                tokens,
                [0] * len(tokens),
                None if targets is None else targets[begin:end],
                cut if number == 0 else 0,
                of,
                Window(at, source),
            )
            begin = end

    def collate(self, examples: Sequence[Example]) -> "Batch":
        """Pad examples to one batch; its targets are None unless every example has them."""
        import torch

        from tael.model.batch import Batch

        lengths = [len(example) for example in examples]
        shape = (len(examples), max(lengths))
        ids_BT = np.full(shape, self._specials.pad, dtype=np.int64)
        where: list[int] = []
        for b, example in enumerate(examples):
            ids_BT[b, : len(example)] = example.ids
            where += [b * shape[1] + at for at in example.note.at]
        documents_BT = np.arange(shape[1]) < np.array(lengths)[:, None]
        targets = None
        if all(example.target is not None for example in examples):
            targets = torch.tensor([t for e in examples for t in e.target], dtype=torch.int64)
        return Batch(
            torch.from_numpy(ids_BT),
            torch.from_numpy(documents_BT.astype(np.int32)),
            targets=targets,
            where_N=torch.tensor(where, dtype=torch.int64),
            size=len(examples),
            tokens=sum(lengths),
            layout="full" if min(lengths) == shape[1] else "padded",
        )

    # Batches to loss

    def head(self, config: "ModelConfig") -> "TokenHead":
        """Build the head; RecipeError where a window is longer than the model has positions."""
        from tael.model.head import TokenHead

        if self.max_tokens > config.max_positions:
            raise RecipeError(
                [
                    f"data.max_tokens: {self.max_tokens} is above the model's "
                    f"{config.max_positions} positions; set data.max_tokens={config.max_positions}"
                ]
            )
        return TokenHead(config, len(self.labels), "tag")

    def logits(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return (N, C): a row for each word of the batch."""
        return network.logits(batch)

    def loss(self, logits: "Tensor", batch: "Batch") -> "Tensor":
        """Return the cross-entropy summed over the words, in float32."""
        import torch.nn.functional as F

        assert batch.targets is not None, "a batch without tags has no loss"
        return F.cross_entropy(
            logits.float(),
            batch.targets,
            reduction="sum",
            ignore_index=_NOTHING,
            label_smoothing=self.label_smoothing,
        )

    def objective(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return the loss of a batch, summed over its words, in float32."""
        return self.loss(self.logits(network, batch), batch)

    def supervised(self, batch: "Batch") -> float:
        """Return the number of words that something is learned at."""
        return 0.0 if batch.targets is None else float((batch.targets != _NOTHING).sum())

    # Logits to answers

    def outputs(
        self,
        network: "Network",
        examples: Sequence[Example],
        groups: Sequence[Group],
        tally: Tally | None = None,
    ) -> list[NDArray[np.float32]]:
        """Return the logits (W, C) of each window's own words."""

        def parts(logits_NC: "Tensor", group: Group) -> Sequence["Tensor"]:
            import torch

            return torch.split(logits_NC, [len(examples[n].note.at) for n in group])

        return read_off(self, network, examples, groups, tally, parts=parts)

    def decode(
        self, outputs: Sequence[NDArray[np.float32]], examples: Sequence[Example]
    ) -> list[Answer]:
        """Return the spans, or the tags, of each record; CheckpointError where a logit is NaN."""
        answers = []
        for numbers in owners(examples):
            logits_WC = finite(np.concatenate([outputs[n] for n in numbers]))
            path = best_path(logits_WC, self.labels)
            sure = _probabilities(logits_WC)[np.arange(len(path)), path].tolist()
            source = examples[numbers[0]].note.source
            answers.append(self._answer(source, [self.labels[c] for c in path], sure))
        return answers

    def _answer(self, source: Words, labels: list[str], sure: list[float]) -> Answer:
        tags = [labels[first] for first in source.firsts]
        if self.scheme == "plain":
            cells = [source.text[start:end] for start, end in source.cells]
            return {"tokens": cells, "tags": tags, "scores": [sure[at] for at in source.firsts]}
        found = chunks(tags)
        bounds = [*source.firsts, len(labels)]
        spans = [
            {**span, "score": min(sure[bounds[first] : bounds[end]])}  # of its most doubtful word
            for span, (_, first, end) in zip(
                spans_at(found, source.text, source.cells), found, strict=True
            )
        ]
        if not source.given:
            return {"spans": spans}
        return {"spans": spans, "text": source.text, "tags": bio(found, len(tags))}

    def references(self, records: Sequence[Record]) -> list[Any]:
        """Return the spans of each record, or its tags."""
        return [tag_data.reference(record, self.scheme) for record in records]

    def check_known(self, split: str, records: Sequence[Record]) -> None:
        """Raise DataError for types or tags that the model does not know."""
        tag_data.check_unseen(split, records, self.labels, self.scheme)

    def outcomes(self, answers: Sequence[Answer], references: Sequence[Any]) -> Outcomes:
        """Lay answers beside references, to be measured on any draw of the records."""
        return outcomes(self.scheme, answers, references, self.labels)

    def metrics(self, answers: Sequence[Answer], references: Sequence[Any]) -> dict[str, float]:
        """Return precision, recall and F1 of whole spans, or the accuracy of tags."""
        return figures(self.outcomes(answers, references))

    def mistake(self, answer: Answer, reference: Any) -> tuple[str, str, float]:
        """Return the truth, the answer, and how many spans (or tags) are wrong."""
        return tag_data.mistake(answer, reference, self.scheme)

    def baselines(self, train: Sequence[Record], dev: Sequence[Record]) -> dict[str, Predictor]:
        """Return a dictionary of what train has tagged."""
        return {"dictionary": Dictionary.learn(train, self.scheme)}

    def lesson(self, record: Record, example: Example) -> Lesson:
        """Return the label at each of the window's own words."""
        if example.target is None:
            return Lesson({}, "none: the record has no tags")
        told = {at: self.labels[c] for at, c in zip(example.note.at, example.target, strict=True)}
        return Lesson(told, tag_data.line(record))

    def request_model(self) -> type[BaseModel]:
        """Return what one record of a request looks like."""
        return TagRecord

    def response_model(self) -> type[BaseModel]:
        """Return what one answer looks like."""
        return response_of(self.scheme)


def _stretches(sizes: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Yield (first word, word after the last) of windows of at most `room` tokens."""
    first, last, used = 0, 0, 0
    while True:
        while last < len(sizes) and used + sizes[last] <= room:
            used += sizes[last]
            last += 1
        yield first, last
        if last == len(sizes):
            return
        kept, used = last, 0
        while kept > first + 1 and used + sizes[kept - 1] <= _OVERLAP * room:
            kept -= 1
            used += sizes[kept]
        first = kept
        # The next word must fit, or no window would ever end further on.
        while used + sizes[last] > room:
            used -= sizes[first]
            first += 1


def _probabilities(logits_WC: NDArray[np.float64]) -> NDArray[np.float64]:
    exp_WC = np.exp(logits_WC - logits_WC.max(axis=1, keepdims=True))
    return np.asarray(exp_WC / exp_WC.sum(axis=1, keepdims=True))
