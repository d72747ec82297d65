"""How long, how fast and how a model learns: pretraining on text, training on records."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tael.recipe.section import Section

__all__ = ["Freeze", "Lora", "Paths", "Pretrain", "Stage", "Train", "as_list"]


def as_list(value: Any) -> Any:
    """Return a list of one where there is one."""
    return [value] if isinstance(value, str | Path) else value


# One path or several, in order. Always absolute after loading.
Paths = Annotated[tuple[Path, ...], BeforeValidator(as_list)]
_Beta = Annotated[float, Field(ge=0, lt=1)]
Freeze = Annotated[int, Field(ge=1)] | Literal["embeddings", "body"]
Schedule = Literal[
    "linear", "cosine", "exponential", "polynomial", "inverse-sqrt", "stable", "constant"
]


class Stage(Section):
    """What pretraining and fine-tuning have in common: how long and how fast to learn."""

    rate: float = Field(5e-4, gt=0, description="Peak learning rate.")
    batch: int = Field(32, ge=1, description="Rows per optimiser step.")
    micro_batch: int | None = Field(
        None, ge=1, description="Rows computed at once; the step sums them up. Default: batch."
    )
    warmup: float = Field(
        0.1, ge=0, lt=1, description="Share of the steps over which the rate climbs."
    )
    schedule: Schedule = Field(
        "linear",
        description="How the rate falls after the warm-up; stable: not before the last steps. "
        "`tael check RECIPE --plot-rate` draws it.",
    )
    final_rate: float = Field(
        0.0, ge=0, le=1, description="Share of the peak rate at the end of the schedule."
    )
    power: float = Field(2.0, gt=0, description="Power of the polynomial schedule.")
    restarts: int = Field(
        0, ge=0, description="How often the cosine schedule goes back to the peak and falls anew."
    )
    factor: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="What the exponential schedule multiplies the rate by every `factor_steps` "
        "steps; by default it reaches `final_rate` (or a hundredth of the peak) at the end.",
    )
    factor_steps: int = Field(1000, ge=1, description="Steps from one `factor` to the next.")
    staircase: bool = Field(
        False, description="The rate keeps its value until the next `factor` is due."
    )
    cooldown: float = Field(
        0.2, gt=0, le=1, description="Share of the steps over which the stable schedule falls."
    )
    optimizer: Literal["adamw", "adam", "sgd", "adafactor", "lion", "muon"] = Field(
        "adamw",
        description="How gradients become steps. lion wants a third to a tenth of the rate; the "
        "rate of adafactor is a share of each weight's size; muon leaves embeddings, biases, norms "
        "and the head to adamw.",
    )
    betas: tuple[_Beta, _Beta] | None = Field(
        None,
        description="Memory of the gradient's mean and of its square; default 0.9 and 0.999, of "
        "lion 0.9 and 0.99.",
    )
    eps: float = Field(1e-8, gt=0, description="Added to Adam's divisor.")
    momentum: float | None = Field(
        None, ge=0, lt=1, description="Memory of sgd (default 0.9) and of muon (0.95)."
    )
    clip: float = Field(1.0, ge=0, description="Largest gradient norm; 0 clips nothing.")
    decay: float = Field(
        0.01,
        ge=0,
        description="Weight decay, not on biases and norms: decoupled, but a part of the gradient "
        "with adam and sgd.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Arithmetic; auto takes bfloat16 where this machine was measured faster.",
    )
    save_every: int = Field(200, ge=1, description="Steps between checkpoints.")
    on_bad_step: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        description="What becomes of a step whose loss or gradient is not a number, or that is a "
        "`spike`: stop the run; skip the step; rollback to the last checkpoint and go on behind "
        "the step. It is written to bad_steps/ and counted.",
    )
    spike: float = Field(
        0.0,
        ge=0,
        description="A loss this many robust deviations above the median of the last 64 is a bad "
        "step (10 is rare); 0: none is.",
    )


class Pretrain(Stage):
    """Pretraining on text without labels."""

    text: Paths | None = Field(
        None, description="Text files for pretraining; none: the training texts themselves."
    )
    steps: int = Field(0, ge=0, description="Optimiser steps; 0 pretrains nothing.")
    rate: float = Field(1e-3, gt=0, description="Peak learning rate.")
    batch: int = Field(64, ge=1, description="Packed rows per optimiser step.")
    objective: Literal["auto", "mlm", "clm", "span", "denoise"] = Field(
        "auto",
        description="mlm: hidden tokens (encoder); clm: every next token (decoder); span: hidden "
        "stretches (T5's, encoder-decoder); denoise: a spoilt text whole again (BART's). auto: as "
        "the architecture has it, span for an encoder-decoder.",
    )
    mask: float = Field(0.15, gt=0, lt=1, description="Share of the tokens that are hidden.")
    span: float = Field(
        3.0,
        ge=1,
        description="Mean length, in tokens, of the stretches that span and denoise hide.",
    )


class Lora(Section):
    """Small matrices that learn beside frozen ones (LoRA): a fraction of the memory."""

    rank: int = Field(0, ge=0, description="Rank of each adapter, such as 8; 0: no adapters.")
    alpha: float | None = Field(
        None,
        gt=0,
        description="What an adapter adds is multiplied by alpha / rank; default: as much as rank.",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on what the adapters read.")
    targets: tuple[Literal["q", "k", "v", "out", "gate", "up", "down"], ...] = Field(
        ("q", "v"),
        description="The matrices that get one: queries, keys, values and output of attention; "
        "gate, up and down of the feed-forward layer.",
    )
    dora: bool = Field(False, description="The length of each row learns apart (DoRA).")


class Train(Stage):
    """Supervised training on the labelled records."""

    epochs: float | None = Field(None, gt=0, description="Passes over train (default 3); or steps.")
    steps: int | None = Field(None, ge=1, description="Optimiser steps; or epochs.")
    l1: float = Field(0.0, ge=0, description="L1 penalty on the weights.")
    l2: float = Field(0.0, ge=0, description="L2 penalty on the weights, added to the loss.")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Every layer learns at this share of the rate of the layer above it; the head "
        "has the full rate.",
    )
    parallel: Literal["none", "ddp", "fsdp"] = Field(
        "none",
        description="How the processes that torchrun starts share a step, of pretraining too: "
        "ddp, each holds the model; fsdp, each holds a part of it.",
    )
    freeze: Freeze | None = Field(
        None,
        description="What keeps its weights: the embeddings, with as many of the lowest layers, or "
        "the whole body.",
    )
    lora: Lora = Field(Lora(), description="Adapters in the place of the body's weights.")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Memory of a running mean of the weights (0.999), which is scored and kept in "
        "their place; 0: none.",
    )
    adversary: float = Field(
        0.0,
        ge=0,
        description="How far the token embeddings are moved against the model (FGM; 1.0) for a "
        "second pass over each batch; 0: no second pass.",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of each target spread evenly over the classes."
    )
    class_weights: Literal["none", "balanced"] | dict[str, float] = Field(
        "none", description="Weight of each class in the loss; balanced: inverse to its frequency."
    )
    evaluations: int = Field(
        10, ge=1, description="How often dev is scored over the run; the best weights are kept."
    )
    patience: int = Field(
        0, ge=0, description="Dev scores without a new best before the run stops; 0: never."
    )
    keep_best: int = Field(
        0,
        ge=0,
        description="So many of the best models by dev, and the last, stay as folders best/step-N; "
        "model/ is the best in any case.",
    )

    @model_validator(mode="after")
    def _whole_weights_are_kept(self) -> Self:
        if self.keep_best and (self.lora.rank or self.parallel == "fsdp"):
            raise ValueError(
                "keep_best keeps whole weights: set lora.rank 0, and parallel not fsdp"
            )
        return self

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps exclude each other: keep one")
        return self
