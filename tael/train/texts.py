"""The texts that a run learns from without labels, and their token shards.

data/corpus/<hash>/   cleaned texts, each once, while they are needed
data/shards/<hash>/   packed rows of token ids
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from tael.data.corpus import Corpus, address_of, given, read_corpus
from tael.data.pool import Tell, silent, workers
from tael.data.read import input_files
from tael.data.record import Record
from tael.data.shards import Shard, build, key_of, open_shard
from tael.data.tokenizer import ENOUGH, train_tokenizer
from tael.machine.probe import describe
from tael.recipe.schema import Recipe
from tael.task.base import find

__all__ = ["Texts"]


class Texts:
    """What teaches without labels: the texts of `pretrain.text`, or of train itself.

    A text that stands in dev or test, but for case, width, spaces and punctuation, is left out and
    counted, whatever `data.clean.dedup` says. `folder` keeps what is prepared, in parts: where it
    was stopped, it goes on. `say` gets what a user should know, `tell` how far the work is, `made`
    the corpus.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        records: Mapping[str, Sequence[Record]],
        say: Callable[[str], None] = lambda text: None,
        tell: Tell = silent,
        made: Callable[[Corpus], None] = lambda corpus: None,
    ) -> None:
        self._folder, self._recipe, self._records = folder, recipe, records
        self._say, self._tell, self._made = say, tell, made
        self._processes = recipe.machine.threads or int(describe()["cores"])

    @cached_property
    def corpus(self) -> Corpus:
        """The cleaned texts on disk; read when they are first asked for."""
        folder = self._folder / "corpus" / self._address
        paths, data = self._recipe.pretrain.text, self._recipe.data
        if paths is None:
            found = given(folder, self._own(), data, self._held_out)
        else:
            with workers(self._processes) as run:
                found = read_corpus(folder, paths, data, self._held_out, run, self._tell)
        self._made(found)
        return found

    def tokenizer(self) -> Tokenizer:
        """Train the recipe's tokenizer, on a sample where there are very many texts."""
        step = max(1, -(-self.corpus.characters // ENOUGH))
        sample = list(self.corpus.every(step))
        if step > 1:
            self._say(
                f"tokenizer: learned from every {step}. text: {len(sample):,} of "
                f"{self.corpus.texts:,}, {sum(map(len, sample)):,} characters"
            )
        return train_tokenizer(sample, self._recipe.tokenizer)

    def shard(self, tokenizer: Tokenizer) -> Shard:
        """Return the packed rows; made where they are not there yet, and then the corpus goes."""
        capacity = self._recipe.data.max_tokens
        folder = self._folder / "shards" / key_of(self._address, tokenizer, capacity)
        found = open_shard(folder)
        if found is None:
            with workers(self._processes) as run:
                found = build(folder, self.corpus, tokenizer, capacity, run, self._tell)
            shutil.rmtree(self.corpus.folder)
            del self.corpus
        return found

    @property
    def _held_out(self) -> list[Record]:
        return [*self._records["dev"], *self._records["test"]]

    def _own(self) -> Iterator[str]:
        columns = self._recipe.data.columns
        forms = find(self._recipe.task).forms(columns)
        pair = columns.text_pair is not None or "text_pair" in forms[0].made
        roles = ("text", "text_pair") if pair else ("text",)
        for record in self._records["train"]:
            yield from (str(record[role]) for role in roles if record.get(role))

    @cached_property
    def _address(self) -> str:
        paths, data = self._recipe.pretrain.text, self._recipe.data
        if paths is not None:
            return address_of(input_files(paths), data, self._held_out)
        return address_of([], data, self._held_out) + _digest(self._own())


def _digest(texts: Iterable[str]) -> str:
    found = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        found.update(len(encoded).to_bytes(8, "little"))  # ["ab"] is not ["a", "b"]
        found.update(encoded)
    return found.hexdigest()[:32]
