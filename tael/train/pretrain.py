"""The first stage: learn the language of the texts before any label is seen."""

import shutil
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer

from tael.data.lexicon import open_lexicon
from tael.files import atomic_folder
from tael.model.config import ModelConfig
from tael.model.head import VocabHead
from tael.model.network import Network, build
from tael.model.weights import open_folder, read_sizes, save_folder
from tael.recipe.objective import Objective, objective_of
from tael.train.batches import PackedText, TextLearner
from tael.train.judge import masked_loss
from tael.train.loop import Course, fit
from tael.train.objective import HEADS, architecture_of, make_learner
from tael.train.seeds import BODY, TEXT, mix
from tael.train.sitting import Sitting, owned
from tael.train.texts import Texts

__all__ = ["pretrain"]


def pretrain(run: Sitting, start: Path | ModelConfig, texts: Texts, tokenizer: Tokenizer) -> None:
    """Write `pretrain/`: `start` after learning from `texts`, in Hugging Face layout."""
    recipe, stage = run.recipe, run.recipe.pretrain
    config = start if isinstance(start, ModelConfig) else read_sizes(start)
    objective = objective_of(recipe, architecture_of(config))
    lexicon = open_lexicon(start if isinstance(start, Path) else run.folder / "tokenizer")
    learner = make_learner(objective, stage, lexicon, config)
    batches = _batches(run, learner, texts, tokenizer)
    network = _network(run, start, objective)
    course = Course(
        name="pretrain",
        stage=stage,
        steps=stage.steps,
        seed=mix(recipe.seed, TEXT),
        dtype=run.lock.dtype["pretrain"],
        evaluations=recipe.train.evaluations,
        keep_best=False,  # the last weights are the ones whose rate has come down
        team=run.team,
    )
    longest = recipe.data.max_tokens
    rows = batches.micro_batch
    run.afford(network.config, "pretrain", rows=rows, longest=longest, steps=stage.steps)
    dev = batches.dev()
    outcome = fit(
        network,
        learner,
        batches,
        course,
        root=run.checkpoints("pretrain"),
        track=run.track,
        stop=run.stop,
        lower=partial(run.lower, "pretrain"),
        evaluate=lambda: masked_loss(network, learner, dev, course.dtype),
    )
    run.track.cost(pretrain_tokens=outcome.tokens, pretrain_steps=outcome.steps)
    if run.team.first:
        with atomic_folder(run.folder / "pretrain") as draft:
            save_folder(draft, network, tokenizer=tokenizer if recipe.model.from_ is None else None)
            if recipe.model.from_ is not None:
                lexicon.save(draft)  # as it came: its roles and its template too
        shutil.rmtree(run.checkpoints("pretrain"), ignore_errors=True)
    run.team.wait()


def _batches(run: Sitting, learner: TextLearner, texts: Texts, tokenizer: Tokenizer) -> PackedText:
    with run.team.first_before_others():
        stage, shard = run.recipe.pretrain, texts.shard(tokenizer)
    batches = PackedText(learner, shard, stage, mix(run.recipe.seed, TEXT))
    batches.micro_batch = run.micro_batch("pretrain", batches.micro_batch)
    run.track.progress.say(
        f"pretrain: {shard.texts:,} texts, {shard.tokens:,} tokens, rows {shard.fill:.0%} full, "
        f"{stage.steps / batches.steps_per_epoch:.1f} passes"
    )
    return batches


def _network(run: Sitting, start: Path | ModelConfig, objective: Objective) -> Network:
    seed, kind = mix(run.recipe.seed, BODY), HEADS[objective]
    if isinstance(start, ModelConfig):
        return build(start, VocabHead(start, kind), seed)
    model = run.recipe.model
    network, _ = open_folder(
        start, head=kind, dropout=model.dropout, droppath=model.droppath, seed=seed
    )
    owned(network)
    return network
