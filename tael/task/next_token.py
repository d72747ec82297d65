"""Language models that write: how well each next token of a text is foreseen.

A text is `BOS tokens EOS`, cut into windows of `max_tokens` targets that follow each other, so each
token is learned once an epoch and no token is lost. To be measured, each token is told from at
least half a window before it, where the text has so much.

Letters: N targets · V vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel
from tokenizers import Tokenizer

from tael.data.clean import CHANGING, repair
from tael.data.lexicon import open_lexicon
from tael.data.record import Record, place
from tael.data.tokenizer import specials
from tael.errors import CheckpointError, DataError, RecipeError
from tael.recipe.package import resolve
from tael.recipe.schema import Clean, Recipe
from tael.task import text_data
from tael.task.answer import finite, owners
from tael.task.base import Answer, Example, Group, Lesson, Predictor, Tally
from tael.task.marks import Marks, marks
from tael.task.ngram import CharacterGrams
from tael.task.outcomes import Outcomes, figures
from tael.task.text_score import METRIC_WORDS, METRICS, outcomes
from tael.task.text_wire import Likelihood, TextRecord
from tael.task.writes import Writes

if TYPE_CHECKING:
    from tael.model.batch import Batch
    from tael.model.config import ModelConfig
    from tael.model.head import VocabHead
    from tael.model.network import Network
    from tael.task.clm import CausalLM

__all__ = ["NextToken"]


@dataclass(frozen=True, slots=True)
class Window:
    """What stands before a window's ids, and whether they are one of several choices."""

    before: tuple[int, ...] = ()
    choice: bool = False
    size: Mapping[str, int] | None = None  # of the text, with its first window


