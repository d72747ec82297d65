"""The parts and sizes of a Transformer, checked: the only thing that a network is built from."""

from dataclasses import dataclass, fields
from math import inf
from typing import Literal

from tael.errors import CheckpointError

__all__ = ["ACTIVATIONS", "ModelConfig", "Rescale"]

ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu", "sigmoid", "tanh")
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "stacks": ("encoder", "decoder", "both"),
    "position": ("learned", "sinusoidal", "rotary", "relative", "alibi", "none"),
    "norm": ("layer", "rms"),
    "norm_place": ("post", "pre", "sandwich"),
    "activation": ACTIVATIONS,
    "pool": ("first", "last", "mean"),
    "pool_activation": (*ACTIVATIONS, "none"),
    "vocab_activation": (*ACTIVATIONS, None),
}
_SIZES = (
    "vocab", "hidden", "layers", "heads", "ffn", "max_positions", "sharing", "relative_buckets",
    "relative_distance",
)  # fmt: skip
_SIZES_OR_NONE = ("kv_heads", "head_size", "embedding_size", "decoder_layers", "window")
_ABOVE_0 = (
    "attention_scale", "attention_cap", "logit_cap", "rotary_base", "rotary_base_local",
    "embedding_scale", "logit_scale",
)  # fmt: skip
_SHARES = ("dropout", "attention_dropout", "ffn_dropout", "droppath")


