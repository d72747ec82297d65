"""What `tael.load` gives: one object to answer with, to look into, to write with, and to save.

Letters: B rows · T positions · N texts · C classes · D hidden · V vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from tael.data.lexicon import Lexicon
from tael.data.record import Record
from tael.engine.ask import Prompt, Wish, asked, pieces, texts
from tael.engine.batch import POSITIONS, cut
from tael.engine.predictor import Engine
from tael.errors import DataError, UsageError
from tael.files import write_bytes
from tael.task.base import Answer

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from torch import Tensor

    from tael.model.batch import Batch
    from tael.model.generate import Piece, Written
    from tael.model.network import Network
    from tael.model.sentence import Pooling
    from tael.model.settings import Settings

__all__ = ["Loaded"]

# What stands beside the weights and says how to use them, but for the tokenizer's files.
_BESIDE = (
    "generation_config.json", "modules.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", "[0-9]_*/config.json", "[0-9]_*/model.safetensors",
)  # fmt: skip


class Loaded:
    """A run, a variant, a Hugging Face folder or a GGUF file, opened.

    `network`, `lexicon` and its `tokenizer` are None where there is none: a linear model or an ONNX
    graph has no network, a bare folder of weights no tokenizer. What is not needed to open it is
    read when first asked for: the numbers of the weights, and the lexicon, which `words` opens.
    """

    def __init__(
        self,
        path: Path,
        *,
        network: "Network | None",
        words: Callable[[], Lexicon] | None,
        engine: Engine | None = None,
        settings: "Settings | None" = None,
    ) -> None:
        self.path = path
        self.network = network
        self.engine = engine
        self._words, self._settings = words, settings
        self._is_laid_out = False

    @cached_property
    def lexicon(self) -> Lexicon | None:
        """Tokenizer, roles and templates; CheckpointError where their files are damaged."""
        return None if self._words is None else self._words()

    @cached_property
    def settings(self) -> "Settings | None":
        """How its makers let it write; where they name no end, the tokenizer's ends a text."""
        said, lexicon = self._settings, self.lexicon
        if said is None or said.end or lexicon is None or lexicon.roles.eos is None:
            return said
        return replace(said, end=(lexicon.roles.eos,))

    @property
    def tokenizer(self) -> "Tokenizer | None":
        """What turns text into ids; None where no such file stands beside the weights."""
        return None if self.lexicon is None else self.lexicon.tokenizer

    @property
    def speller(self) -> "Tokenizer | None":
        """What turns written ids into text: another tokenizer where a model translates (Marian)."""
        return None if self.lexicon is None else self.lexicon.target or self.lexicon.tokenizer

    def predict(self, records: Sequence[Record | str]) -> list[Answer]:
        """Return one answer a record, in order; a plain string counts as a record's text.

        Raises UsageError for a folder without a task, DataError for a record without its texts.
        """
        if self.engine is None:
            raise UsageError(
                f"{self.path}: has no task, so nothing to predict; train one on it with "
                f"`tael new NAME --task classify model.from={self.path}`"
            )
        if isinstance(records, str | Mapping):
            raise UsageError("predict takes a list of records: predict([record])")
        roles = tuple(self.engine.task.request_model().model_fields)
        return self.engine.predict([_record(*at, roles) for at in enumerate(records)])

    def logits(
        self,
        ids_BT: "Tensor",
        mask_BT: "Tensor | None" = None,
        decoder_ids_BT: "Tensor | None" = None,
    ) -> "Tensor":
        """Return what the head gives for ids (int64): (B, C), or (B, T, V) of a language model.

        The mask is 1 at real tokens, and padding may stand on either side; None: all are real.
        What an encoder-decoder has written so far is `decoder_ids_BT`, all of it real.
        CheckpointError where the answer is NaN or infinity, here and in all that follows.
        """
        import torch

        from tael.model.finite import check

        self._lay_out(ids_BT.numel())
        with torch.inference_mode():
            batch = _batch(ids_BT, mask_BT, self.opened())
            answer = self.opened().logits(self._both(batch, decoder_ids_BT))
            check(answer, self.opened())
            return answer

    def hidden(
        self,
        ids_BT: "Tensor",
        mask_BT: "Tensor | None" = None,
        layer: int = -1,
        decoder_ids_BT: "Tensor | None" = None,
    ) -> "Tensor":
        """Return hidden states (B, T, D); those at padding mean nothing.

        Layer 0 is the embedding's output, n what layer n gives, -1 the last, after the final norm.
        An encoder-decoder gives those of its encoder, or of its decoder where that has ids.
        """
        import torch

        from tael.model.finite import check
        from tael.model.transformer import EncoderDecoder

        self._lay_out(ids_BT.numel())
        network, states = self.opened(), list["Tensor"]()
        with torch.inference_mode():
            batch = _batch(ids_BT, mask_BT)
            if isinstance(network.body, EncoderDecoder) and decoder_ids_BT is None:
                network.body.encoder(batch, keep=states)
            else:
                network(self._both(batch, decoder_ids_BT), keep=states)
        if not -len(states) <= layer < len(states):
            raise UsageError(
                f"{self.path}: has layers 0 (embeddings) to {len(states) - 1}, not {layer}"
            )
        check(states[layer], network)
        return states[layer]

    def embed(self, texts: Sequence[str], *, max_tokens: int | None = None) -> NDArray[np.float32]:
        """Return a vector for each text, (N, D), made as a folder of sentence-transformers says.

        Other models give the mean over a text's tokens, brought to length 1. Longer texts are cut
        to `max_tokens`; None: to what the folder says, or to 256. DataError for a text of no token.
        """
        from tael.model.sentence import Pooling, pooling

        network = self.opened()
        pool = pooling(self.path) or Pooling(max_tokens=256)
        limits = (max_tokens or pool.max_tokens, network.config.max_positions)
        most = min(limit for limit in limits if limit is not None)
        encoded = self.worded().encode_batch(pool.texts(list(texts)))
        ids = [_shortened(encoding, most) for encoding in encoded]
        if [] in ids:
            raise DataError(f"texts[{ids.index([])}]: has no token, so there is nothing to embed")
        self._lay_out(sum(map(len, ids)))
        out_ND = np.zeros((len(ids), pool.size(network.config.hidden)), np.float32)
        for group in cut([len(one) for one in ids]):
            out_ND[group] = self._pooled([ids[index] for index in group], pool)
        return out_ND

    def generate(self, prompts: Prompt | Sequence[Prompt], **wish: Unpack[Wish]) -> "list[Written]":
        r"""Write on from each prompt, a string or ids; return its texts, `n` a prompt, in order.

        `Settings` tells what may be asked for: `max_tokens=64, temperature=0.7, stop="\n"`.
        Temperature is 0 (the likeliest token) if none is given; a setting of None is the model's
        own. A text is decided by its prompt, settings and seed, whatever stands beside it; a seed
        that is not given is drawn, and told.
        Raises UsageError for settings out of range or a model that does not write, DataError for a
        prompt that is empty or too long.
        """
        requests = asked(self, prompts, Wish(temperature=0.0) | wish)
        self._lay_out()
        return texts(self, requests, wish.get("draft"))

    def stream(self, prompt: Prompt, **wish: Unpack[Wish]) -> "Iterator[Piece]":
        """Write on from one prompt, a piece at a time: `piece.text` is whole characters, or empty.

        The last piece has an `end`; the pieces together are the text that `generate` returns.
        """
        requests = asked(self, prompt, Wish(temperature=0.0) | wish)
        if len(requests) != 1:
            raise UsageError(f"stream takes one prompt, found {len(requests)}")
        self._lay_out()
        return pieces(self, requests[0], wish.get("draft"))

    def chat_ids(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return a conversation as ids, up to where the assistant's answer begins.

        A message is {"role": "user", "content": "…"}. UsageError for a model without a template.
        """
        from tael.data.chat_template import chat_ids

        if self.lexicon is None or not self.lexicon.templates:
            raise UsageError(
                f"{self.path}: has no chat template, so it was not made for conversations; "
                f"`tael generate {self.path} --prompt TEXT` writes on from a plain text"
            )
        return chat_ids(self.lexicon, messages, reply=True)

    def save(self, folder: Path | str) -> None:
        """Write the network as a Hugging Face folder, with the files that stand beside it."""
        from tael.model.coded import CodedLinear
        from tael.model.coded_folder import save_coded
        from tael.model.weights import save_folder

        raw = self.opened().raw or {}
        names = raw.get("id2label")
        names = names if isinstance(names, Mapping) else {}
        labels = [names.get(str(number), f"LABEL_{number}") for number in range(len(names))] or None
        folder = Path(folder)
        if any(isinstance(module, CodedLinear) for module in self.opened().modules()):
            save_coded(folder, self.opened())
        else:
            save_folder(folder, self.opened(), labels=labels, problem_type=raw.get("problem_type"))
        if self.lexicon is not None:
            self.lexicon.save(folder)
        for path in (path for name in _BESIDE for path in self.path.glob(name)):
            target = folder / path.relative_to(self.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(target, path.read_bytes())

    def _lay_out(self, positions: int | None = None) -> None:
        """Make a bfloat16 network faster where so many positions, or a text's, will be computed."""
        from tael.model.prepack import prepack

        if not self._is_laid_out and (positions is None or positions >= POSITIONS // 2):
            prepack(self.opened())
            self._is_laid_out = True

    def opened(self) -> "Network":
        """Return the network; UsageError where there is none."""
        if self.network is None:
            raise UsageError(
                f"{self.path}: has no torch network; load the run's model folder, or its "
                "variant torch-fp32"
            )
        return self.network

    def worded(self) -> "Tokenizer":
        """Return the tokenizer; UsageError where there is none."""
        if self.tokenizer is None:
            raise UsageError(
                f"{self.path}: has no tokenizer, so it takes ids, not texts; put the model's "
                "tokenizer.json beside its weights"
            )
        return self.tokenizer

    def _both(self, source: "Batch", decoder_ids_BT: "Tensor | None") -> "Batch":
        """Return the batch that the network takes; an encoder-decoder reads one and writes one."""
        if (self.opened().config.stacks == "both") != (decoder_ids_BT is not None):
            takes = "needs" if decoder_ids_BT is None else "does not take"
            raise UsageError(f"{self.path}: {takes} decoder_ids_BT, what it has written so far")
        return source if decoder_ids_BT is None else replace(_batch(decoder_ids_BT), source=source)

    def _pooled(self, ids: list[list[int]], pool: "Pooling") -> NDArray[np.float32]:
        import torch

        from tael.model.reader import tensor_of

        ids_BT, mask_BT = tensor_of(ids, torch.device("cpu"), left=False)
        with torch.inference_mode():
            counted_BT = pool.counted(ids_BT, mask_BT)
            vectors_BD: NDArray[np.float32] = pool(self.hidden(ids_BT, mask_BT), counted_BT).numpy()
            return vectors_BD


def _batch(
    ids_BT: "Tensor", mask_BT: "Tensor | None" = None, network: "Network | None" = None
) -> "Batch":
    """Return the batch of ids behind a mask, padding on either side.

    Positions count real tokens, so that padding before a text does not move it. The network, where
    given, is asked whether its head reads a row's first token.
    """
    import torch

    from tael.model.batch import Batch

    if mask_BT is None:
        return Batch(ids_BT, torch.ones_like(ids_BT, dtype=torch.int32), layout="full")
    real_BT = mask_BT.to(torch.int32)
    if bool((real_BT[:, 1:] <= real_BT[:, :-1]).all()):
        return Batch(ids_BT, real_BT, layout="padded")
    positions_BT = (real_BT.cumsum(dim=1) - 1).clamp(min=0)
    first_N = None
    if (
        network is not None
        and network.kind in ("classify", "pool")
        and network.config.pool == "first"
    ):
        rows, length = real_BT.shape
        first_N = torch.arange(rows, device=ids_BT.device) * length + real_BT.argmax(dim=1)
    return Batch(ids_BT, real_BT, positions_BT=positions_BT, where_N=first_N, layout="packed")


def _record(number: int, record: Any, roles: Sequence[str]) -> Record:
    """Return a record that has all its texts; DataError where one is missing or no string."""
    row: Record = {"text": record} if isinstance(record, str) else record
    for role in roles:
        found = row.get(role) if isinstance(row, Mapping) else row
        if not isinstance(found, str):
            keys = ", ".join(f'"{name}": …' for name in roles)
            raise DataError(
                f"records[{number}]: {role} must be a string, found {found!r:.40}; "
                f"a record is {{{keys}}}"
            )
    return row


def _shortened(encoding: "Encoding", most: int) -> list[int]:
    """Cut the end of the text off; the special tokens that close it stay."""
    ids: list[int] = encoding.ids
    kept = len(ids)
    while kept and encoding.special_tokens_mask[kept - 1]:
        kept -= 1
    return ids if len(ids) <= most else [*ids[: most - len(ids) + kept], *ids[kept:]]
