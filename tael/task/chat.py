"""Answer in a conversation: only what the assistant says is learned, and that it ends.

Letters: N targets · V vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tokenizers import Tokenizer

from tael.data.lexicon import Lexicon, Roles, open_lexicon
from tael.data.record import Record, place
from tael.data.tokenizer import specials
from tael.errors import CheckpointError, DataError, RecipeError
from tael.files import write_text
from tael.recipe.package import resolve
from tael.recipe.schema import Recipe
from tael.task import chat_data
from tael.task.answer import owners
from tael.task.base import Answer, Example, Group, Lesson, Predictor, Tally
from tael.task.chat_lesson import lessons, prompt_ids
from tael.task.chat_score import METRIC_WORDS, METRICS, outcomes
from tael.task.chat_wire import ChatAnswer, ChatRecord
from tael.task.marks import Marks, marks
from tael.task.outcomes import Outcomes, figures
from tael.task.writes import Writes

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tael.model.batch import Batch
    from tael.model.config import ModelConfig
    from tael.model.head import VocabHead
    from tael.model.network import Network

__all__ = ["Chat"]

# For tokenizers trained here, which open with [CLS] and close with [SEP].
_TEMPLATE = (
    "{% for message in messages %}[CLS]{{ message.role }}\n{{ message.content }}[SEP]"
    "{% endfor %}{% if add_generation_prompt %}[CLS]assistant\n{% endif %}"
)


class Chat(Writes):
    """Conversations to answers. `lexicon` holds the chat template, and is saved with the model."""

    name = "chat"
    variants = ("torch-fp32", "torch-bf16")
    baseline = None
    head_kind: Literal["clm"] = "clm"
    problem_type = None
    labels: Sequence[str] = ()
    metric = "perplexity"
    metric_words = METRIC_WORDS
    forms = staticmethod(chat_data.forms)
    check = staticmethod(chat_data.check)
    survey = staticmethod(chat_data.survey)
    line = staticmethod(chat_data.line)
    guess = staticmethod(chat_data.guess)

    def __init__(
        self,
        lexicon: Lexicon,
        found: Marks,
        max_tokens: int,
        *,
        longest: int = 256,
        smoothing: float = 0.0,
    ) -> None:
        self.lexicon, self.marks, self.max_tokens = lexicon, found, max_tokens
        self.longest, self.smoothing = longest, smoothing
        self.tokenizer: Tokenizer = lexicon.tokenizer

    @staticmethod
    def metric_names(recipe: Recipe) -> list[str]:
        """Return the names of the metrics."""
        return list(METRICS)

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        recipe: Recipe,
        tokenizer: Tokenizer,
        others: Mapping[str, Sequence[Record]] | None = None,
    ) -> "Chat":
        """Make the task; RecipeError for a checkpoint without a chat template."""
        own = specials(tokenizer) if recipe.model.from_ is None else None
        if own is not None:
            roles = Roles(bos=own.cls, eos=own.sep, pad=own.pad, cls=own.cls, sep=own.sep)
            lexicon = Lexicon(tokenizer, roles, {"default": _TEMPLATE})
            found = Marks(own.cls, own.sep, own.pad)
        else:
            assert recipe.model.from_ is not None, "one of both"
            lexicon = open_lexicon(resolve(recipe.model.from_))
            if "default" not in lexicon.templates:
                raise RecipeError(
                    [
                        f"model.from: {recipe.model.from_} has no chat template; take its "
                        "instruction-tuned sibling, or put a chat_template.jinja beside it"
                    ]
                )
            found = marks(lexicon)
        return cls(
            lexicon,
            found,
            recipe.data.max_tokens,
            longest=recipe.chat.longest,
            smoothing=recipe.train.label_smoothing,
        )

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], tokenizer: Tokenizer) -> "Chat":
        """Build the task that `to_json` described; CheckpointError where that is no such task."""
        try:
            found = Marks(**raw["marks"])
            # The template is beside it: `open_beside` reads it.
            return cls(Lexicon(tokenizer), found, raw["max_tokens"], longest=raw["longest"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"task.json: not a chat task: {error!r}") from error

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs to answer in the same way."""
        found = asdict(self.marks)
        return {"marks": found, "max_tokens": self.max_tokens, "longest": self.longest}

    def save_beside(self, folder: Path) -> None:
        """Write the tokenizer's files as they came, and the chat template."""
        if self.lexicon.files:
            self.lexicon.save(folder)
        write_text(folder / "chat_template.jinja", self.lexicon.templates["default"])

    def open_beside(self, folder: Path) -> None:
        """Read the chat template; CheckpointError where there is none."""
        self.lexicon = open_lexicon(folder)
        self.tokenizer = self.lexicon.tokenizer
        if "default" not in self.lexicon.templates:
            raise CheckpointError(f"{folder}: no chat template (chat_template.jinja)")

    # Records to batches

    def repaired(self, record: Record) -> Record:
        """Return the record as it is: nothing that was said is changed."""
        return record

    def encode(self, record: Record) -> Example:
        """Return what is read before the answer, and the answer."""
        return self.encode_many([record])[0]

    def encode_many(self, records: Sequence[Record]) -> list[Example]:
        """Return an example a conversation, and one for each answer that needs its own."""
        found: list[Example] = []
        for of, record in enumerate(records):
            try:
                found += self._examples(of, record)
            except DataError as error:
                raise DataError(f"{place(record)}: {error}") from None
        return found

    def _examples(self, of: int, record: Record) -> list[Example]:
        messages, tools = record["messages"], record.get("tools")
        if record.get("answer") is None:
            ids = prompt_ids(self.lexicon, messages, tools)
            return [self._fitted(of, ids, [], None)]
        turns = lessons(self.lexicon, messages, record["answer"], self.marks.eos, tools)
        return [self._fitted(of, turn.prompt, turn.earlier, turn.reply) for turn in turns]

    def _fitted(
        self, of: int, ids: list[int], earlier: list[int], reply: list[int] | None
    ) -> Example:
        """Keep the beginning (who the assistant is) and the end of what is read, count the rest."""
        room = self.max_tokens - min(self.longest, self.max_tokens // 2)  # the rest is the answer's
        kept = ids if len(ids) <= room else [*ids[: room // 4], *ids[len(ids) - room + room // 4 :]]
        lost = len(ids) - len(kept)
        if lost:
            earlier = [at - lost for at in earlier if at - lost > room // 4]
        told = reply if reply is None else reply[: self.max_tokens - len(kept) + 1]
        cut = lost + (0 if reply is None or told is None else len(reply) - len(told))
        target = None if told is None else (tuple(earlier), tuple(told))
        return Example(kept, [0] * len(kept), target, cut=cut, of=of)

    def collate(self, examples: Sequence[Example]) -> "Batch":
        """Pad to one batch; only the assistant's tokens are targets."""
        import torch

        from tael.task.language import packed

        told = [example.target for example in examples if example.target is not None]
        if len(told) < len(examples):
            return packed([[np.array(e.ids, dtype=np.int64)] for e in examples], self.marks.pad)
        whole = [[*e.ids, *e.target[1]] for e in examples]
        made = packed([[np.array(ids[:-1], dtype=np.int64)] for ids in whole], self.marks.pad)
        length, where, targets = made.ids_BT.shape[1], list[int](), list[int]()
        for b, (example, ids) in enumerate(zip(examples, whole, strict=True)):
            earlier, reply = example.target
            places = [*earlier, *range(len(example.ids), len(example.ids) + len(reply))]
            where += [b * length + at - 1 for at in places]
            targets += [ids[at] for at in places]
        return replace(made, targets=torch.tensor(targets), where_N=torch.tensor(where))

    # Batches to loss

    def head(self, config: "ModelConfig") -> "VocabHead":
        """Build the head; RecipeError for a model that does not write, or has too few places."""
        from tael.model.head import VocabHead

        if config.stacks != "decoder":
            raise RecipeError(["task: chat writes; set model.architecture=decoder"])
        return VocabHead(config, "clm")

    # What is written to answers

    def outputs(
        self,
        network: "Network",
        examples: Sequence[Example],
        groups: Sequence[Group],
        tally: Tally | None = None,
    ) -> list[Any]:
        """Return Σ log P of each known answer with its tokens, and (without `tally`) the answer.

        While a run trains only the former: writing hundreds of answers would take longer than it.
        """
        import torch

        found: list[Any] = [(None, None)] * len(examples)
        first = {numbers[0] for numbers in owners(examples)}
        with torch.inference_mode():
            for group in groups:
                known = [n for n in group if examples[n].target is not None]
                likely = self._likelihoods(network, [examples[n] for n in known])
                told = dict(zip(known, likely, strict=True))
                wanted = [n for n in group if n in first] if tally is None else []
                written = self._written(network, [examples[n] for n in wanted])
                texts = dict(zip(wanted, written, strict=True))
                for n in group:
                    found[n] = (told.get(n), texts.get(n))
                if tally is not None:
                    tally.loss -= sum(logprob for logprob, _ in likely)
                    tally.supervised += sum(tokens for _, tokens in likely)
        return found

    def _likelihoods(
        self, network: "Network", examples: Sequence[Example]
    ) -> list[tuple[float, int]]:
        found = []
        for example in examples:
            batch = self.collate([example])
            loss = float(self.objective(network, batch))
            found.append((-loss, int(self.supervised(batch))))
        return found

    def _written(self, network: "Network", examples: Sequence[Example]) -> list[Any]:
        from tael.model.generate import Request, generate
        from tael.model.settings import Settings

        settings = Settings(max_tokens=self.longest, end=(self.marks.eos,))
        requests = [Request(example.ids, settings) for example in examples]
        texts = generate(network, requests, self.tokenizer)
        return [(one.text.strip(), one.end != "length", one.tokens) for one in texts]

    def decode(self, outputs: Sequence[Any], examples: Sequence[Example]) -> list[Answer]:
        """Return what the model says, or how likely it finds what was said, or both."""
        answers: list[Answer] = []
        for numbers in owners(examples):
            answer: Answer = {}
            written = outputs[numbers[0]][1]
            if written is not None:
                answer |= dict(zip(("text", "finished", "tokens"), written, strict=True))
            told = [outputs[n][0] for n in numbers if outputs[n][0] is not None]
            if told:
                logprob, tokens = (sum(part) for part in zip(*told, strict=True))
                answer |= {"log_probability": logprob, "told": tokens}
            answers.append(answer)
        return answers

    def references(self, records: Sequence[Record]) -> list[str]:
        """Return what the assistant said."""
        return [chat_data.said(record["answer"]) for record in records]

    def check_known(self, split: str, records: Sequence[Record]) -> None:
        """Raise DataError for conversations without an answer to compare with."""
        for record in records:
            if record.get("answer") is None:
                raise DataError(f"{place(record)}: no answer of the assistant in {split}")

    def outcomes(self, answers: Sequence[Answer], references: Sequence[Any]) -> Outcomes:
        """Lay answers beside references, to be measured on any draw of the records."""
        return outcomes(answers, references)

    def metrics(self, answers: Sequence[Answer], references: Sequence[Any]) -> dict[str, float]:
        """Return perplexity, and where answers were written how many stopped and how alike."""
        return figures(self.outcomes(answers, references))

    def mistake(self, answer: Answer, reference: Any) -> tuple[str, str, float]:
        """Return what was said, what the model says, and the loss a token."""
        loss = -answer.get("log_probability", math.nan) / max(1, answer.get("told", 1))
        return str(reference)[:200], str(answer.get("text", ""))[:200], loss

    def baselines(self, train: Sequence[Record], dev: Sequence[Record]) -> dict[str, Predictor]:
        """Return nothing: nobody would answer a conversation without a model."""
        return {}

    def lesson(self, record: Record, example: Example) -> Lesson:
        """Return where earlier answers are learned, and the answer."""
        earlier, reply = example.target or ((), ())
        names = [self.tokenizer.id_to_token(id_) or f"<{id_}>" for id_ in example.ids]
        told = f"{len(earlier) + len(reply)} tokens of the assistant"
        return Lesson({at - 1: names[at] for at in earlier}, told, written=list(reply))

    def request_model(self) -> "type[BaseModel]":
        """Return what one record of a request looks like."""
        return ChatRecord

    def response_model(self) -> "type[BaseModel]":
        """Return what one answer looks like."""
        return ChatAnswer
