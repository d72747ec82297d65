"""What training will take in time, memory and money, guessed before any of it is spent.

Arithmetic: 6 operations a parameter and token, 2 forward and 4 backward (Kaplan et al. 2020,
arXiv:2001.08361, 2.1), and attention's products beside them. Memory: `tael.train.memory`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tael.data.record import Record
from tael.machine.probe import Machine, cores, remembered
from tael.machine.tariff import training_cost
from tael.model.config import ModelConfig
from tael.recipe.schema import Recipe, Stage
from tael.train.memory import available_bytes, predict

__all__ = ["Estimate", "Load", "Sizes", "estimate"]

_PEAK_PER_CORE = 50.0  # GFLOP/s in float32, where this machine was not measured yet
# Share of the measured peak of matrix products that training small models reached: a model of 4
# layers and 256 wide on rows of 96 tokens did 2,670 tokens a second in float32 on one core, 5,700
# in bfloat16 on two. In bfloat16 the products are quick, and what is not a product weighs more.
_REACHED = {"float32": 0.6, "bfloat16": 0.3}
_SCORING = 1.15  # dev and train are scored on the way, for about this share of training's time


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model that decide its cost."""

    hidden: int
    layers: int
    ffn: int
    vocab: int
    config: ModelConfig | None = None  # all of it, where it is known

    @property
    def blocks(self) -> int:
        """Parameters that every token meets."""
        return self.layers * (4 * self.hidden * self.hidden + 2 * self.hidden * self.ffn)

    @property
    def whole(self) -> ModelConfig:
        """All sizes and parts; those that are not known as BERT has them."""
        heads = max(1, self.hidden // 64)
        return self.config or ModelConfig(self.vocab, self.hidden, self.layers, heads, self.ffn)

    @property
    def parameters(self) -> int:
        """All parameters, embeddings included."""
        return self.blocks + (self.vocab + 514) * self.hidden


@dataclass(frozen=True)
class Load:
    """What one stage computes, whatever computes it."""

    steps: float
    tokens: float
    longest: float  # tokens of its longest row
    flops: float


@dataclass(frozen=True)
class Estimate:
    """A guess at training: real runs differ by a factor of two or so."""

    parameters: int
    tokens: int
    gflops: dict[str, float]  # by stage: what its arithmetic is expected to reach
    measured: bool  # whether that comes from this machine's own measurement
    dtype: dict[str, str]  # by stage
    seconds: float
    cost: float
    memory_bytes: int
    loads: dict[str, Load]  # by stage

    def line(self, currency: str, *, at_least: bool = False) -> str:
        """Return the guess for a reader; `at_least` where not all rows were looked at."""
        speeds = ", ".join(
            f"{stage} {rate:.0f} GFLOP/s in {self.dtype[stage]}"
            for stage, rate in self.gflops.items()
        )
        line = (
            f"estimate: {'at least' if at_least else 'about'} {_duration(self.seconds)} of "
            f"training, {self.memory_bytes / 1e9:.1f} GB of memory, {self.cost:.2g} {currency} "
            f"({self.parameters / 1e6:.1f} M parameters, {self.tokens / 1e6:.1f} M tokens; "
            f"{speeds}, {'from measured peaks' if self.measured else 'assumed'}); "
            f"variants and prices come on top"
        )
        here = available_bytes()
        if here and self.memory_bytes > 0.9 * here:
            line += (
                f"; this machine has {here / 1e9:.1f} GB: set train.micro_batch (and "
                f"pretrain.micro_batch) to a part of batch, or take a smaller model"
            )
        return line


def estimate(recipe: Recipe, train: Sequence[Record], sizes: Sizes) -> Estimate:
    """Guess what training takes, from a sample of the records of `train`."""
    machine = remembered()
    most = recipe.data.max_tokens
    sample = train[:: max(1, len(train) // 500)]
    lengths = [min(most, _guess_tokens(str(record["text"]))) for record in sample]
    mean = sum(lengths) / len(lengths)
    seen = sum(length**2 for length in lengths) / sum(lengths)  # by a token: its own text
    rows = recipe.train.batch * recipe.train.steps if recipe.train.steps else None
    tokens = {"train": mean * (rows or len(train) * (recipe.train.epochs or 3.0))}
    # Pretraining also multiplies by the vocabulary, at the masked positions only.
    head = recipe.pretrain.mask * sizes.vocab * sizes.hidden
    passes = 2 if recipe.train.adversary else 1
    work = {"train": passes * _SCORING * tokens["train"] * _work(sizes, seen)}
    if recipe.pretrain.steps:
        tokens["pretrain"] = recipe.pretrain.steps * recipe.pretrain.batch * most
        work["pretrain"] = tokens["pretrain"] * (_work(sizes, seen) + 6 * head)
    steps = {stage: float(getattr(recipe, stage).steps or 0) for stage in tokens}
    steps["train"] = steps["train"] or tokens["train"] / mean / recipe.train.batch
    longest = {"train": max(lengths), "pretrain": float(most)}
    stages: dict[str, Stage] = {"train": recipe.train, "pretrain": recipe.pretrain}
    dtype = {stage: _dtype(stages[stage], machine) for stage in tokens}
    gflops = {stage: _gflops(dtype[stage], recipe, machine) for stage in tokens}
    seconds = sum(work[stage] / gflops[stage] / 1e9 for stage in tokens)
    return Estimate(
        parameters=sizes.parameters,
        tokens=round(sum(tokens.values())),
        gflops=gflops,
        measured=machine is not None,
        dtype=dtype,
        seconds=seconds,
        cost=training_cost(seconds, recipe.machine.price_per_hour),
        memory_bytes=round(
            max(
                predict(
                    sizes.whole,
                    recipe,
                    stage,
                    dtype=dtype[stage],
                    longest=longest[stage],
                    steps=steps[stage],
                ).total
                for stage in tokens
            )
        ),
        loads={s: Load(steps[s], tokens[s], longest[s], work[s]) for s in tokens},
    )


def _work(sizes: Sizes, length: float) -> float:
    """Return the operations a token in texts of `length` tokens, forward and backward."""
    return 6 * sizes.blocks + 12 * sizes.layers * sizes.hidden * length


def _dtype(stage: Stage, machine: Machine | None) -> str:
    if stage.dtype != "auto":
        return stage.dtype
    return "bfloat16" if machine is not None and machine.bfloat16_faster else "float32"


def _gflops(dtype: str, recipe: Recipe, machine: Machine | None) -> float:
    peak = machine.peaks.gflops.get(dtype) if machine is not None else None
    peak = peak or _PEAK_PER_CORE * cores()
    threads = min(recipe.machine.threads or cores(), cores())
    return _REACHED[dtype] * peak * threads / cores()


def _guess_tokens(text: str) -> float:
    """Guess without a tokenizer: two of three Han characters start a unit, else four letters do."""
    han = sum("\u3400" <= character <= "\u9fff" for character in text)
    return 2 + han / 1.5 + (len(text) - han) / 4


def _duration(seconds: float) -> str:
    if seconds < 60:
        return "a minute" if seconds > 20 else "seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
