"""Vectors of texts: like texts near each other, learned from pairs, scored pairs or triples.

A text is read by itself, so its vector can be kept and searched. Reimers & Gurevych 2019,
Sentence-BERT, arXiv:1908.10084. A text's vector is the mean of its tokens' states (or the first, or
the last) brought to length 1; two texts are as alike as the cosine of theirs.

Letters: B records · K texts a record · T positions · N texts · E size of a vector.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from tokenizers import Tokenizer

from tael.data.clean import CHANGING, repair
from tael.data.record import Record
from tael.data.tokenizer import specials
from tael.errors import CheckpointError, RecipeError
from tael.recipe.schema import Clean, Recipe
from tael.task import embed_data
from tael.task.answer import finite
from tael.task.base import Answer, Example, Group, Lesson, Predictor, Tally
from tael.task.embed_data import METRICS, TEXTS, Lessons, scale, taught, texts_of
from tael.task.embed_wire import Embedded, EmbedPair, EmbedTriple
from tael.task.nearness import Alike, nearer, ranks, retrieved
from tael.task.outcomes import Outcomes, figures

if TYPE_CHECKING:
    from torch import Tensor

    from tael.model.batch import Batch
    from tael.model.config import ModelConfig
    from tael.model.head import VectorHead
    from tael.model.network import Network
    from tael.model.sentence import Pooling

__all__ = ["Embed"]

_POOLS = {"mean": "mean", "cls": "cls", "last": "lasttoken"}  # → sentence-transformers' words


_SPECIAL = 0.01  # what [CLS] and [SEP] count at first, which stand in every text


class Embed:
    """Texts to vectors.

    `teaches` is what the records are; a score of `low` is a cosine of 0 and one of `high` of 1.
    `temperature` divides cosines where texts are told apart; `sizes` are the shorter vectors that
    shall do as well (Matryoshka). `micro` texts are computed at once: the loss couples the whole
    batch, so it is not cut, and the gradient of a part is computed when it is needed.
    """

    name = "embed"
    variants = ("torch-fp32", "torch-bf16")
    baseline = "tfidf"
    head_kind: Literal["none"] = "none"
    metric_words: Mapping[str, str] = {}
    labels: Sequence[str] = ()
    problem_type = None
    coupled = True
    forms = staticmethod(embed_data.forms)
    check = staticmethod(embed_data.check)
    survey = staticmethod(embed_data.survey)
    line = staticmethod(embed_data.line)
    guess = staticmethod(embed_data.guess)

    def __init__(
        self,
        tokenizer: Tokenizer,
        teaches: Lessons,
        max_tokens: int,
        *,
        pool: Literal["mean", "cls", "last"] = "mean",
        low: float = 0.0,
        high: float = 1.0,
        temperature: float = 0.05,
        sizes: Sequence[int] = (),
        micro: int = 32,
        repairs: Clean | None = None,
    ) -> None:
        self.tokenizer, self.teaches, self.max_tokens = tokenizer, teaches, max_tokens
        self.pool, self.low, self.high = pool, low, high
        self.temperature, self.sizes, self.micro = temperature, tuple(sizes), micro
        self.repairs = repairs or Clean()
        self.metric = METRICS[teaches][0]
        self.folder: Path | None = None  # the model's own, which may say more about its vectors
        self.rare: list[float] | None = None  # how much each unit counts at first
        self._head: VectorHead | None = None
        self._specials = specials(tokenizer)

    @staticmethod
    def metric_names(recipe: Recipe) -> list[str]:
        """Return the names of the metrics that the columns of the recipe may give."""
        if recipe.data.columns.negative is not None:
            return list(METRICS["triples"])
        return [*METRICS["score"], *METRICS["pairs"]]

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        recipe: Recipe,
        tokenizer: Tokenizer,
        others: Mapping[str, Sequence[Record]] | None = None,
    ) -> "Embed":
        """Find out what the records teach, and the range of their scores."""
        teaches = taught(records)
        low, high = scale(records, teaches)
        embed, stage = recipe.embed, recipe.train
        task = cls(
            tokenizer,
            teaches,
            recipe.data.max_tokens,
            pool=embed.pool,
            low=low,
            high=high,
            temperature=embed.temperature,
            sizes=embed.sizes,
            micro=stage.micro_batch or stage.batch,
            repairs=recipe.data.clean,
        )
        if embed.weights:
            task.rare = task._rareness(records)
        return task

    def _rareness(self, records: Sequence[Record]) -> list[float]:
        """Return the inverse document frequency of each unit in the texts; of special ones 0.01."""
        texts = [text for record in records for text in texts_of(record)]
        times = Counter(
            id_
            for one in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            for id_ in set(one.ids)
        )
        special = set(astuple(self._specials))
        return [
            _SPECIAL if id_ in special else math.log((1 + len(texts)) / (1 + times[id_])) + 1
            for id_ in range(self.tokenizer.get_vocab_size())
        ]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], tokenizer: Tokenizer) -> "Embed":
        """Build the task that `to_json` described; CheckpointError where that is no such task."""
        teaches, max_tokens, pool = raw.get("teaches"), raw.get("max_tokens"), raw.get("pool")
        if (
            teaches is None
            or teaches not in METRICS
            or not isinstance(max_tokens, int)
            or pool not in _POOLS
        ):
            raise CheckpointError(
                f"task.json: teaches {teaches!r}, max_tokens {max_tokens!r}, pool {pool!r}: not an "
                "embed task"
            )
        repairs = Clean.model_validate(raw.get("repairs", {}))
        low, high = float(raw.get("low", 0)), float(raw.get("high", 1))
        return cls(tokenizer, teaches, max_tokens, pool=pool, low=low, high=high, repairs=repairs)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` needs to answer in the same way."""
        return {
            "teaches": self.teaches,
            "max_tokens": self.max_tokens,
            "pool": self.pool,
            "low": self.low,
            "high": self.high,
            "repairs": self.repairs.model_dump(include=CHANGING),
        }

    def save_beside(self, folder: Path) -> None:
        """Write what makes the model's folder one of sentence-transformers."""
        from tael.model.sentence import save_pooling
        from tael.model.weights import read_sizes

        if (folder / "config.json").is_file():
            hidden = read_sizes(folder).hidden
            save_pooling(folder, _POOLS[self.pool], hidden, self.max_tokens, self._counts())

    def _counts(self) -> dict[str, float] | None:
        """Return how much each unit counts by now; None where all count the same."""
        if self._head is None or self._head.rare is None:
            return None
        units = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        counts_V = self._head.rare.detach().float().exp().tolist()
        return {unit: counts_V[id_] for unit, id_ in units}

    def open_beside(self, folder: Path) -> None:
        """Remember the folder: it may say more about its vectors than the task does."""
        self.folder = folder

    # Records to batches

    def repaired(self, record: Record) -> Record:
        """Return the record with its texts repaired as the training texts were; twice is once."""
        fixed = dict(record)
        for role in TEXTS:
            if isinstance(record.get(role), str):
                fixed[role] = repair(record[role], self.repairs)
        return fixed

    def encode(self, record: Record) -> Example:
        """Return one record as ids."""
        return self.encode_many([record])[0]

    def encode_many(self, records: Sequence[Record]) -> list[Example]:
        """Return `[CLS] text [SEP]` of each text; the first in `ids`, the others in `note`."""
        texts = [text for record in records for text in texts_of(record)]
        encoded = iter(self.tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        examples = []
        for of, record in enumerate(records):
            ids = [next(encoded).ids for _ in texts_of(record)]
            kept = [self._wrapped(one) for one in ids]
            cut = sum(map(len, ids)) + 2 * len(ids) - sum(map(len, kept))
            examples.append(
                Example(kept[0], [0] * len(kept[0]), self._target(record), cut, of, kept[1:])
            )
        return examples

    def _wrapped(self, ids: list[int]) -> list[int]:
        return [self._specials.cls, *ids[: self.max_tokens - 2], self._specials.sep]

    def _target(self, record: Record) -> float | None:
        if self.teaches == "score":
            score = record.get("score")
            return None if score is None else (float(score) - self.low) / (self.high - self.low)
        return float(record.get("label", 1)) if len(texts_of(record)) > 1 else None

    def collate(self, examples: Sequence[Example]) -> "Batch":
        """Pad all texts of all examples to one batch: all first texts, all second, all third.

        Where one example has fewer texts than others, a bare `[CLS] [SEP]` stands for it.
        """
        import torch

        from tael.model.batch import Batch

        count = max(1 + len(example.note) for example in examples)
        bare = self._wrapped([])
        rows = [_part(example, k, bare) for k in range(count) for example in examples]
        lengths = [len(row) for row in rows]
        ids_NT = np.full((len(rows), max(lengths)), self._specials.pad, dtype=np.int64)
        for n, row in enumerate(rows):
            ids_NT[n, : len(row)] = row
        documents_NT = np.arange(max(lengths)) < np.array(lengths)[:, None]
        targets = None
        if all(example.target is not None for example in examples):
            targets = torch.tensor([example.target for example in examples], dtype=torch.float32)
        return Batch(
            torch.from_numpy(ids_NT),
            torch.from_numpy(documents_NT.astype(np.int32)),
            targets=targets,
            size=len(examples),
            tokens=sum(lengths),
            layout="full" if min(lengths) == max(lengths) else "padded",
        )

    # Batches to loss

    def head(self, config: "ModelConfig") -> "VectorHead":
        """Return what makes vectors of states, without weights; RecipeError for long texts."""
        from tael.model.head import VectorHead

        if config.position == "learned" and self.max_tokens > config.max_positions:
            raise RecipeError(
                [
                    f"data.max_tokens: {self.max_tokens} is above the model's "
                    f"{config.max_positions} positions; set data.max_tokens={config.max_positions}"
                ]
            )
        self._head = VectorHead(self.pooling, self.rare)
        return self._head

    @cached_property
    def pooling(self) -> "Pooling":
        """What makes a vector of states: as the model's own folder says, else as the recipe."""
        from tael.model.sentence import Pooling, pooling

        said = None if self.folder is None else pooling(self.folder)
        return said or Pooling(modes=(_POOLS[self.pool],))

    def logits(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return the vectors (N, E) of all texts of a batch, float32, of length 1."""
        from tael.model.head import VectorHead

        if isinstance(network.head, VectorHead):  # being trained
            return network.logits(batch)
        counted_BT = self.pooling.counted(batch.ids_BT, (batch.documents_BT > 0).int())
        return self.pooling(network(batch), counted_BT)

    def loss(self, logits: "Tensor", batch: "Batch") -> "Tensor":
        """Return the loss of the vectors (N, E), summed over the records.

        Scores: the squared error of the cosine. Pairs and triples: cross-entropy of finding the
        right text among all second and third texts of the batch.
        """
        from tael.task.contrast import nested

        return nested(logits, self.sizes, lambda vectors_NE: self._loss(vectors_NE, batch))

    def _loss(self, vectors_NE: "Tensor", batch: "Batch") -> "Tensor":
        import torch

        from tael.task.contrast import cosine_error, in_batch

        assert batch.targets is not None, "a batch without targets has no loss"
        first_BE, second_BE, *third = vectors_NE.chunk(len(vectors_NE) // batch.size)
        if self.teaches == "score":
            return cosine_error((first_BE * second_BE).sum(dim=-1), batch.targets)
        owner_N = _owners(batch.ids_BT)
        if third:  # the label says which of the two is nearer
            swap_B1 = (batch.targets == 2)[:, None]
            near_BE = torch.where(swap_B1, third[0], second_BE)
            far_BE = torch.where(swap_B1, second_BE, third[0])
            a_B, b_B, c_B = owner_N.chunk(len(owner_N) // batch.size)
            owners = torch.where(swap_B1[:, 0], c_B, b_B), torch.where(swap_B1[:, 0], b_B, c_B)
            candidates_NE = torch.cat([near_BE, far_BE])
            return in_batch(first_BE, candidates_NE, a_B, torch.cat(owners), self.temperature)
        a_B, b_B = owner_N.chunk(len(owner_N) // batch.size)
        return in_batch(first_BE, second_BE, a_B, b_B, self.temperature)

    def objective(self, network: "Network", batch: "Batch") -> "Tensor":
        """Return the loss, the network run over `micro` texts at a time.

        Only the vectors of a part are kept; its states are computed again when its gradient is,
        with the same dropout. So memory is that of a part, and the result does not depend on how
        large a part is: gradient caching (Gao et al. 2021, arXiv:2101.06983, section 3).
        """
        import torch
        from torch.utils.checkpoint import checkpoint

        parts = _rows(batch, self.micro)
        if len(parts) == 1:
            return self.loss(self.logits(network, batch), batch)
        vectors = [checkpoint(self.logits, network, part, use_reentrant=False) for part in parts]
        return self.loss(torch.cat(vectors), batch)

    def supervised(self, batch: "Batch") -> float:
        """Return the number of records."""
        return 0.0 if batch.targets is None else float(batch.size)

    # Vectors to answers

    def outputs(
        self,
        network: "Network",
        examples: Sequence[Example],
        groups: Sequence[Group],
        tally: Tally | None = None,
    ) -> list[NDArray[np.float32]]:
        """Return the vectors (K, E) of each example's texts."""
        import torch

        found: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(examples)
        with torch.inference_mode():
            for group in groups:
                mine = [examples[n] for n in group]
                batch = self.collate(mine)
                vectors_NE = self.logits(network, batch)
                if tally is not None:
                    tally.loss += float(self.loss(vectors_NE, batch))
                    tally.supervised += self.supervised(batch)
                each_KBE = vectors_NE.cpu().numpy().reshape(-1, len(mine), vectors_NE.shape[1])
                each_BKE = each_KBE.swapaxes(0, 1)
                for n, example, one_KE in zip(group, mine, each_BKE, strict=True):
                    found[n] = one_KE[: 1 + len(example.note)]
        return found

    def decode(
        self, outputs: Sequence[NDArray[np.float32]], examples: Sequence[Example]
    ) -> list[Answer]:
        """Return the vector of a single text, the score of two, the nearer of three.

        Where pairs are found among many, the vectors of both come with the score.
        """
        return [self._answer(finite(one_KE)) for one_KE in outputs]

    def _answer(self, vectors_KE: NDArray[np.float64]) -> Answer:
        if len(vectors_KE) == 1:
            return {"vector": vectors_KE[0].tolist()}
        cosines = (vectors_KE[1:] @ vectors_KE[0]).tolist()
        if len(cosines) == 2:
            return {"nearer": 1 + int(cosines[1] > cosines[0]), "scores": cosines}
        answer: Answer = {"score": cosines[0]}
        return answer | ({"vectors": vectors_KE.tolist()} if self.teaches == "pairs" else {})

    def references(self, records: Sequence[Record]) -> list[Any]:
        """Return the score of each pair, the second text, or the number of the nearer one."""
        if self.teaches == "score":
            return [float(record["score"]) for record in records]
        role = "text_pair" if self.teaches == "pairs" else "label"
        return [record.get(role, 1) for record in records]

    def check_known(self, split: str, records: Sequence[Record]) -> None:
        """Raise DataError for records that lack a text or the score."""
        embed_data.check_known(split, records, self.teaches)

    def outcomes(self, answers: Sequence[Answer], references: Sequence[Any]) -> Outcomes:
        """Lay answers beside references, to be measured on any draw of the records.

        Pairs: each first text looks for its own among the second texts of all these records.
        """
        if self.teaches == "score":
            cosines = [answer["score"] for answer in answers]
            return Alike(np.array(references, float), np.array(cosines, float))
        if self.teaches == "triples":
            pairs = zip(answers, references, strict=True)
            return nearer([answer["nearer"] == truth for answer, truth in pairs])
        vectors_NKE = np.array([answer["vectors"] for answer in answers], float)
        distinct, first, own_N = np.unique(references, return_index=True, return_inverse=True)
        assert len(distinct) == len(first), "one candidate a text, however often it stands there"
        return retrieved(ranks(vectors_NKE[:, 0], vectors_NKE[first, 1], own_N))

    def metrics(self, answers: Sequence[Answer], references: Sequence[Any]) -> dict[str, float]:
        """Return every metric of this kind of record."""
        return figures(self.outcomes(answers, references))

    def mistake(self, answer: Answer, reference: Any) -> tuple[str, str, float]:
        """Return truth, answer, and how far the cosine is from what the score asks for."""
        if self.teaches == "score":
            asked = (reference - self.low) / (self.high - self.low)
            return f"{reference:g}", f"cosine {answer['score']:.3f}", abs(asked - answer["score"])
        if self.teaches == "triples":
            gap = abs(answer["scores"][0] - answer["scores"][1])
            wrong = answer["nearer"] != reference
            return f"text {reference}", f"text {answer['nearer']}", gap if wrong else 0.0
        return str(reference), f"cosine {answer['score']:.3f}", 1 - answer["score"]

    def baselines(self, train: Sequence[Record], dev: Sequence[Record]) -> dict[str, Predictor]:
        """Return the cosine of TF-IDF, of words or characters, whichever dev prefers."""
        from tael.task.grams import SharedWords

        return {"tfidf": SharedWords.chosen(self, train, dev)}

    def lesson(self, record: Record, example: Example) -> Lesson:
        """Return what is learned from a record; it is shown at the first token, of all of them."""
        told = {"score": "a cosine of", "pairs": "found among the batch",
                "triples": "nearer to text"}[self.teaches]  # fmt: skip
        value = "" if example.target is None or self.teaches == "pairs" else f" {example.target:g}"
        return Lesson({0: f"{told}{value}"}, f"{told}{value}")

    def request_model(self) -> type[BaseModel]:
        """Return what one record of a request looks like."""
        return EmbedTriple if self.teaches == "triples" else EmbedPair

    def response_model(self) -> type[BaseModel]:
        """Return what one answer looks like: of one text, of two, of three."""
        return Embedded


def _part(example: Example, k: int, bare: list[int]) -> list[int]:
    texts = [example.ids, *example.note]
    return texts[k] if k < len(texts) else bare


def _owners(ids_NT: "Tensor") -> "Tensor":
    """Return the same number for rows that hold the same ids."""
    import torch

    owner_N: Tensor = torch.unique(ids_NT, dim=0, return_inverse=True)[1]
    return owner_N


def _rows(batch: "Batch", count: int) -> "list[Batch]":
    """Cut a batch into parts of `count` rows, each as long as its longest."""
    from dataclasses import replace

    parts = []
    for start in range(0, len(batch.ids_BT), count):
        documents_BT = batch.documents_BT[start : start + count]
        length = int((documents_BT > 0).sum(dim=1).max())
        parts.append(
            replace(
                batch,
                ids_BT=batch.ids_BT[start : start + count, :length],
                documents_BT=documents_BT[:, :length],
                layout="padded",
            )
        )
    return parts
