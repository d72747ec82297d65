"""Classification of texts or pairs of texts: one label, several, or a number (regression).

Letters: B rows · T positions · N records · C classes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from tokenizers import Tokenizer

from tael.data.clean import CHANGING, repair
from tael.data.form import labelled_text
from tael.data.record import Record, place
from tael.data.tokenizer import specials
from tael.errors import CheckpointError, DataError, RecipeError
from tael.recipe.schema import Clean, Recipe
from tael.task.answer import finite, read_off
from tael.task.base import Answer, Example, Group, Lesson, Predictor, Tally
from tael.task.classify_wire import answers_of, request_of, response_of
from tael.task.labels import (
    Kind,
    check,
    check_unseen,
    class_weights,
    find_labels,
    line,
    mistake,
    moments,
    number,
    parts,
    survey,
)
from tael.task.metrics import measure, outcomes
from tael.task.outcomes import Outcomes
from tael.task.view import lost_ends

if TYPE_CHECKING:
    from torch import Tensor

    from tael.model.batch import Batch
    from tael.model.config import ModelConfig
    from tael.model.head import ClassifyHead
    from tael.model.network import Network

__all__ = ["Classify"]

_CHARACTERS = 64  # a token kept: what is read of a long text, in characters
_METRICS: dict[Kind, str] = {"single": "accuracy", "multi": "f1", "regression": "r2"}
_PROBLEMS: dict[Kind, str] = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}


class Classify:
    """Texts to labels.

    `labels` fixes the order of the classes; regression has none. `label_smoothing` and
    `class_weights` (one a label) matter for the loss only. `repairs` are made to every text that is
    answered, as they were to the training texts. `pairs`: each record has a second text. `center`
    and `scale` are the mean and the deviation of a regression's targets in train: the network
    learns (target - center) / scale, its head turns that back, so logits are in the user's unit.
    """

    name = "classify"
    variants = ("torch-fp32", "torch-bf16", "onnx-fp32", "onnx-int8", "tfidf", "linear-student")
    baseline = "tfidf"
    head_kind: Literal["classify"] = "classify"
    metric_words: Mapping[str, str] = {}
    forms = staticmethod(labelled_text)
    check = staticmethod(check)
    survey = staticmethod(survey)
    line = staticmethod(line)

    def __init__(
        self,
        tokenizer: Tokenizer,
        labels: Sequence[str],
        kind: Kind,
        max_tokens: int,
        *,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        center: float = 0.0,
        scale: float = 1.0,
        repairs: Clean | None = None,
        pairs: bool = False,
    ) -> None:
        self.tokenizer, self.labels, self.kind = tokenizer, list(labels), kind
        self.max_tokens = max_tokens
        self.label_smoothing, self.class_weights = label_smoothing, class_weights
        self.center, self.scale = center, scale
        self.repairs, self.pairs = repairs or Clean(), pairs
        self.metric = _METRICS[kind]
        self.problem_type = _PROBLEMS[kind]  # transformers' word for `kind`
        self._specials = specials(tokenizer)
        self._index = {label: index for index, label in enumerate(self.labels)}

    @staticmethod
    def metric_names(recipe: Recipe) -> list[str]:
        """Return the names of the metrics of this kind of label."""
        one = {"value": 0.0, "label": "a", "labels": ["a"], "scores": {"a": 1, "b": 0}}
        reference = 0.0 if recipe.data.labels == "regression" else "a"
        # Of two rows that agree nearly every metric is undefined; their names are what is asked.
        return list(measure(recipe.data.labels, [one] * 2, [reference] * 2, ["a", "b"]))

    @staticmethod
    def guess(records: Sequence[Record]) -> list[str] | None:
        """Return None: whatever is no other task's may be this one's."""
        return None

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        recipe: Recipe,
        tokenizer: Tokenizer,
        others: Mapping[str, Sequence[Record]] | None = None,
    ) -> "Classify":
        """Find the labels in the training records; those of `others` (by split) must be among them.

        Raises DataError for labels that are missing, `nan`, `inf`, the only one, or unseen.
        """
        kind = recipe.data.labels
        labels = find_labels(records, kind)
        for split, rows in (others or {}).items():
            check_unseen(rows, labels, split, kind)
        center, scale = moments(records) if kind == "regression" else (0.0, 1.0)
        return cls(
            tokenizer,
            labels,
            kind,
            recipe.data.max_tokens,
            label_smoothing=recipe.train.label_smoothing,
            class_weights=class_weights(records, labels, recipe),
            center=center,
            scale=scale,
            repairs=recipe.data.clean,
            pairs=recipe.data.columns.text_pair is not None,
        )

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], tokenizer: Tokenizer) -> "Classify":
        """Build the task that `to_json` described; CheckpointError where that is no such task."""
        try:
            labels, kind, max_tokens = raw["labels"], raw["kind"], raw["max_tokens"]
        except KeyError as error:
            raise CheckpointError(f"task.json: no {error}, so it is not a classify task") from error
        if kind not in _METRICS or not isinstance(max_tokens, int) or max_tokens < 4:
            raise CheckpointError(
                f"task.json: kind {kind!r}, max_tokens {max_tokens!r}: not a task"
            )
        repairs = Clean.model_validate(raw.get("repairs", {}))
        pairs, names = bool(raw.get("pairs", False)), [str(label) for label in labels]
        return cls(tokenizer, names, kind, max_tokens, repairs=repairs, pairs=pairs)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs to answer in the same way."""
        repairs = self.repairs.model_dump(include=CHANGING)
        return {
            "labels": self.labels,
            "kind": self.kind,
            "max_tokens": self.max_tokens,
            "repairs": repairs,
            "pairs": self.pairs,
        }

    @property
    def classes(self) -> int:
        """Width of the logits."""
        return 1 if self.kind == "regression" else len(self.labels)

    # Records to batches

    def repaired(self, record: Record) -> Record:
        """Return the record with its texts repaired as the training texts were; twice is once."""
        fixed = dict(record)
        for role in ("text", "text_pair"):
            if isinstance(record.get(role), str):
                fixed[role] = repair(record[role], self.repairs)
        return fixed

    def encode(self, record: Record) -> Example:
        """Return one record as ids; DataError for a label that the task does not have."""
        return self.encode_many([record])[0]

    def encode_many(self, records: Sequence[Record]) -> list[Example]:
        """Return `[CLS] text [SEP]`, or `[CLS] text [SEP] text_pair [SEP]`, of each record.

        Longer ones are cut to `max_tokens`, of a pair the longer text first; the loss is counted.
        """
        first = self._ids([str(record["text"]) for record in records])
        pairs = [i for i, record in enumerate(records) if record.get("text_pair") is not None]
        second = dict(
            zip(pairs, self._ids([str(records[i]["text_pair"]) for i in pairs]), strict=True)
        )
        return [
            self._example(i, record, first[i], second.get(i)) for i, record in enumerate(records)
        ]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        # A text of a million characters would be encoded whole to keep its first 128 tokens. No
        # unit is this long, so what is kept is the same.
        most = self.max_tokens * _CHARACTERS
        encoded = self.tokenizer.encode_batch_fast(
            [text[:most] for text in texts], add_special_tokens=False
        )
        return [encoding.ids for encoding in encoded]

    def _unread(self, record: Record, tokens: int) -> int:
        """Estimate the tokens of what `_ids` left out, at the rate of what it read."""
        most = self.max_tokens * _CHARACTERS
        texts = [record[role] for role in ("text", "text_pair") if record.get(role) is not None]
        over = sum(max(0, len(text) - most) for text in texts)
        return round(tokens * over / (sum(map(len, texts)) - over)) if over else 0

    def _example(self, of: int, record: Record, a: list[int], b: list[int] | None) -> Example:
        cls, sep = self._specials.cls, self._specials.sep
        room = self.max_tokens - 2
        if b is None:
            ids = [cls, *a[:room], sep]
            types, whole = [0] * len(ids), len(a) + 2
        else:
            keep_a, keep_b = _share(len(a), len(b), room - 1)
            ids = [cls, *a[:keep_a], sep, *b[:keep_b], sep]
            types, whole = [0] * (keep_a + 2) + [1] * (keep_b + 1), len(a) + len(b) + 3
        cut = whole - len(ids) + self._unread(record, whole)
        return Example(ids, types, self._target(record), cut, of)

    def _target(self, record: Record) -> int | list[float] | float | None:
        label = record.get("label")
        if label is None:
            return None
        if self.kind == "regression":
            return number(str(label))
        found = parts(str(label).strip(), self.kind)
        unknown = [part for part in found if part not in self._index]
        if unknown and unknown != [""]:
            raise DataError(
                f"{place(record)}: label {unknown[0]!r} is not one that the model knows: "
                f"{', '.join(self.labels[:20])}"
            )
        if self.kind == "multi":
            return [float(label in found) for label in self.labels]
        return None if unknown else self._index[found[0]]

    def collate(self, examples: Sequence[Example]) -> "Batch":
        """Pad examples to one batch; its targets are None unless every example has one."""
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
            dtype = torch.int64 if self.kind == "single" else torch.float32
            targets = torch.tensor([example.target for example in examples], dtype=dtype)
        return Batch(
            torch.from_numpy(ids_BT),
            torch.from_numpy(documents_BT.astype(np.int32)),
            torch.from_numpy(types_BT) if types_BT.any() else None,
            targets=targets,
            size=len(examples),
            tokens=sum(lengths),
            layout="full" if min(lengths) == shape[1] else "padded",
        )

    # Batches to loss

    def head(self, config: "ModelConfig") -> "ClassifyHead":
        """Build the head; RecipeError where texts may be longer than the model has positions."""
        from tael.model.head import ClassifyHead

        if self.max_tokens > config.max_positions:
            raise RecipeError(
                [
                    f"data.max_tokens: {self.max_tokens} is above the model's "
                    f"{config.max_positions} positions; set data.max_tokens={config.max_positions}"
                ]
            )
        return ClassifyHead(config, self.classes, scale=self.scale, center=self.center)

    def logits(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return (B, C)."""
        return network.logits(batch)

    def loss(self, logits: "Tensor", batch: "Batch") -> "Tensor":
        """Return the summed cross-entropy (single, multi) or squared error in deviations."""
        import torch.nn.functional as F

        logits_BC, targets = logits.float(), batch.targets
        assert targets is not None, "a batch without labels has no loss"
        weight_C = self._weight_C(logits_BC)
        if self.kind == "single":
            return F.cross_entropy(
                logits_BC,
                targets,
                weight=weight_C,
                reduction="sum",
                label_smoothing=self.label_smoothing,
            )
        if self.kind == "multi":
            soft_BC = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
            return F.binary_cross_entropy_with_logits(
                logits_BC, soft_BC, weight=weight_C, reduction="sum"
            )
        error_B = (logits_BC.squeeze(-1) - targets) / self.scale
        return error_B.square().sum()

    def objective(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return the loss of a batch, summed over its records, in float32."""
        return self.loss(self.logits(network, batch).float(), batch)

    def supervised(self, batch: "Batch") -> float:
        """Return the number (or the weight) of the texts; for multi, of texts times labels."""
        targets = batch.targets
        if targets is None:
            return 0.0
        weight_C = self.class_weights
        if weight_C is None or self.kind == "regression":
            return float(targets.numel())
        if self.kind == "multi":
            return len(targets) * float(sum(weight_C))
        return float(sum(weight_C[target] for target in targets.tolist()))

    def _weight_C(self, logits_BC: "Tensor") -> "Tensor | None":
        return None if self.class_weights is None else logits_BC.new_tensor(self.class_weights)

    # Logits to answers

    def outputs(
        self,
        network: "Network",
        examples: Sequence[Example],
        groups: Sequence[Group],
        tally: Tally | None = None,
    ) -> list[NDArray[np.float32]]:
        """Return the logits (C,) of each example."""
        return read_off(self, network, examples, groups, tally)

    def decode(
        self,
        outputs: Sequence[Any] | NDArray[np.float32],
        examples: Sequence[Example] = (),
    ) -> list[Answer]:
        """Return an answer for each row of (N, C); CheckpointError where a logit is NaN."""
        if len(outputs) == 0:  # no width either
            return []
        logits_NC = finite(np.asarray(outputs))
        return answers_of(logits_NC, self.kind, self.labels)

    def references(self, records: Sequence[Record]) -> list[Any]:
        """Return the true label, list of labels, or number of each record."""
        labels = [str(record["label"]).strip() for record in records]
        if self.kind == "multi":
            return [parts(label, self.kind) for label in labels]
        return [float(label) for label in labels] if self.kind == "regression" else labels

    def check_known(self, split: str, records: Sequence[Record]) -> None:
        """Raise DataError for labels that are missing, or that the model does not know."""
        check_unseen(records, self.labels, split, self.kind)

    def outcomes(self, answers: Sequence[Answer], references: Sequence[Any]) -> Outcomes:
        """Lay answers beside references, to be measured on any draw of the records."""
        return outcomes(self.kind, answers, references, self.labels)

    def mistake(self, answer: Answer, reference: Any) -> tuple[str, str, float]:
        """Return truth, answer, and how wrong: its score, the labels wrong, or the distance."""
        return mistake(answer, reference, self.kind)

    def baselines(self, train: Sequence[Record], dev: Sequence[Record]) -> dict[str, Predictor]:
        """Return {}: the sceptic's model is a variant, made and priced like the others."""
        return {}

    def lesson(self, record: Record, example: Example) -> Lesson:
        """Return the label, which is read off the first token, and what of the texts was cut."""
        texts = tuple(str(record[r]) for r in ("text", "text_pair") if record.get(r) is not None)
        told = self._told(example.target)
        lost = " ¦ ".join(filter(None, lost_ends(self.tokenizer, texts, example)))
        return Lesson({0: told}, told, lost)

    def _told(self, target: Any) -> str:
        if target is None:
            return "none: the record has no label"
        if self.kind == "regression":
            return f"{target:g}, learned as {(target - self.center) / self.scale:.3f} deviations"
        if self.kind == "multi":
            chosen = [label for label, on in zip(self.labels, target, strict=True) if on]
            return f"{' | '.join(chosen) or 'no label'} (of {len(self.labels)} labels)"
        weight = "" if self.class_weights is None else f", weight {self.class_weights[target]:.3g}"
        return f"{self.labels[target]} (class {target + 1} of {len(self.labels)}{weight})"

    def metrics(self, answers: Sequence[Answer], references: Sequence[Any]) -> dict[str, float]:
        """Return every metric of this kind; `task/metrics.py` says which."""
        return measure(self.kind, answers, references, self.labels)

    def request_model(self) -> type[BaseModel]:
        """Return what one record of a request looks like."""
        return request_of(pairs=self.pairs)

    def response_model(self) -> type[BaseModel]:
        """Return what one answer looks like."""
        return response_of(self.kind)


def _share(a: int, b: int, room: int) -> tuple[int, int]:
    """Return how much of two lengths fits `room`, taken from the longer first."""
    keep_a = min(a, max(room - b, (room + 1) // 2))
    return keep_a, min(b, room - keep_a)