@dataclass(frozen=True)
class Rescale:
    """How rotary positions are stretched beyond the length that was trained.

    linear: positions divided by `factor`; dynamic: the base grows with the length (NTK); llama3:
    slow frequencies are divided, fast ones kept, between `low` and `high` turns in `original`;
    longrope: each frequency is divided by its own number, of `short` while no text of the batch
    has more than `original` positions, else of `long`, and cosines and sines are multiplied by
    `factor` (so in transformers: beyond `original` a text's neighbours matter).
    """

    kind: Literal["linear", "dynamic", "llama3", "longrope"]
    factor: float
    low: float = 1.0
    high: float = 4.0
    original: int = 8192
    short: tuple[float, ...] = ()
    long: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.factor, self.low, self.high, self.original, *self.short, *self.long)
        if not all(map(_number, numbers)) or min(self.factor, self.original) <= 0:
            raise CheckpointError(f"positions are rescaled by numbers above 0, found {numbers}")
        if self.low >= self.high:
            raise CheckpointError(f"low ({self.low}) must be below high ({self.high})")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and parts of one Transformer; CheckpointError with all problems where they misfit.

    The defaults are BERT's. None means: as the obvious other field has it.
    """

    vocab: int  # rows of the token embedding
    hidden: int
    layers: int
    heads: int
    ffn: int
    stacks: Literal["encoder", "decoder", "both"] = "encoder"
    decoder_layers: int | None = None  # of an encoder-decoder; None: as many as the encoder
    sharing: int = 1  # so many layers in a row use one block's weights (ALBERT)
    stacks_shared: bool = False  # the decoder's layers are the encoder's, but for what reads those

    kv_heads: int | None = None  # query heads share keys in groups; 1: multi-query
    head_size: int | None = None
    qk_norm: bool = False
    qkv_bias: bool = True
    out_bias: bool = True
    attention_scale: float | None = None  # of scores; None: 1 / sqrt(head_size)
    attention_cap: float | None = None  # scores become cap · tanh(score / cap)
    window: int | None = None  # keys that a local layer's query sees, itself included
    local: tuple[bool, ...] | None = None  # which layers are local; None: all, if `window` is set

    position: Literal["learned", "sinusoidal", "rotary", "relative", "alibi", "none"] = "learned"
    max_positions: int = 512
    position_offset: int = 0  # rows of the position table before the first token's (RoBERTa: 2)
    rotary_base: float = 10_000.0
    rotary_base_local: float | None = None  # of local layers, which are not rescaled then
    rotary_share: float = 1.0  # of each head's numbers that turn
    rescale: Rescale | None = None
    relative_buckets: int = 32
    relative_distance: int = 128

    norm: Literal["layer", "rms"] = "layer"
    norm_place: Literal["post", "pre", "sandwich"] = "post"
    norm_eps: float = 1e-12
    norm_bias: bool = True
    norm_offset: float = 0.0  # the scale is offset + weight (Gemma: 1)
    first_norm: bool = True  # whether the first layer's attention has a norm (ModernBERT: no)
    embedding_norm: bool = True
    final_norm: bool = False

    activation: str = "gelu"
    gated: bool = False
    ffn_bias: bool = True

    types: int = 2  # segments: 0 for the first text, 1 for the second; 0: the model has none
    embedding_size: int | None = None  # then projected to hidden; None: as wide, no projection
    embedding_scale: float = 1.0
    pad: int = 0

    tied: bool = True  # the scores of tokens come from the token embedding itself
    logit_scale: float = 1.0  # hidden states times this before the vocabulary
    logit_cap: float | None = None
    vocab_transform: bool = True  # dense, activation, norm before the vocabulary (BERT)
    vocab_activation: str | None = None  # of that dense layer; None: as everywhere
    vocab_bias: bool = True
    pool: Literal["first", "last", "mean"] = "first"  # which states a classifier reads
    pool_activation: str = "tanh"  # of a dense layer before the classifier; none: no such layer
    pool_bias: bool = True
    pool_norm: bool = False
    token_dense: bool = False  # the same dense layer and norm before each token's classes
    class_bias: bool = True

    dropout: float = 0.1  # on hidden states
    attention_dropout: float = 0.1  # on attention weights
    ffn_dropout: float = 0.0  # within the feed-forward layer
    droppath: float = 0.0  # chance that a residual branch is skipped for a row

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise CheckpointError("model config: " + "; ".join(problems))

    @property
    def groups(self) -> int:
        """Heads of keys and values."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def width(self) -> int:
        """Numbers in one head."""
        return self.hidden // self.heads if self.head_size is None else self.head_size

    @property
    def token_width(self) -> int:
        """Numbers in one row of the token embedding."""
        return self.hidden if self.embedding_size is None else self.embedding_size

    def depth(self, stack: Literal["encoder", "decoder"]) -> int:
        """Return the number of layers of a stack."""
        own = stack == "decoder" and self.stacks == "both" and self.decoder_layers is not None
        return self.decoder_layers if own and self.decoder_layers else self.layers

    def is_local(self, layer: int) -> bool:
        """Whether a layer sees its window only."""
        return self.window is not None and (self.local is None or self.local[layer])

    def parameters(self) -> int:
        """Return the number of parameters without a head: a sum, so nothing is allocated."""
        norm = self.hidden * (2 if self.norm == "layer" and self.norm_bias else 1)
        around = self.vocab * self.token_width
        stacks: tuple[Literal["encoder", "decoder"], ...] = (
            ("encoder", "decoder") if self.stacks == "both" else ("encoder",)
        )
        for stack in stacks:
            if self.embedding_size is not None:
                around += (self.token_width + 1) * self.hidden
            around += self.types * self.token_width
            if self.position == "learned":
                around += (self.max_positions + self.position_offset) * self.token_width
            if self.position == "relative":
                around += self.relative_buckets * self.heads
            if self.embedding_norm:
                around += norm // self.hidden * self.token_width
            around += norm * self.final_norm
            cross = self.stacks == "both" and stack == "decoder"
            blocks = -(-self.depth(stack) // self.sharing)
            around += blocks * self._block(norm, cross)
            if cross and self.stacks_shared:
                around -= blocks * self._block(norm, cross=False)
        return around - (0 if self.first_norm else norm) * len(stacks)

    def _block(self, norm: int, cross: bool) -> int:
        inner, outer = self.groups * self.width, self.heads * self.width
        attention = (
            self.hidden * (outer + 2 * inner) + (outer + 2 * inner) * self.qkv_bias
            + outer * self.hidden + self.hidden * self.out_bias
            + norm * (2 if self.norm_place == "sandwich" else 1)
            + 2 * self.width * self.qk_norm
        )  # fmt: skip
        up = self.ffn * (2 if self.gated else 1)
        ffn = self.hidden * (up + self.ffn) + (up + self.hidden) * self.ffn_bias
        ffn += norm * (2 if self.norm_place == "sandwich" else 1)
        return attention * (2 if cross else 1) + ffn

    def _problems(self) -> list[str]:
        problems = [
            f"{name} must be a whole number from 1, found {value!r}"
            for name in (*_SIZES, *_SIZES_OR_NONE)
            if not (name in _SIZES_OR_NONE and getattr(self, name) is None)
            and (not _whole(value := getattr(self, name)) or value < 1)
        ]
        for name in ("types", "position_offset"):
            if not _whole(value := getattr(self, name)) or value < 0:
                problems.append(f"{name} must be a whole number from 0, found {value!r}")
        problems += self._kinds()
        if not problems:  # the rules below compute with the sizes
            problems += self._misfits()
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                known = ", ".join(filter(None, choices))
                problems.append(f"{name} must be one of {known}, found {getattr(self, name)!r}")
        return problems

    def _kinds(self) -> list[str]:
        """Say which switches are no switches and which numbers are no numbers."""
        problems = []
        for part in fields(self):
            value = getattr(self, part.name)
            if part.type is bool and not isinstance(value, bool):
                problems.append(f"{part.name} must be true or false, found {value!r}")
            optional = value is None and part.type is not float
            if part.type in (float, float | None) and not optional and not _number(value):
                problems.append(f"{part.name} must be a number, found {value!r}")
            elif part.name in _ABOVE_0 and not optional and value <= 0:
                problems.append(f"{part.name} must be above 0, found {value!r}")
        return problems

    def _misfits(self) -> list[str]:
        problems = []
        if self.head_size is None and self.hidden % self.heads:
            problems.append(f"hidden ({self.hidden}) must be divisible by heads ({self.heads})")
        if self.heads % self.groups:
            problems.append(f"heads ({self.heads}) must be divisible by kv_heads ({self.groups})")
        if self.position == "rotary":
            problems += self._rotary_misfits(int(self.width * self.rotary_share))
        if self.position == "relative" and not 2 <= self.relative_buckets // 2 < (
            self.relative_distance
        ):
            problems.append(
                f"relative_buckets ({self.relative_buckets}) must be from 4 to below twice "
                f"relative_distance ({self.relative_distance})"
            )
        if self.stacks_shared and self.depth("decoder") != self.layers:
            problems.append(
                f"stacks share their layers where they have as many: {self.layers} in the encoder, "
                f"{self.depth('decoder')} in the decoder"
            )
        if self.local is not None and len(self.local) != self.layers:
            problems.append(f"local names {len(self.local)} layers, there are {self.layers}")
        if not _whole(self.pad) or not 0 <= self.pad < self.vocab:
            problems.append(f"pad must be an id below vocab ({self.vocab}), found {self.pad!r}")
        for name in _SHARES:
            share = getattr(self, name)
            if not _number(share) or not 0 <= share < 1:
                problems.append(f"{name} must be from 0 to below 1, found {share!r}")
        if not _number(self.norm_eps) or not 0 < self.norm_eps < 1:
            problems.append(f"norm_eps must be between 0 and 1, found {self.norm_eps!r}")
        return problems

    def _rotary_misfits(self, size: int) -> list[str]:
        if size % 2 or not 2 <= size <= self.width:
            return [f"rotary positions turn pairs, of {size} numbers of a head of {self.width}"]
        if self.rescale is None:
            return []
        kind, lists = self.rescale.kind, (self.rescale.short, self.rescale.long)
        if kind == "longrope" and any(len(one) != size // 2 or min(one) <= 0 for one in lists):
            return [f"longrope needs two lists of {size // 2} numbers above 0"]
        if kind == "dynamic" and size < 4:
            return ["rotary positions that grow turn more than one pair"]
        return []


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) < inf
