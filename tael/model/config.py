"""The sizes of a Transformer, checked: the only thing that a network is built from."""

from dataclasses import dataclass

from tael.errors import CheckpointError

__all__ = ["ACTIVATIONS", "ModelConfig"]

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")
_SIZES = ("vocab", "hidden", "layers", "heads", "ffn", "max_positions", "types")
_SHARES = ("dropout", "attention_dropout", "droppath")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and parts of one Transformer; CheckpointError with all problems where they misfit."""

    vocab: int  # rows of the token embedding
    hidden: int
    layers: int
    heads: int
    ffn: int
    max_positions: int = 512
    types: int = 2  # segments: 0 for the first text, 1 for the second
    activation: str = "gelu"
    norm_eps: float = 1e-12
    dropout: float = 0.1  # on hidden states
    attention_dropout: float = 0.1  # on attention weights
    droppath: float = 0.0  # chance that a residual branch is skipped for a row
    pad: int = 0

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise CheckpointError("model config: " + "; ".join(problems))

    def _problems(self) -> list[str]:
        problems = [
            f"{name} must be a whole number from 1, found {getattr(self, name)!r}"
            for name in _SIZES
            if not _whole(getattr(self, name)) or getattr(self, name) < 1
        ]
        if problems:  # the rules below compute with the sizes
            return problems
        if self.hidden % self.heads:
            problems.append(f"hidden ({self.hidden}) must be divisible by heads ({self.heads})")
        if not _whole(self.pad) or not 0 <= self.pad < self.vocab:
            problems.append(f"pad must be an id below vocab ({self.vocab}), found {self.pad!r}")
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            problems.append(f"activation must be one of {known}, found {self.activation!r}")
        for name in _SHARES:
            share = getattr(self, name)
            if not _number(share) or not 0 <= share < 1:
                problems.append(f"{name} must be from 0 to below 1, found {share!r}")
        if not _number(self.norm_eps) or not 0 < self.norm_eps < 1:
            problems.append(f"norm_eps must be between 0 and 1, found {self.norm_eps!r}")
        return problems

    def parameters(self) -> int:
        """Return the number of parameters without a head: a sum, so nothing is allocated."""
        block = (
            4 * self.hidden * (self.hidden + 1)  # query, key, value, out
            + 2 * self.hidden * self.ffn + self.ffn + self.hidden
            + 4 * self.hidden  # two norms
        )  # fmt: skip
        rows = self.vocab + self.max_positions + self.types + 2  # 2: the norm
        return rows * self.hidden + self.layers * block


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)
