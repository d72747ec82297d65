"""The learner of each pretraining objective, with the special tokens that it needs."""

from collections.abc import Callable
from typing import Literal

from tokenizers import AddedToken, Tokenizer, processors

from tael.data.lexicon import Lexicon, Roles, open_lexicon
from tael.data.tokenizer import specials
from tael.model.config import ModelConfig
from tael.model.fresh import new_config
from tael.model.weights import read_sizes
from tael.recipe.objective import Architecture, Objective, objective_of
from tael.recipe.package import resolve
from tael.recipe.schema import Pretrain, Recipe
from tael.task.clm import CausalLM
from tael.task.denoise import Denoising, SpanCorruption
from tael.task.marks import SENTINELS, marks
from tael.task.mlm import MaskedLM
from tael.train.batches import TextLearner

__all__ = ["HEADS", "architecture_of", "fit_tokenizer", "learner_of", "make_learner"]

_STACKS: dict[str, Architecture] = {
    "encoder": "encoder", "decoder": "decoder", "both": "encoder-decoder",
}  # fmt: skip
HEADS: dict[Objective, Literal["mlm", "clm", "seq2seq"]] = {
    "mlm": "mlm", "clm": "clm", "span": "seq2seq", "denoise": "seq2seq",
}  # fmt: skip


def architecture_of(config: ModelConfig) -> Architecture:
    """Return what the recipe calls a network's stacks."""
    return _STACKS[config.stacks]


def fit_tokenizer(tokenizer: Tokenizer, recipe: Recipe) -> None:
    """Give a new tokenizer, in place, the marks that the recipe's architecture reads texts with.

    A decoder writes on from what it reads, so no end stands behind it; span corruption needs
    sentinels to hide stretches behind.
    """
    architecture = recipe.model.architecture
    if architecture == "encoder":
        return
    spans = bool(recipe.pretrain.steps) and objective_of(recipe) == "span"
    if spans:
        tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SENTINELS])
    begins, ends = ("", " [SEP]") if spans else ("[CLS] ", "")
    if architecture == "encoder-decoder":
        ends = " [SEP]"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begins}$A{ends}",
        pair=f"{begins}$A{ends} $B:1{ends}",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )


def learner_of(recipe: Recipe, tokenizer: Tokenizer) -> TextLearner:
    """Return the learner of a recipe whose tokenizer is at hand, fitted or a checkpoint's."""
    if recipe.model.from_ is not None:
        folder = resolve(recipe.model.from_)
        config, lexicon = read_sizes(folder), open_lexicon(folder)
    else:
        config = new_config(recipe.model, tokenizer.get_vocab_size(), recipe.data.max_tokens)
        found = specials(tokenizer)
        roles = Roles(cls=found.cls, sep=found.sep, pad=found.pad, mask=found.mask)
        lexicon = Lexicon(tokenizer, roles)
    objective = objective_of(recipe, architecture_of(config))
    return make_learner(objective, recipe.pretrain, lexicon, config)


def make_learner(
    objective: Objective, stage: Pretrain, lexicon: Lexicon, config: ModelConfig
) -> TextLearner:
    """Return what learns `objective`; CheckpointError where the tokenizer lacks a token for it."""
    tokenizer = lexicon.tokenizer
    makers: dict[Objective, Callable[[], TextLearner]] = {
        "mlm": lambda: MaskedLM(specials(tokenizer), tokenizer.get_vocab_size(), stage.mask),
        "clm": lambda: CausalLM(marks(lexicon)),
        # A decoder that reads a source begins with the padding token: T5's way.
        "span": lambda: SpanCorruption(
            tokenizer, marks(lexicon), config.pad, stage.mask, stage.span
        ),
        "denoise": lambda: Denoising(tokenizer, marks(lexicon), config.pad, stage.mask, stage.span),
    }
    return makers[objective]()
