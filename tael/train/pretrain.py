"""The first stage: learn the language of the texts before any label is seen."""

import shutil
from pathlib import Path

from tokenizers import Tokenizer

from tael.data.tokenizer import specials
from tael.files import atomic_folder
from tael.model.config import ModelConfig
from tael.model.network import Network, build
from tael.model.weights import open_folder, save_folder
from tael.task.mlm import MaskedLM
from tael.train.batches import PackedText
from tael.train.judge import masked_loss
from tael.train.loop import Course, fit
from tael.train.seeds import BODY, TEXT, mix
from tael.train.sitting import Sitting, owned
from tael.train.texts import Texts

__all__ = ["pretrain"]


def pretrain(run: Sitting, start: Path | ModelConfig, texts: Texts, tokenizer: Tokenizer) -> None:
    """Write `pretrain/`: `start` after masked-LM training on `texts`, in Hugging Face layout."""
    recipe, stage = run.recipe, run.recipe.pretrain
    learner = MaskedLM(specials(tokenizer), tokenizer.get_vocab_size(), stage.mask)
    batches = _batches(run, learner, texts, tokenizer)
    network = _network(run, start, learner)
    course = Course(
        name="pretrain",
        stage=stage,
        steps=stage.steps,
        seed=mix(recipe.seed, TEXT),
        dtype=run.lock.dtype["pretrain"],
        evaluations=recipe.train.evaluations,
        keep_best=False,  # the last weights are the ones whose rate has come down
    )
    dev = batches.dev()
    outcome = fit(
        network,
        learner,
        batches,
        course,
        root=run.checkpoints("pretrain"),
        track=run.track,
        stop=run.stop,
        evaluate=lambda: masked_loss(network, learner, dev, course.dtype),
    )
    with atomic_folder(run.folder / "pretrain") as draft:
        save_folder(draft, network, tokenizer=tokenizer)
    run.track.cost(pretrain_tokens=outcome.tokens, pretrain_steps=outcome.steps)
    shutil.rmtree(run.checkpoints("pretrain"), ignore_errors=True)


def _batches(run: Sitting, learner: MaskedLM, texts: Texts, tokenizer: Tokenizer) -> PackedText:
    stage, shard = run.recipe.pretrain, texts.shard(tokenizer)
    batches = PackedText(learner, shard, stage, mix(run.recipe.seed, TEXT))
    run.track.progress.say(
        f"pretrain: {shard.texts:,} texts, {shard.tokens:,} tokens, rows {shard.fill:.0%} full, "
        f"{stage.steps / batches.steps_per_epoch:.1f} passes"
    )
    return batches


def _network(run: Sitting, start: Path | ModelConfig, learner: MaskedLM) -> Network:
    seed = mix(run.recipe.seed, BODY)
    if isinstance(start, ModelConfig):
        return build(start, learner.head(start), seed)
    model = run.recipe.model
    network, _ = open_folder(
        start, head="mlm", dropout=model.dropout, droppath=model.droppath, seed=seed
    )
    owned(network)
    return network