class NextToken(Writes):
    """Texts to their log-probability, or choices to the likeliest."""

    name = "clm"
    variants = ("torch-fp32", "torch-bf16")
    baseline = "5-gram"
    head_kind: Literal["clm"] = "clm"
    problem_type = None
    labels: Sequence[str] = ()
    metric = "bits_per_char"
    metric_words = METRIC_WORDS
    forms = staticmethod(text_data.forms)
    check = staticmethod(text_data.check)
    survey = staticmethod(text_data.survey)
    line = staticmethod(text_data.line)
    guess = staticmethod(text_data.guess)

    def __init__(
        self,
        tokenizer: Tokenizer,
        found: Marks,
        max_tokens: int,
        *,
        repairs: Clean | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self.tokenizer, self.marks, self.max_tokens = tokenizer, found, max_tokens
        self.repairs, self.smoothing = repairs or Clean(), label_smoothing

    @staticmethod
    def metric_names(recipe: Recipe) -> list[str]:
        """Return the names of the metrics of texts."""
        return list(METRICS)

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        recipe: Recipe,
        tokenizer: Tokenizer,
        others: Mapping[str, Sequence[Record]] | None = None,
    ) -> "NextToken":
        """Make the task; CheckpointError where the tokenizer has no token that ends a text."""
        found = _marks(recipe, tokenizer)
        return cls(
            tokenizer,
            found,
            recipe.data.max_tokens,
            repairs=recipe.data.clean,
            label_smoothing=recipe.train.label_smoothing,
        )

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], tokenizer: Tokenizer) -> "NextToken":
        """Build the task that `to_json` described; CheckpointError where that is no such task."""
        try:
            found, most = Marks(**raw["marks"]), raw["max_tokens"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"task.json: not a clm task: {error!r}") from error
        if not isinstance(most, int) or most < 2:
            raise CheckpointError(f"task.json: max_tokens {most!r}: not a clm task")
        return cls(tokenizer, found, most, repairs=Clean.model_validate(raw.get("repairs", {})))

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs to answer in the same way."""
        repairs = self.repairs.model_dump(include=CHANGING)
        return {"marks": asdict(self.marks), "max_tokens": self.max_tokens, "repairs": repairs}

    # Records to batches

    def repaired(self, record: Record) -> Record:
        """Return the record with its text repaired as the training texts were; twice is once."""
        texts = {role: record[role] for role in ("text", "before") if record.get(role)}
        return record | {role: repair(text, self.repairs) for role, text in texts.items()}

    def encode(self, record: Record) -> Example:
        """Return the first window of a record, or its first choice."""
        return self.encode_many([record])[0]

    def encode_many(self, records: Sequence[Record]) -> list[Example]:
        """Return the windows of each text, and the choices of each record that is judged."""
        found: list[Example] = []
        plain = [n for n, record in enumerate(records) if not text_data.is_judged(record)]
        encoded = {
            role: dict(
                zip(plain, self._ids([str(records[n].get(role) or "") for n in plain]), strict=True)
            )
            for role in ("text", "before")
        }
        for of, record in enumerate(records):
            if of in encoded["text"]:
                found += self._windows(of, record, encoded["text"][of], encoded["before"][of])
            else:
                found += self._choices(of, record)
        return found

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    def _windows(
        self, of: int, record: Record, inside: list[int], before: list[int]
    ) -> list[Example]:
        """Return the windows of a text, whose first token is told from what stands before it."""
        most, found = self.max_tokens, []
        lead = before[-(most // 2 + 1) :]
        if not lead and self.marks.bos is not None:
            lead = [self.marks.bos]
        ids = [*lead, *inside, *([] if record.get("goes_on") else [self.marks.eos])]
        origin = max(0, len(lead) - 1)
        for start in range(origin, max(origin + 1, len(ids) - 1), most):
            own = ids[start : start + most + 1]
            size = text_data.size_of(record) if start == origin else None
            note = Window(tuple(ids[max(0, start - most // 2) : start]), size=size)
            found.append(Example(own, [0] * len(own), of=of, note=note))
        return found

    def _choices(self, of: int, record: Record) -> list[Example]:
        """Return an example a choice, whose own tokens come behind what all choices share."""
        lead, choices = text_data.choices_of(record)
        head = [] if self.marks.bos is None else [self.marks.bos]
        whole = self._ids([lead + choice for choice in choices])
        # A unit may reach over the border: it belongs to the choice, which it tells apart.
        (before,) = self._ids([lead])
        shared = min(map(_common, [before] * len(whole), whole))
        found = []
        for ids in whole:
            context, own = [*head, *ids[:shared]], ids[shared:]
            if not context:  # nothing to tell the first token from
                context, own = own[:1], own[1:]
            room = max(1, self.max_tokens + 1 - len(own))
            if len(own) > self.max_tokens:
                raise DataError(
                    f"{place(record)}: a choice of {len(own)} tokens is longer than the "
                    f"{self.max_tokens} that the model reads at once (data.max_tokens)"
                )
            cut = max(0, len(context) - room)
            note = Window(tuple(context[cut:-1]), choice=True)
            own = [context[-1], *own]
            found.append(Example(own, [0] * len(own), cut=cut, of=of, note=note))
        return found

    def collate(self, examples: Sequence[Example]) -> "Batch":
        """Pad windows to one batch: a target for each token that has one before it."""
        rows = [[np.array(example.ids, dtype=np.int64)] for example in examples]
        return self._learner().batch(rows, max(map(len, examples)))

    def _learner(self) -> "CausalLM":
        from tael.task.clm import CausalLM

        return CausalLM(self.marks, self.smoothing)

    # Batches to loss

    def head(self, config: "ModelConfig") -> "VocabHead":
        """Build the head; RecipeError for a model that does not write, or reads too little."""
        if config.stacks != "decoder":
            raise RecipeError(
                ["task: clm writes, so it needs a decoder; set model.architecture=decoder"]
            )
        if self.max_tokens > config.max_positions:
            raise RecipeError(
                [
                    f"data.max_tokens: {self.max_tokens} is above the model's "
                    f"{config.max_positions} positions; set data.max_tokens={config.max_positions}"
                ]
            )
        return self._learner().head(config)

    # What the network says to answers

    def outputs(
        self,
        network: "Network",
        examples: Sequence[Example],
        groups: Sequence[Group],
        tally: Tally | None = None,
    ) -> list[Any]:
        """Return Σ log P of each window's own tokens, how many they are and how many were first."""
        from tael.task.likelihood import likelihood

        found: list[Any] = [None] * len(examples)
        for group in groups:
            some = [examples[n] for n in group]
            texts = [np.array([*e.note.before, *e.ids], dtype=np.int64) for e in some]
            first = [len(e.note.before) + 1 for e in some]
            told = likelihood(network, texts, self.max_tokens, first=first, pad=self.marks.pad)
            for n, one in zip(group, told, strict=True):
                found[n] = np.array([one.logprob, one.tokens, one.right])
                if tally is not None:
                    tally.loss -= one.logprob
                    tally.supervised += one.tokens
        return found

    def decode(self, outputs: Sequence[Any], examples: Sequence[Example]) -> list[Answer]:
        """Return how likely each text is, or which choice is the likeliest."""
        answers: list[Answer] = []
        for numbers in owners(examples):
            rows = np.stack([finite(outputs[n]) for n in numbers])
            if examples[numbers[0]].note.choice:
                sums = rows[:, 0].tolist()
                answers.append({"choice": int(np.argmax(sums)), "log_probabilities": sums})
            else:
                total, tokens, right = rows.sum(axis=0).tolist()
                characters = examples[numbers[0]].note.size["characters"]
                answers.append(
                    {
                        "log_probability": total,
                        "tokens": int(tokens),
                        "foreseen": int(right),
                        "perplexity": math.exp(min(700.0, -total / max(1, tokens))),
                        "bits_per_char": -total / math.log(2) / characters,
                    }
                )
        return answers

    def references(self, records: Sequence[Record]) -> list[Any]:
        """Return the sizes of each text, or which choice is right."""
        return [
            {"answer": record.get("answer"), "choices": record["choices"]}
            if text_data.is_judged(record)
            else {"text": str(record["text"])[:200], **text_data.size_of(record)}
            for record in records
        ]

    def check_known(self, split: str, records: Sequence[Record]) -> None:
        """Raise DataError for choices without an answer, or among texts."""
        judged = [text_data.is_judged(record) for record in records]
        if any(judged) and not all(judged):
            raise DataError(
                f"{place(records[judged.index(False)])}: texts and choices are measured apart; "
                "give them in files of their own"
            )
        for record in records:
            if text_data.is_judged(record) and record.get("answer") is None:
                raise DataError(f"{place(record)}: no answer says which choice is right")

    def outcomes(self, answers: Sequence[Answer], references: Sequence[Any]) -> Outcomes:
        """Lay answers beside references, to be measured on any draw of the records."""
        return outcomes(answers, references)

    def metrics(self, answers: Sequence[Answer], references: Sequence[Any]) -> dict[str, float]:
        """Return perplexity and bits, or the share of choices that are right."""
        return figures(self.outcomes(answers, references))

    def mistake(self, answer: Answer, reference: Any) -> tuple[str, str, float]:
        """Return the text and its bits a character, or the right choice and the one made."""
        if "choice" in answer:
            truth, said = reference["answer"], answer["choice"]
            names = [str(choice)[:80] for choice in reference["choices"]]
            return names[truth], names[said], float(truth != said)
        bits = answer["bits_per_char"]
        return str(reference["text"])[:80], f"{bits:.2f} bits a character", float(bits)

    def baselines(self, train: Sequence[Record], dev: Sequence[Record]) -> dict[str, Predictor]:
        """Return a 5-gram model of train's characters."""
        return {"5-gram": CharacterGrams([str(record["text"]) for record in train])}

    def lesson(self, record: Record, example: Example) -> Lesson:
        """Return the next token at each position."""
        names = [self.tokenizer.id_to_token(id_) or f"<{id_}>" for id_ in example.ids]
        return Lesson(dict(enumerate(names[1:])), f"{len(names) - 1} next tokens")

    def request_model(self) -> type[BaseModel]:
        """Return what one record of a request looks like."""
        return TextRecord

    def response_model(self) -> type[BaseModel]:
        """Return what one answer looks like."""
        return Likelihood


def _marks(recipe: Recipe, tokenizer: Tokenizer) -> Marks:
    """Return the marks of the checkpoint's tokenizer, or of one that was trained here."""
    if recipe.model.from_ is not None:
        return marks(open_lexicon(resolve(recipe.model.from_)))
    own = specials(tokenizer)
    return Marks(own.cls, own.sep, own.pad, own.mask)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many of the first ids are the same; at least one of `other` is left."""
    pairs = zip(one, other[:-1], strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other) - 1))
