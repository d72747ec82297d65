"""The special tokens that learning from text needs, whatever a tokenizer calls them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tael.data.lexicon import Lexicon
from tael.errors import CheckpointError

__all__ = ["SENTINELS", "Ids", "Marks", "marks", "sentence_ends", "sentinels"]

Ids = NDArray[np.int64]
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))  # as T5 has
_ENDS = (".", "!", "?", "。", "！", "？", "…", "\n")


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids of the tokens that open, close and fill rows; `bos` None where a model has none."""

    bos: int | None
    eos: int
    pad: int
    mask: int | None = None


def marks(lexicon: Lexicon) -> Marks:
    """Return the marks of a tokenizer; CheckpointError where nothing closes a text.

    Tokenizers trained here open with [CLS] and close with [SEP], whatever the architecture.
    """
    roles = lexicon.roles
    eos = roles.eos if roles.eos is not None else roles.sep
    if eos is None:
        raise CheckpointError(
            "tokenizer: no token closes a text, so a model could not learn to stop; name one as "
            "eos_token in its tokenizer_config.json"
        )
    pad = roles.pad if roles.pad is not None else eos
    return Marks(_opening(lexicon), eos, pad, roles.mask)


def _opening(lexicon: Lexicon) -> int | None:
    """Return what a text begins with: what the tokenizer's own template puts there.

    A model whose texts begin with nothing may name a bos token all the same, for conversations.
    Where one token ends and begins (GPT-2), a text was read behind the end of the one before.
    """
    tokenizer, roles = lexicon.tokenizer, lexicon.roles
    wrapped = tokenizer.encode("a").ids
    if wrapped[0] != tokenizer.encode("a", add_special_tokens=False).ids[0]:
        return int(wrapped[0])
    return roles.bos if roles.bos == roles.eos else None


def sentinels(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of <extra_id_0>, <extra_id_1>, … as far as a tokenizer has them."""
    found = map(tokenizer.token_to_id, SENTINELS)
    return [id_ for id_ in found if id_ is not None]


def sentence_ends(tokenizer: Tokenizer) -> Ids:
    """Return the ids of the units that end a sentence or a line, by their last character."""
    texts = ((id_, tokenizer.decode([id_])) for id_ in tokenizer.get_vocab().values())
    found = [id_ for id_, text in texts if text.rstrip(" ").endswith(_ENDS)]
    return np.array(sorted(found), dtype=np.int64)
