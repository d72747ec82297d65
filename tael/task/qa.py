"""Extractive question answering: the answer is a stretch of the context, or there is none.

A long context is read by windows that overlap; each says where an answer begins and ends, and its
first token stands for "not here". Devlin et al. 2019, BERT, arXiv:1810.04805, sections 4.2, 4.3.

Letters: B windows · T positions · C two scores: begin, end.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, create_model
from tokenizers import Encoding, Tokenizer

from tael.data.record import Record, place
from tael.data.tokenizer import specials
from tael.errors import CheckpointError, DataError, RecipeError
from tael.recipe.schema import Recipe
from tael.task import qa_data
from tael.task.answer import finite, owners, read_off
from tael.task.answers import given_answers, spans_in, voted
from tael.task.base import Answer, Example, Group, Lesson, Predictor, Tally
from tael.task.match import SEGMENTS, levels
from tael.task.outcomes import Outcomes, Sums, figures, ratio
from tael.task.overlap import best_overlap, unit_of
from tael.task.windows import best_stretch, starts, tidied

if TYPE_CHECKING:
    from torch import Tensor

    from tael.model.batch import Batch
    from tael.model.config import ModelConfig
    from tael.model.head import TokenHead
    from tael.model.network import Network

__all__ = ["Qa", "Where"]

_SWITCHES = {"match": False, "always": True}
_NONE = (0, 0)  # the target of a window without the answer: its first token


@dataclass(frozen=True, slots=True)
class Where:
    """Where a window stands: its first token in the context, and where every token is.

    `head` positions come before the context's; `offsets` are the characters of each of its tokens.
    """

    context: str
    first: int
    head: int
    offsets: list[tuple[int, int]]


class Qa:
    """Questions to stretches of their contexts.

    `max_tokens` is a window with its question, `stride` how far the next one begins behind it
    (None: half a window), `longest` the most tokens of an answer. `match` tells the network which
    words of the context stand in the question, by segment ids above 1; `always`: every question has
    an answer, so one is given.
    """

    name = "qa"
    variants = ("torch-fp32", "torch-bf16")
    baseline = "nearest"
    metric = "f1"
    metric_words: Mapping[str, str] = {"f1": "answer F1"}
    labels: Sequence[str] = ("start", "end")
    head_kind: Literal["qa"] = "qa"
    problem_type = None
    forms = staticmethod(qa_data.forms)
    check = staticmethod(qa_data.check)
    survey = staticmethod(qa_data.survey)
    line = staticmethod(qa_data.line)
    guess = staticmethod(qa_data.guess)

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_tokens: int,
        *,
        stride: int | None = None,
        longest: int = 64,
        match: bool = False,
        always: bool = True,
    ) -> None:
        self.tokenizer, self.max_tokens, self.match = tokenizer, max_tokens, match
        self.always = always
        self.stride, self.longest = stride, longest
        self._specials = specials(tokenizer)

    @staticmethod
    def metric_names(recipe: Recipe) -> list[str]:
        """Return the names of the metrics; the last where some questions have no answer."""
        return ["f1", "exact_match", "no_answer_accuracy"]

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        recipe: Recipe,
        tokenizer: Tokenizer,
        others: Mapping[str, Sequence[Record]] | None = None,
    ) -> "Qa":
        """Build the task; whether every question has an answer is what train says."""
        qa_data.survey({"train": records}, recipe)
        qa = recipe.qa
        return cls(
            tokenizer,
            recipe.data.max_tokens,
            stride=qa.stride,
            longest=qa.longest,
            match=qa.match,
            always=all(given_answers(record) for record in records),
        )

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], tokenizer: Tokenizer) -> "Qa":
        """Build the task that `to_json` described; CheckpointError where that is no such task."""
        sizes = {name: raw.get(name) for name in ("max_tokens", "longest")}
        if raw.get("stride") is not None:
            sizes["stride"] = raw["stride"]
        wrong = [name for name, size in sizes.items() if not isinstance(size, int) or size < 1]
        if wrong:
            raise CheckpointError(f"task.json: {wrong[0]} {sizes[wrong[0]]!r}: not a qa task")
        switches = {name: bool(raw.get(name, value)) for name, value in _SWITCHES.items()}
        return cls(tokenizer, **sizes, **switches)  # type: ignore[arg-type]  # checked above

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs to answer in the same way."""
        return {
            "max_tokens": self.max_tokens,
            "stride": self.stride,
            "longest": self.longest,
            "match": self.match,
            "always": self.always,
        }

    # Records to batches

    def repaired(self, record: Record) -> Record:
        """Return the record as it is: answers are characters of the context as it was written."""
        return record

    def encode(self, record: Record) -> Example:
        """Return the first window of a record; DataError where it has no question or context."""
        return self.encode_many([record])[0]

    def encode_many(self, records: Sequence[Record]) -> list[Example]:
        """Return `[CLS] question [SEP] part of the context [SEP]`, as often as each takes."""
        for record in records:
            for role in ("question", "context"):
                if not isinstance(record.get(role), str):
                    raise DataError(
                        f"{place(record)}: {role} must be a string, found {record.get(role)!r:.40}"
                    )
        questions, contexts = (
            self.tokenizer.encode_batch(
                [record[role] for record in records], add_special_tokens=False
            )
            for role in ("question", "context")
        )
        each = enumerate(zip(records, questions, contexts, strict=True))
        return [one for of, three in each for one in self._windows(of, *three)]

    def _windows(
        self, of: int, record: Record, question: Encoding, context: Encoding
    ) -> Iterator[Example]:
        cls, sep = self._specials.cls, self._specials.sep
        offsets = tidied(record["context"], context.offsets)
        asked = question.ids[: self.max_tokens // 2]  # the other half is the context's
        room, head = self.max_tokens - len(asked) - 3, len(asked) + 2
        types = self._types(record, offsets)
        span, is_labelled = self._span(record, offsets), record.get("answers") is not None
        cut = len(question.ids) - len(asked)
        for first in starts(len(context.ids), room, self.stride):
            part = slice(first, first + room)
            ids = context.ids[part]
            target = _inside(span, first, len(ids), head) if is_labelled else None
            yield Example(
                [cls, *asked, sep, *ids, sep],
                [0] * head + types[part] + [1],
                target,
                cut,
                of,
                Where(record["context"], first, head, offsets[part]),
            )
            cut = 0

    def _types(self, record: Record, offsets: list[tuple[int, int]]) -> list[int]:
        if not self.match:
            return [1] * len(offsets)
        level = levels(record["question"], record["context"])
        return [1 + max(level[start:end], default=0) for start, end in offsets]

    def _span(self, record: Record, offsets: list[tuple[int, int]]) -> tuple[int, int] | None:
        """Return the tokens (first, last) that hold the answer; None where there is none."""
        span = voted(spans_in(record["context"], given_answers(record) or []))
        if span is None:
            return None
        inside = [n for n, (a, b) in enumerate(offsets) if a < span[1] and b > span[0]]
        return (inside[0], inside[-1]) if inside else None

    def collate(self, examples: Sequence[Example]) -> "Batch":
        """Pad windows to one batch; its targets (B, 2) are None unless every window has one."""
        import torch

        from tael.model.batch import Batch

        lengths = [len(example) for example in examples]
        shape = (len(examples), max(lengths))
        ids_BT = np.full(shape, self._specials.pad, dtype=np.int64)
        types_BT = np.zeros(shape, dtype=np.int64)
        for b, example in enumerate(examples):
            ids_BT[b, : len(example)] = example.ids
            types_BT[b, : len(example)] = example.types
        documents_BT = np.arange(shape[1]) < np.array(lengths)[:, None]
        targets = None
        if all(example.target is not None for example in examples):
            targets = torch.tensor([example.target for example in examples], dtype=torch.int64)
        return Batch(
            torch.from_numpy(ids_BT),
            torch.from_numpy(documents_BT.astype(np.int32)),
            torch.from_numpy(types_BT),
            targets=targets,
            size=len(examples),
            tokens=sum(lengths),
            layout="full" if min(lengths) == shape[1] else "padded",
        )

    # Batches to loss

    def head(self, config: "ModelConfig") -> "TokenHead":
        """Build the head; RecipeError where windows are longer than the model has positions."""
        from tael.model.head import TokenHead

        if self.max_tokens > config.max_positions:
            raise RecipeError(
                [
                    f"data.max_tokens: {self.max_tokens} is above the model's "
                    f"{config.max_positions} positions; set data.max_tokens={config.max_positions}"
                ]
            )
        if self.match and config.types < SEGMENTS:
            raise RecipeError(
                [
                    f"qa.match: needs a model with {SEGMENTS} segments, this one has "
                    f"{config.types}; leave it out, or train from scratch"
                ]
            )
        return TokenHead(config, 2, "qa")

    def logits(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return scores (B, T, 2) of where an answer begins and ends; -inf where none may."""
        scores_BTC = network.logits(batch).float()
        return scores_BTC.masked_fill(~self._allowed_BT(batch).unsqueeze(-1), -np.inf)

    def _allowed_BT(self, batch: "Batch") -> "Tensor":
        """Return where an answer may be: in the context, or at the first token for none."""
        assert batch.types_BT is not None, "windows have segments"
        allowed_BT = (batch.types_BT > 0) & (batch.ids_BT != self._specials.sep)
        allowed_BT[:, 0] = True
        return allowed_BT

    def loss(self, logits: "Tensor", batch: "Batch") -> "Tensor":
        """Return the mean of the two cross-entropies, begin and end, summed over the windows."""
        import torch.nn.functional as F

        assert batch.targets is not None, "windows without answers have no loss"
        scores = logits.float().transpose(1, 2).flatten(0, 1)  # (2 B, T)
        return F.cross_entropy(scores, batch.targets.flatten(), reduction="sum") / 2

    def objective(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return the loss, summed over the windows."""
        return self.loss(self.logits(network, batch), batch)

    def supervised(self, batch: "Batch") -> float:
        """Return the number of windows that are learned from."""
        return 0.0 if batch.targets is None else float(len(batch.targets))

    # Scores to answers

    def outputs(
        self,
        network: "Network",
        examples: Sequence[Example],
        groups: Sequence[Group],
        tally: Tally | None = None,
    ) -> list[NDArray[np.float32]]:
        """Return the scores (T, 2) of each window."""

        def own(logits: "Tensor", group: Group) -> list["Tensor"]:
            return [row[: len(examples[n])] for row, n in zip(logits, group, strict=True)]

        return read_off(self, network, examples, groups, tally, parts=own)

    def decode(
        self, outputs: Sequence[NDArray[np.float32]], examples: Sequence[Example]
    ) -> list[Answer]:
        """Return the best stretch of each context over all its windows.

        The question itself is never an answer. CheckpointError where a score is NaN.
        """
        return [
            self._answer([(outputs[n], examples[n]) for n in mine]) for mine in owners(examples)
        ]

    def _answer(self, windows: list[tuple[NDArray[np.float32], Example]]) -> Answer:
        scored = []
        for score_TC, example in windows:
            where: Where = example.note
            inside = slice(where.head, len(example) - 1)
            score_TC = np.asarray(score_TC, np.float64)
            # What a window says is worth what it says above "not here".
            above_TC = finite(score_TC[inside] - score_TC[0])
            scored.append((where.first, above_TC[:, 0], above_TC[:, 1]))
        best, none = best_stretch(scored, self.longest)
        if best is None or (best.probability < none and not self.always):
            return {"answer": "", "start": None, "end": None, "score": none}
        offsets = {
            where.first + n: offset
            for where in (example.note for _, example in windows)
            for n, offset in enumerate(where.offsets)
        }
        start, end = offsets[best.first][0], offsets[best.last][1]
        found = windows[0][1].note.context[start:end]
        return {"answer": found, "start": start, "end": end, "score": best.probability}

    def references(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """Return the given answers of each record, and what they are compared by."""
        return [
            {
                "answers": [answer.text for answer in given_answers(record) or []],
                "unit": unit_of(record["context"]),
            }
            for record in records
        ]

    def check_known(self, split: str, records: Sequence[Record]) -> None:
        """Raise DataError for records without a list of answers."""
        for record in records:
            if record.get("answers") is None:
                raise DataError(
                    f"{place(record)}: no answers, so {split} cannot be scored; "
                    "data.columns.answers says which column has them"
                )

    def outcomes(self, answers: Sequence[Answer], references: Sequence[Any]) -> Outcomes:
        """Return exact match and F1, each the mean of the best over the given answers.

        Where some questions have no answer: how often it was known whether there is one.
        """
        best_N2 = np.array(
            [
                best_overlap(answer["answer"], truth["answers"], truth["unit"])
                for answer, truth in zip(answers, references, strict=True)
            ]
        ).reshape(-1, 2)
        parts = {"exact_match": best_N2[:, 0], "f1": best_N2[:, 1]}
        if not all(truth["answers"] for truth in references):
            known = [
                (answer["answer"] == "") == (not truth["answers"])
                for answer, truth in zip(answers, references, strict=True)
            ]
            parts["no_answer_accuracy"] = np.array(known, float)
        names = ("f1", *(name for name in parts if name != "f1"))
        return Sums(
            {**parts, "count": np.ones(len(answers))},
            lambda sums: {name: ratio(sums[name], sums["count"]) for name in names},
        )

    def metrics(self, answers: Sequence[Answer], references: Sequence[Any]) -> dict[str, float]:
        """Return every metric of the records as they are."""
        return figures(self.outcomes(answers, references))

    def mistake(self, answer: Answer, reference: Any) -> tuple[str, str, float]:
        """Return the first given answer, ours, and what its F1 lacks."""
        _, f1 = best_overlap(answer["answer"], reference["answers"], reference["unit"])
        truth = reference["answers"][0] if reference["answers"] else "–"
        return truth, answer["answer"] or "–", 1 - f1

    def baselines(self, train: Sequence[Record], dev: Sequence[Record]) -> dict[str, Predictor]:
        """Return the part of the context that shares most with the question."""
        from tael.task.grams import NearestPart

        return {"nearest": NearestPart([record["context"] for record in train])}

    def lesson(self, record: Record, example: Example) -> Lesson:
        """Return where the answer begins and ends in a window; at its first token: not here."""
        if example.target is None:
            return Lesson({0: "none: the record has no answers"}, "none")
        start, end = example.target
        if (start, end) == _NONE:
            return Lesson({0: "not here"}, "no answer in this window")
        told = {start: "start", end: "end"} if start != end else {start: "start and end"}
        where: Where = example.note
        first, last = where.offsets[start - where.head][0], where.offsets[end - where.head][1]
        return Lesson(told, where.context[first:last])

    def request_model(self) -> type[BaseModel]:
        """Return what one record of a request looks like."""
        return create_model(
            "Question",
            context=(str, Field(description="The text that may hold the answer.")),
            question=(str, Field(description="What is asked.")),
        )

    def response_model(self) -> type[BaseModel]:
        """Return what one answer looks like."""
        at = "by character of the context; null where there is no answer."
        return create_model(
            "Found",
            answer=(str, Field(description="The answer, as it stands in the context; or empty.")),
            start=(int | None, Field(description=f"Where it begins, {at}")),
            end=(int | None, Field(description=f"Where it ends, {at}")),
            score=(float, Field(description="Its probability.")),
        )


def _inside(span: tuple[int, int] | None, first: int, tokens: int, head: int) -> tuple[int, int]:
    """Return the positions of an answer in a window that holds all of it; else the first twice."""
    if span is None or span[0] < first or span[1] >= first + tokens:
        return _NONE
    return span[0] - first + head, span[1] - first + head
