"""Text to ids: training, loading and saving a `tokenizers` tokenizer.

Runs of Han characters stay together before the subword model sees them, so common words become one
unit. A word after a space carries "▁"; characters that the vocabulary lacks become bytes, so no
text is lost. What a user writes never becomes a special token: "[MASK]" in a text is punctuation
and letters.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tael.data.lexicon import open_lexicon
from tael.data.unigram import learn_pieces
from tael.errors import CheckpointError, DataError
from tael.files import write_text
from tael.recipe.schema import Tokenizer as Spec

__all__ = [
    "ENOUGH",
    "SPECIALS",
    "Specials",
    "load_tokenizer",
    "save_tokenizer",
    "shell",
    "specials",
    "train_tokenizer",
]

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_log = logging.getLogger(__name__)
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_ROOM_FOR_BYTES = 1000  # vocabularies under this have no room for 256 bytes: [UNK] instead
_COVERED = 0.9995  # of all characters; the rarest others become bytes, not units (Kudo 2018)
ENOUGH = 3_000_000  # characters to train on; more hardly change 8,000 units and cost minutes
_LONGEST_PIECE = 8


@dataclass(frozen=True, slots=True)
class Specials:
    """Ids of the special tokens."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


def train_tokenizer(texts: Iterable[str], spec: Spec) -> Tokenizer:
    """Train a tokenizer of `spec.vocab` units at most; the same texts give the same tokenizer.

    Special tokens are ids 0–4 in the order of `SPECIALS`; encoding wraps `[CLS] A [SEP]` or
    `[CLS] A [SEP] B [SEP]`. Text beyond 3 million characters is thinned evenly.
    Raises DataError when there is no text.
    """
    sample = _sample(list(texts))
    if spec.kind == "bytes":
        return _finish(_byte_level(sample, spec.vocab))
    with_bytes = spec.vocab >= _ROOM_FOR_BYTES
    tokenizer = shell(models.Unigram(), "" if spec.kind in ("wordpiece", "character") else "▁")
    normal = [tokenizer.normalizer.normalize_str(text) for text in sample]
    room = spec.vocab - len(SPECIALS) - (len(_BYTES) if with_bytes else 0)
    if spec.kind == "character":
        tokenizer.model = _characters(normal, room, with_bytes)
        return _finish(tokenizer)
    common = _without_rare(normal, spec.vocab)
    train = {"unigram": _unigram, "bpe": _bpe, "wordpiece": _wordpiece}[spec.kind]
    tokenizer.model = train(common, room, with_bytes)
    if spec.kind == "wordpiece":
        tokenizer.decoder = decoders.WordPiece()
    return _finish(tokenizer)


def specials(tokenizer: Tokenizer) -> Specials:
    """Return the ids of the special tokens; raises CheckpointError if one is missing."""
    ids = {name: tokenizer.token_to_id(name) for name in SPECIALS}
    missing = [name for name in SPECIALS if ids[name] is None]
    if missing:
        raise CheckpointError(
            f"tokenizer: no token {', '.join(missing)} among its {tokenizer.get_vocab_size()}; "
            "a tokenizer in BERT layout is expected."
        )
    return Specials(*(id_ for id_ in ids.values() if id_ is not None))


def load_tokenizer(folder: Path) -> Tokenizer:
    """Open the tokenizer of a folder, of whichever kind it is; `open_lexicon` tells more of it.

    Truncation and padding kept in the file are switched off: tasks do both.
    Raises CheckpointError if there is none, or if its files are broken.
    """
    return open_lexicon(folder).tokenizer


def save_tokenizer(
    tokenizer: Tokenizer,
    folder: Path,
    max_tokens: int,
    *,
    ends: tuple[int | None, int | None] | None = None,
) -> None:
    """Write `tokenizer.json` and the `tokenizer_config.json` that opens it in transformers.

    `ends` are the ids that begin and end a text of a model that writes.
    """
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_tokens,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # transformers' name for `encode_special_tokens`
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    roles = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    # Naming one that it lacks would add it, at an id that the model has no row for.
    there = {text for text in SPECIALS if tokenizer.token_to_id(text) is not None}
    config |= {role: text for role, text in zip(roles, SPECIALS, strict=True) if text in there}
    if ends is not None:
        named = zip(("bos_token", "eos_token"), ends, strict=True)
        config |= {role: tokenizer.id_to_token(id_) for role, id_ in named if id_ is not None}
        config |= {"model_input_names": ["input_ids", "attention_mask"]}
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")


def shell(model: Any, mark: str = "▁") -> Tokenizer:
    """Return a tokenizer with everything around the subword model.

    `mark` stands for a space, at the head of the word after it; without one, spaces only separate.
    """
    tokenizer = Tokenizer(model)
    steps: list[Any] = [normalizers.NFKC()]
    if mark:
        # Chinese is written without spaces: its first word is the same word as later on, so the
        # mark is put at the beginning of other text only.
        no_mark = Regex(rf"^{mark}(?=[\p{{Han}}\p{{P}}])")
        steps += [normalizers.Replace(" ", mark), normalizers.Prepend(mark)]
        steps += [normalizers.Replace(no_mark, "")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    led = f"{mark}?" if mark else ""
    pieces = rf"\p{{Han}}+|\p{{P}}+|{led}\p{{N}}+|{led}[^\s{mark}\p{{Han}}\p{{P}}\p{{N}}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "isolated" if mark else "removed"),
            pre_tokenizers.Split(Regex(pieces), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Metaspace(replacement="▁", prepend_scheme="always"),
            decoders.Fuse(),
        ]
    )
    return tokenizer


