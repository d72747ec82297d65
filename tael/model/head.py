"""What turns vectors into scores: for masked tokens, for classes, or for nothing but a summary.

Each head is called with the hidden states, the positions wanted (None: see each one) and the
token embedding, so that a network needs not know which head it carries.

Letters: B rows · T positions · N chosen positions · D hidden · V vocabulary · C classes.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from tael.model.config import ModelConfig
from tael.model.ffn import activation
from tael.model.norm import layer_norm

__all__ = ["ClassifyHead", "Head", "HeadKind", "MaskedHead", "PoolHead"]

HeadKind = Literal["classify", "mlm", "pool", "none"]


class PoolHead(nn.Module):
    """A summary of each document: dense and tanh on its first token."""

    kind: ClassVar[HeadKind] = "pool"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.hidden)

    def forward(self, hidden_BTD: Tensor, where_N: Tensor | None, embedding_VD: Tensor) -> Tensor:
        """Return (N, D), by default of the first token of each row."""
        first_ND = hidden_BTD[:, 0] if where_N is None else hidden_BTD.flatten(0, 1)[where_N]
        return torch.tanh(self.dense(first_ND))


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
        self.pooler = PoolHead(config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden, classes)
        self.scale, self.center = scale, center

    def forward(self, hidden_BTD: Tensor, where_N: Tensor | None, embedding_VD: Tensor) -> Tensor:
        """Return logits (N, C), by default from the first token of each row."""
        pooled_ND = self.dropout(self.pooler(hidden_BTD, where_N, embedding_VD))
        logits_NC: Tensor = self.classifier(pooled_ND)
        if self.scale != 1.0 or self.center != 0.0:
            logits_NC = logits_NC * self.scale + self.center
        return logits_NC


class MaskedHead(nn.Module):
    """A score for each token of the vocabulary; its last matrix is the token embedding itself."""

    kind: ClassVar[HeadKind] = "mlm"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.hidden)
        self.activation = activation(config.activation)
        self.norm = layer_norm(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab))

    def forward(self, hidden_BTD: Tensor, where_N: Tensor | None, embedding_VD: Tensor) -> Tensor:
        """Return logits (N, V) at the chosen positions only, or (B, T, V) at all of them."""
        x_ND = hidden_BTD if where_N is None else hidden_BTD.flatten(0, 1)[where_N]
        x_ND = self.norm(self.activation(self.dense(x_ND)))
        return nn.functional.linear(x_ND, embedding_VD, self.bias)


Head = ClassifyHead | MaskedHead | PoolHead
