"""From a recipe to a finished run: data, tokenizer, pretraining, fine-tuning, model.

Every stage is skipped where its output is complete, so the same command goes on wherever the one
before it was stopped, by whatever.

    runs/<name>/
        recipe.yaml  recipe.lock.yaml
        data/         {train,dev,test}.jsonl  splits.json  report.html  shards/
        tokenizer/    only where the recipe trains one
        pretrain/     the pretrained encoder, in Hugging Face layout: a start for other runs
        checkpoints/  until training is finished
        model/        the trained model, in Hugging Face layout, with task.json
        metrics.jsonl  tensorboard/  costs.json
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Tokenizer

from tael.data.corpus import Corpus
from tael.data.leak import LEFT_OUT
from tael.data.record import Record
from tael.data.report import add_corpus
from tael.data.tokenizer import load_tokenizer, save_tokenizer
from tael.errors import RecipeError
from tael.files import atomic_folder
from tael.model.config import ModelConfig
from tael.model.fresh import new_config
from tael.model.weights import read_sizes
from tael.recipe.package import resolve
from tael.recipe.schema import Recipe
from tael.task.base import find
from tael.task.match import SEGMENTS
from tael.train import guard
from tael.train.costs import costs_of
from tael.train.finetune import fine_tune
from tael.train.lock import Lock, check_same, open_lock
from tael.train.objective import fit_tokenizer
from tael.train.parallel import Team, join
from tael.train.pretrain import pretrain
from tael.train.progress import make_progress
from tael.train.run import is_finished
from tael.train.sitting import Sitting, threads
from tael.train.splits import open_splits
from tael.train.texts import Texts
from tael.train.track import Track

__all__ = ["train"]

Records = Mapping[str, Sequence[Record]]


def train(recipe: Recipe, out: Path | None = None, *, progress: bool = True) -> Path:
    """Train the model of `recipe` and return its run directory, `runs/<name>` by default.

    A finished run of the same recipe is returned untouched, an unfinished one goes on to the same
    bits as if it had never stopped. Raises RunError where the folder holds another recipe's run or
    another process works in it, where the user stops it, a loss is not a number, or the disk is
    full; DataError, RecipeError and CheckpointError for what they are about.

    Under `torchrun` its processes train together, as `train.parallel` says; the first one writes.
    """
    folder = out or Path("runs") / recipe.name
    with guard.writable(folder):
        if is_finished(folder):
            check_same(folder, recipe)
            return folder
    with (
        join(recipe.train.parallel) as team,
        guard.writable(folder),
        guard.enough_memory(folder),
        guard.catch_signals(folder) as stop,
        _opened(folder, recipe, team, progress=progress) as (lock, track),
        threads(recipe.machine.threads or max(1, lock.threads // team.local)),
    ):
        _work(Sitting(folder, recipe, lock, track, stop, team))
    return folder


@contextmanager
def _opened(
    folder: Path, recipe: Recipe, team: Team, *, progress: bool
) -> Iterator[tuple[Lock, Track]]:
    """Hold the run's folder; processes other than the first keep their record nowhere."""
    with ExitStack() as held:
        with team.first_before_others():
            if team.first:
                held.enter_context(guard.locked(folder))
                guard.sweep(folder)
            lock = open_lock(folder, recipe)
        where = folder if team.first else Path(held.enter_context(TemporaryDirectory()))
        shown = make_progress(progress and team.first, recipe.machine.currency)
        costs = costs_of(where, recipe.machine, lock.threads, team.machines)
        yield lock, held.enter_context(closing(Track(where, costs, shown)))


def _work(run: Sitting) -> None:
    with run.track.phase("data"), run.team.first_before_others():
        records = open_splits(run.folder, run.recipe, run.track.progress.say)
    with run.track.phase("tokenizer"), run.team.first_before_others():
        texts = _texts(run, records)
        tokenizer = _tokenizer(run, texts)
    others = {split: rows for split, rows in records.items() if split != "train"}
    task = find(run.recipe.task).from_records(records["train"], run.recipe, tokenizer, others)
    if run.team.size > 1 and getattr(task, "coupled", False):
        raise RecipeError(
            [
                f"train.parallel: the texts of a step are compared with each other ({task.name}), "
                "which processes cannot share yet; start one process, without torchrun"
            ]
        )
    if not (run.folder / "model").exists():
        start = _start(run, tokenizer)
        if run.recipe.pretrain.steps:
            if not (run.folder / "pretrain").exists():
                with run.track.phase("pretrain"):
                    pretrain(run, start, texts, tokenizer)
            start = run.folder / "pretrain"
        fine_tune(run, records, task, tokenizer, start)
    if run.team.first:
        shutil.rmtree(run.folder / "data" / "corpus", ignore_errors=True)
        shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)  # last: now it is finished
    run.team.wait()


def _texts(run: Sitting, records: Records) -> Texts:
    """Return the texts that teach without labels; what they became is recorded once they are."""

    def made(corpus: Corpus) -> None:
        left_out = corpus.counts[LEFT_OUT]
        run.track.cost(texts_left_out=left_out)
        add_corpus(run.folder / "data", corpus)
        if left_out:
            run.track.progress.say(f"{left_out:,} {LEFT_OUT}")

    shown = run.track.progress
    return Texts(run.folder / "data", run.recipe, records, shown.say, shown.work, made)


def _tokenizer(run: Sitting, texts: Texts) -> Tokenizer:
    source = run.recipe.model.from_
    if source is not None:
        _check_positions(run.recipe, resolve(source))
        return load_tokenizer(resolve(source))
    folder = run.folder / "tokenizer"
    if not folder.exists():
        run.track.progress.say("tokenizer: learning the units")
        tokenizer = texts.tokenizer()
        fit_tokenizer(tokenizer, run.recipe)
        with atomic_folder(folder) as draft:
            save_tokenizer(tokenizer, draft, run.recipe.data.max_tokens)
    return load_tokenizer(folder)  # also when just made: what is read back is what is served


def _check_positions(recipe: Recipe, folder: Path) -> None:
    config = read_sizes(folder)
    positions = config.max_positions
    if config.position == "learned" and recipe.data.max_tokens > positions:
        raise RecipeError(
            [
                f"data.max_tokens: {recipe.data.max_tokens} is more than the {positions} positions "
                f"of model.from ({folder}); set data.max_tokens to at most {positions}"
            ]
        )


def _start(run: Sitting, tokenizer: Tokenizer) -> Path | ModelConfig:
    """Return what the first stage starts from: a folder with weights, or sizes for new ones."""
    model = run.recipe.model
    if model.from_ is not None:
        return resolve(model.from_)
    config = new_config(model, tokenizer.get_vocab_size(), run.recipe.data.max_tokens)
    match = run.recipe.task == "qa" and run.recipe.qa.match
    return replace(config, types=SEGMENTS) if match else config
