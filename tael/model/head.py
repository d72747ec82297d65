"""What turns vectors into scores: for tokens of the vocabulary, for classes, or for a summary.

Each head is called with the hidden states, the batch they come from and the token embedding, so
that a network needs not know which head it carries.

Letters: B rows · T positions · N chosen positions · D hidden · V vocabulary · C classes.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tael.model.batch import Batch
from tael.model.config import ModelConfig
from tael.model.cross_entropy import summed_cross_entropy
from tael.model.dropout import Dropout
from tael.model.ffn import activation
from tael.model.norm import norm

__all__ = ["ClassifyHead", "Head", "HeadKind", "PoolHead", "TokenHead", "VectorHead", "VocabHead"]

HeadKind = Literal["classify", "mlm", "clm", "seq2seq", "tag", "qa", "pool", "none"]


class PoolHead(nn.Module):
    """A summary of each document: dense and tanh on its first token (or as the config says)."""

    kind: ClassVar[HeadKind] = "pool"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pool = config.pool
        self.dense = nn.Linear(config.hidden, config.hidden, bias=config.pool_bias)
        self.activation = activation(config.pool_activation)
        self.norm = norm(config) if config.pool_norm else nn.Identity()

    def forward(self, hidden_BTD: Tensor, batch: Batch, embedding_VD: Tensor) -> Tensor:
        """Return (N, D), by default one a row."""
        x_ND = pooled(hidden_BTD, batch, self.pool)
        x_ND = self.activation(self.dense(x_ND))
        normed_ND: Tensor = self.norm(x_ND)
        return normed_ND


class ClassifyHead(nn.Module):
    """A score for each class (or one number) from the summary of a document.

    `scale` and `center` put numbers back into the user's unit: regression learns targets of mean 0
    and variance 1. They are folded into the weights when these are saved.
    """

    kind: ClassVar[HeadKind] = "classify"

    def __init__(
        self, config: ModelConfig, classes: int, *, scale: float = 1.0, center: float = 0.0
    ) -> None:
        super().__init__()
        self.pool = config.pool
        self.pooler = PoolHead(config) if config.pool_activation != "none" else None
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden, classes, bias=config.class_bias)
        self.scale, self.center = scale, center

    def forward(self, hidden_BTD: Tensor, batch: Batch, embedding_VD: Tensor) -> Tensor:
        """Return logits (N, C), by default one a row."""
        if self.pooler is None:
            x_ND = pooled(hidden_BTD, batch, self.pool)
        else:
            x_ND = self.pooler(hidden_BTD, batch, embedding_VD)
        logits_NC: Tensor = self.classifier(self.dropout(x_ND))
        if self.scale != 1.0 or self.center != 0.0:
            logits_NC = logits_NC * self.scale + self.center
        return logits_NC


class TokenHead(nn.Module):
    """A score for each class at every position: tags, or (of two classes) where an answer lies."""

    def __init__(self, config: ModelConfig, classes: int, kind: Literal["tag", "qa"]) -> None:
        super().__init__()
        self.kind: HeadKind = kind
        self.dense = None
        if config.token_dense:
            self.dense = nn.Linear(config.hidden, config.hidden, bias=config.pool_bias)
            self.activation = activation(config.pool_activation)
            self.norm = norm(config) if config.pool_norm else nn.Identity()
        self.dropout = Dropout(config.dropout if kind == "tag" else 0.0)
        self.classifier = nn.Linear(config.hidden, classes)

    def forward(self, hidden_BTD: Tensor, batch: Batch, embedding_VD: Tensor) -> Tensor:
        """Return logits (B, T, C), or (N, C) at the chosen positions only."""
        x_ND = chosen(hidden_BTD, batch)
        if self.dense is not None:
            x_ND = self.norm(self.activation(self.dense(x_ND)))
        logits_NC: Tensor = self.classifier(self.dropout(x_ND))
        return logits_NC


class VocabHead(nn.Module):
    """A score for each token of the vocabulary; its last matrix may be the token embedding."""

    kind: HeadKind = "mlm"

    def __init__(self, config: ModelConfig, kind: Literal["mlm", "clm", "seq2seq"] = "mlm") -> None:
        super().__init__()
        self.kind = kind
        self.scale, self.cap = config.logit_scale, config.logit_cap
        size = config.token_width if config.vocab_transform else config.hidden
        if config.vocab_transform:
            self.dense = nn.Linear(config.hidden, size, bias=config.pool_bias)
            self.activation = activation(config.vocab_activation or config.activation)
            self.norm = norm(config, size)
        self.transform = config.vocab_transform
        self.weight = None if config.tied else nn.Parameter(torch.empty(config.vocab, size))
        self.bias = nn.Parameter(torch.zeros(config.vocab)) if config.vocab_bias else None
        self.coded: nn.Module | None = None  # the last matrix (and bias), made small

    def forward(self, hidden_BTD: Tensor, batch: Batch, embedding_VD: Tensor) -> Tensor:
        """Return logits (N, V) at the chosen positions only, or (B, T, V) at all of them."""
        x_ND = self._states(hidden_BTD, batch)
        if self.coded is not None:
            logits_NV: Tensor = self.coded(x_ND)
        else:
            logits_NV = F.linear(x_ND, self._matrix(embedding_VD), self.bias)
        if self.cap is not None:
            logits_NV = self.cap * torch.tanh(logits_NV / self.cap)
        return logits_NV

    def loss(
        self, hidden_BTD: Tensor, batch: Batch, embedding_VD: Tensor, smoothing: float = 0.0
    ) -> Tensor:
        """Return the cross-entropy with `batch.targets`, summed; scores are never held at once."""
        assert batch.targets is not None, "a batch without targets has no loss"
        x_ND = self._states(hidden_BTD, batch).flatten(0, -2)
        return summed_cross_entropy(
            x_ND,
            self._matrix(embedding_VD),
            batch.targets.flatten(),
            self.bias,
            smoothing=smoothing,
            cap=self.cap,
        )

    def _states(self, hidden_BTD: Tensor, batch: Batch) -> Tensor:
        x_ND = chosen(hidden_BTD, batch)
        if self.transform:
            x_ND = self.norm(self.activation(self.dense(x_ND)))
        return x_ND if self.scale == 1.0 else x_ND * self.scale

    def _matrix(self, embedding_VD: Tensor) -> Tensor:
        return embedding_VD if self.weight is None else self.weight


class VectorHead(nn.Module):
    """A vector a row in the place of scores; a bare body is saved, the task keeps the rest.

    `pool` makes vectors (B, E) of states (B, T, D) and of what a token counts, 0 at padding (B, T).
    `rare_V` is how much each unit counts at first; then that is learned. None: all count the same.
    """

    kind: ClassVar[HeadKind] = "none"

    def __init__(
        self, pool: Callable[[Tensor, Tensor], Tensor], rare_V: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.pool = pool
        # By their logarithm: a step of the optimiser multiplies, and no weight is below 0.
        self.rare = None if rare_V is None else nn.Parameter(torch.tensor(rare_V).log())

    def forward(self, hidden_BTD: Tensor, batch: Batch, embedding_VD: Tensor) -> Tensor:
        """Return (B, E), float32."""
        real_BT = (batch.documents_BT > 0).float()
        if self.rare is not None:
            real_BT = real_BT * self.rare.float().exp()[batch.ids_BT]
        return self.pool(hidden_BTD, real_BT)


def chosen(hidden_BTD: Tensor, batch: Batch) -> Tensor:
    """Return the states at `batch.where_N`, (N, D), or all of them."""
    return hidden_BTD if batch.where_N is None else hidden_BTD.flatten(0, 1)[batch.where_N]


def pooled(hidden_BTD: Tensor, batch: Batch, pool: Literal["first", "last", "mean"]) -> Tensor:
    """Return one state a document, (N, D): where the batch says, else one a row as `pool` says."""
    if batch.where_N is not None:
        return chosen(hidden_BTD, batch)
    if pool == "first":
        return hidden_BTD[:, 0]
    real_BT = batch.documents_BT != 0
    if pool == "last":
        at_BT = torch.arange(real_BT.shape[1], device=real_BT.device).expand_as(real_BT)
        last_B = at_BT.masked_fill(~real_BT, 0).max(dim=1).values
        return hidden_BTD[torch.arange(len(last_B), device=last_B.device), last_B]
    share_BT1 = (real_BT / real_BT.sum(dim=1, keepdim=True)).unsqueeze(-1)
    return (hidden_BTD * share_BT1.to(hidden_BTD.dtype)).sum(dim=1)


Head = ClassifyHead | TokenHead | VocabHead | PoolHead | VectorHead