def _finish(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    ids = {name: tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=list(ids.items()),
    )
    tokenizer.encode_special_tokens = True
    return tokenizer


def _sample(texts: Sequence[str]) -> Sequence[str]:
    total = sum(map(len, texts))
    if total == 0:
        raise DataError("tokenizer: no text to train on. Give it texts: pretrain.text=FILE.")
    if total <= ENOUGH:
        return texts
    step = -(-total // ENOUGH)
    _log.info("the tokenizer is trained on every %d. text of %d", step, len(texts))
    return texts[::step]


def _without_rare(texts: Sequence[str], vocab: int) -> list[str]:
    """Replace the rarest characters by spaces: each would take a unit that a word could have."""
    times = Counter("".join(texts))
    most = vocab // 2  # characters may take half the vocabulary
    total, seen, kept = sum(times.values()), 0, set[str]()
    for character, count in sorted(times.items(), key=lambda item: (-item[1], item[0])):
        if len(kept) >= most or seen >= _COVERED * total:
            break
        kept.add(character)
        seen += count
    rare = "".join(times.keys() - kept)
    if not rare:
        return list(texts)
    pattern = re.compile(f"[{re.escape(rare)}]")
    return [pattern.sub("\n", text) for text in texts]


def _trained(texts: Sequence[str], model: Any, trainer: Any, mark: str = "▁") -> dict[str, Any]:
    """Run a trainer on normalised texts and return the model as plain data."""
    cutter = shell(model, mark)
    cutter.normalizer = None
    cutter.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "removed"), cutter.pre_tokenizer]
    )
    cutter.train_from_iterator(texts, trainer)
    trained: dict[str, Any] = json.loads(cutter.to_str())["model"]
    return trained


def _unigram(texts: Sequence[str], room: int, with_bytes: bool) -> Any:
    words = _words(texts, "▁")
    # Lower-case text must not teach that capitals are rare bytes.
    alphabet = "".join(map(chr, range(0x21, 0x7F))) if with_bytes else ""
    scored = learn_pieces(words, room, alphabet)
    lowest = scored[-1][1]
    # Special tokens are never looked up in text (see `encode_special_tokens`), bytes only where
    # nothing else fits.
    vocab = [(name, 0.0) for name in SPECIALS] + scored
    vocab += [(byte, lowest - 10.0) for byte in _BYTES] if with_bytes else []
    return models.Unigram(vocab, unk_id=1, byte_fallback=with_bytes)


def _bpe(texts: Sequence[str], room: int, with_bytes: bool) -> Any:
    trainer = trainers.BpeTrainer(
        vocab_size=room, max_token_length=_LONGEST_PIECE, show_progress=False
    )
    trained = _trained(texts, models.BPE(), trainer)
    pieces = [*SPECIALS, *sorted(trained["vocab"], key=trained["vocab"].get)]
    vocab = {piece: id_ for id_, piece in enumerate([*pieces, *(_BYTES if with_bytes else ())])}
    merges = [tuple(pair) for pair in trained["merges"]]
    return models.BPE(vocab, merges, unk_token="[UNK]", byte_fallback=with_bytes)


def _byte_level(texts: Sequence[str], vocab: int) -> Tokenizer:
    """Return byte-pair units over bytes: whatever is encoded is decoded to the same characters.

    Radford et al. 2019, GPT-2, section 2.2; no repair and no mark for the beginning of a text.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(vocab, len(SPECIALS) + len(_BYTES)),
        special_tokens=list(SPECIALS),
        # Sorted: their ids decide between pairs that are as frequent.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # A line is enough of a context for a unit, and a long text at once would take long.
    lines = (line for text in texts for line in text.splitlines(keepends=True))
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def _characters(texts: Sequence[str], room: int, with_bytes: bool) -> Any:
    """Return the most frequent characters as units, each by itself; the others are bytes."""
    times = Counter(sign for text in texts for sign in text if not sign.isspace())
    common = sorted(times, key=lambda sign: (-times[sign], sign))[:room]
    pieces = [*SPECIALS, *common, *(_BYTES if with_bytes else ())]
    vocab = {piece: id_ for id_, piece in enumerate(pieces)}
    return models.BPE(vocab, [], unk_token="[UNK]", byte_fallback=with_bytes)


def _wordpiece(texts: Sequence[str], room: int, with_bytes: bool) -> Any:
    inner = {character for word in _words(texts, "") for character in word[1:]}
    trainer = trainers.WordPieceTrainer(
        vocab_size=room + (len(_BYTES) if with_bytes else 0),
        # Else these get their ids in the order of a hash map, and ids decide between equal pairs.
        special_tokens=[f"##{character}" for character in sorted(inner)],
        show_progress=False,
    )
    trained = _trained(texts, models.WordPiece(unk_token="[UNK]"), trainer, "")["vocab"]
    pieces = [*SPECIALS, *sorted(trained, key=trained.get)]
    return models.WordPiece({piece: id_ for id_, piece in enumerate(pieces)}, unk_token="[UNK]")


def _words(texts: Sequence[str], mark: str) -> Counter[str]:
    cut = shell(models.Unigram(), mark).pre_tokenizer
    words: Counter[str] = Counter()
    for text in texts:
        for line in text.split("\n"):
            words.update(word for word, _ in cut.pre_tokenize_str(line))
    return words
