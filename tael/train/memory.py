"""How much memory a stage of training will hold at its peak, from formulas, before it starts.

A term for everything that is there at once, in the middle of a step, when the backward pass begins:

    process      Python and its libraries, torch with all that it loads at the first step
    weights      in float32; beside them the bfloat16 copies that compute
    gradients    the same once more
    optimizer    what it remembers of each weight
    copies       the best weights by dev, the running mean, the checkpoint being written
    activations  what the layers keep for the backward pass, for the rows computed at once
    scores       of the vocabulary, a part at a time

Nothing here imports torch. Letters: N positions · H hidden · F ffn · T length · A heads.
"""

from dataclasses import asdict, dataclass

from tael.errors import RunError
from tael.machine.probe import memory_bytes
from tael.model.config import ModelConfig
from tael.recipe.schema import Pretrain, Recipe, Stage, Train

__all__ = ["Memory", "available_bytes", "predict", "require"]

_PROCESS = 410e6
# Numbers that a layer keeps of each position, counted by torch's hooks on saved tensors: inputs of
# its products, norms and bends, queries, keys, values, and their probabilities.
_HIDDEN, _HIDDEN_DROPOUT, _HIDDEN_ROTARY, _HIDDEN_RMS = 8, 2, 2, 2  # rms: in bfloat16
_FFN, _GATE = 2, 2
_PAIRS, _PAIRS_DROPOUT = 1, 2
# What the backward pass of one layer holds beside that, and the embedding: measured.
_PASSING_HIDDEN, _PASSING_FFN = 7, 8
_UNRETURNED = 1.1  # what the allocator holds over what is asked of it: measured
# Numbers that each optimiser remembers of a weight; adafactor has rows and columns only.
_REMEMBERED = {"adamw": 2, "adam": 2, "sgd": 1, "lion": 1, "muon": 1, "adafactor": 0}
_SCORES = 32e6  # scores that are computed as one product


@dataclass(frozen=True, slots=True)
class Memory:
    """The most that a stage holds, in bytes, by what holds it."""

    process: float
    weights: float
    gradients: float
    optimizer: float
    copies: float
    activations: float
    scores: float

    @property
    def total(self) -> float:
        """The sum: resident bytes at the peak."""
        return float(sum(asdict(self).values()))


def predict(
    config: ModelConfig,
    recipe: Recipe,
    name: str,
    *,
    dtype: str,
    longest: float,
    steps: float,
    rows: int | None = None,
) -> Memory:
    """Return what stage `name` (pretrain or train) of `recipe` holds at its peak.

    `longest` is the length in tokens of the longest row; `dtype` the arithmetic that is chosen;
    `steps` how many there are, for a checkpoint is only written after `save_every`; `rows` those
    computed at once, by default as the recipe has it.
    """
    stage: Stage = recipe.train if name == "train" else recipe.pretrain
    rows = rows or min(stage.micro_batch or stage.batch, stage.batch)
    weights, learned = float(config.parameters()), _learned(config, stage)
    width = 2 if dtype == "bfloat16" else 4
    both = 4 + width if width == 2 else 4  # the masters, and what computes
    moments = _moments(config, stage, learned)
    mean = 4 * learned if isinstance(stage, Train) and stage.average else 0.0
    watched = recipe.data.dev is not None or recipe.data.split[1] > 0
    copies = mean + (4 * learned if isinstance(stage, Train) and watched else 0.0)
    if steps >= stage.save_every:
        copies += 4 * learned + moments + mean
    positions = rows * longest
    return Memory(
        process=_PROCESS,
        weights=both * weights,
        gradients=both * learned,
        optimizer=moments,
        copies=copies,
        activations=positions * _kept(config, stage, longest, width),
        scores=_scored(config, stage, positions, width),
    )


def require(needed: Memory, name: str) -> None:
    """Raise RunError where stage `name` cannot fit into what this process may hold."""
    here = available_bytes()
    if not here or needed.total <= here:
        return
    terms = sorted(asdict(needed).items(), key=lambda term: -term[1])
    largest = ", ".join(f"{term} {size / 1e9:.1f}" for term, size in terms[:3])
    raise RunError(
        f"{name}: about {needed.total / 1e9:.1f} GB of memory are needed (the largest parts: "
        f"{largest}) and {here / 1e9:.1f} GB may be used: set {name}.micro_batch to a part of "
        f"{name}.batch, or take a smaller model"
    )


def available_bytes() -> int:
    """Return what this process may hold: the machine's, the container's or its own limit; or 0."""
    import resource

    here = memory_bytes()
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            here = min(here, limit) if here else limit
    return here


def _learned(config: ModelConfig, stage: Stage) -> float:
    """Return how many of the weights change."""
    everything = float(config.parameters())
    around = float(config.vocab * config.hidden)
    blocks = everything - around
    if not isinstance(stage, Train):
        return everything
    if stage.lora.rank:
        sides = {"q": 2, "k": 2, "v": 2, "out": 2}  # of hidden; the others reach into the ffn
        widths = sum(
            sides[target] * config.hidden if target in sides else config.hidden + config.ffn
            for target in stage.lora.targets
        )
        return float(stage.lora.rank * widths * config.layers)
    if stage.freeze == "body":
        return float(config.hidden * config.hidden)
    if stage.freeze == "embeddings":
        return blocks
    return blocks * _learning_layers(config, stage) / config.layers if stage.freeze else everything


def _learning_layers(config: ModelConfig, stage: Stage) -> int:
    """Return the layers that keep something for the backward pass."""
    below = stage.freeze if isinstance(stage, Train) else None
    if below == "body":
        return 0
    return max(0, config.layers - below) if isinstance(below, int) else config.layers


def _moments(config: ModelConfig, stage: Stage, learned: float) -> float:
    numbers = _REMEMBERED[stage.optimizer] * learned
    if stage.optimizer == "muon":  # leaves the embedding to adamw, which remembers twice as much
        numbers += min(learned, float(config.vocab * config.hidden))
    return 4 * numbers


def _kept(config: ModelConfig, stage: Stage, longest: float, width: int) -> float:
    """Return the bytes of a position that stay for the backward pass, and pass through it."""
    drops, forgets = config.dropout > 0, config.attention_dropout > 0
    hidden = _HIDDEN + _HIDDEN_DROPOUT * drops + _HIDDEN_ROTARY * (config.position == "rotary")
    hidden += _HIDDEN_RMS * (config.norm == "rms" and width == 2)
    ffn = _FFN + _GATE * config.gated
    pairs = (_PAIRS + _PAIRS_DROPOUT * forgets) * config.heads * longest
    layer = hidden * config.hidden + ffn * config.ffn + pairs
    layers = _learning_layers(config, stage) * (2 if config.stacks == "both" else 1)
    passing = _PASSING_HIDDEN * config.hidden + _PASSING_FFN * config.ffn
    return width * (_UNRETURNED * layers * layer + passing)


def _scored(config: ModelConfig, stage: Stage, positions: float, width: int) -> float:
    """Return the bytes of the scores of a vocabulary, and of the gradients made with them."""
    if isinstance(stage, Train):
        return 0.0
    asked = positions * (stage.mask if isinstance(stage, Pretrain) else 1.0) * config.vocab
    return width * (min(asked, _SCORES) + 2 * config.vocab * config.hidden)
