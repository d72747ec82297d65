"""From the files of a folder to a `tokenizers.Tokenizer`, one function a kind of file."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from tael.data.sentence_pieces import (
    CONTROL,
    UNKNOWN,
    Piece,
    Pieces,
    read_pieces,
    rebuild,
)
from tael.data.tokenizer_kinds import KINDS, cutter
from tael.errors import CheckpointError

__all__ = ["FILES", "Built", "build", "byte_level", "usual_kind", "word_pieces"]

FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model")
_HIDDEN = "\ufffe"  # before pieces that the other side of a translation has: no text has it
_PEGASUS_OFFSET = 103

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Built:
    """A tokenizer, Marian's one for the target language, and the roles that a file names."""

    tokenizer: Tokenizer
    target: Tokenizer | None = None
    roles: Mapping[str, str] = field(default_factory=dict)


def build(folder: Path, kind: str | None, config: Config) -> Built:
    """Build the tokenizer of a folder; raises CheckpointError if there is none, or it is broken."""
    have = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    model = next((name for name in FILES if name in have), None)
    if {"source.spm", "target.spm", "vocab.json"} <= have:
        return Built(_marian(folder, "source.spm"), _marian(folder, "target.spm"))
    if "tokenizer.json" in have:
        return Built(_from_json(folder / "tokenizer.json"))
    if "vocab.txt" in have:
        return Built(_from_vocab(folder / "vocab.txt", kind or "bert", config))
    if {"vocab.json", "merges.txt"} <= have:
        return Built(_from_merges(folder, kind or "gpt2", config))
    if model is not None:
        pieces = read_pieces(folder / model)
        roles = pieces.roles() if kind in (None, "llama", "gemma") else {}
        return Built(_from_pieces(pieces, kind, config), roles=roles)
    raise CheckpointError(
        f"{folder}: no tokenizer.json and no vocab.txt, nor vocab.json with merges.txt, nor "
        f"source.spm with target.spm and vocab.json, nor {', '.join(FILES)}."
    )


def usual_kind(folder: Path) -> str | None:
    """Return the kind that a folder's files suggest where nothing names one."""
    if (folder / "tokenizer.json").is_file():
        return None
    kinds = {"vocab.txt": "bert", "merges.txt": "gpt2", "source.spm": "marian"}
    return next((kind for name, kind in kinds.items() if (folder / name).is_file()), None)


def byte_level(
    vocab: dict[str, int],
    merges: list[tuple[str, str]],
    cut: Any,
    nfc: bool = False,
    whole: bool = False,
) -> Tokenizer:
    """Return a byte-level BPE tokenizer; `whole`: a word that is a unit is not built by merges."""
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=whole))
    tokenizer.normalizer = normalizers.NFC() if nfc else None
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def word_pieces(vocab: dict[str, int], unk: str, config: Config) -> Tokenizer:
    """Return a WordPiece tokenizer as BERT's, with the settings of a tokenizer_config."""
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=unk))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=bool(config.get("do_lower_case", True)),
        strip_accents=config.get("strip_accents"),
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _from_json(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path}: not a usable tokenizer: {error}") from error


def _from_vocab(path: Path, kind: str, config: Config) -> Tokenizer:
    tokens = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    twice = [token for token, times in Counter(tokens).items() if times > 1]
    if twice or "" in tokens:
        raise CheckpointError(
            f"{path}: {len(twice)} tokens stand twice ({', '.join(map(repr, twice[:3]))}), "
            f"{tokens.count('')} lines are empty; every line must be one token."
        )
    vocab = {token: id_ for id_, token in enumerate(tokens)}
    # Missing ones would be added behind the vocabulary, at ids that the model has no rows for.
    usual = KINDS[kind].roles.items()
    roles = {role: config.get(f"{role}_token", text) for role, text in usual}
    texts = [role["content"] if isinstance(role, dict) else role for role in roles.values()]
    missing = [str(text) for text in texts if text is not None and text not in vocab]
    if missing:
        raise CheckpointError(
            f"{path}: no token {', '.join(missing)} among its {len(vocab)}; "
            f"a tokenizer as {kind}'s is expected."
        )
    unk = roles["unk"]
    return word_pieces(vocab, unk["content"] if isinstance(unk, dict) else str(unk), config)


def _from_merges(folder: Path, kind: str, config: Config) -> Tokenizer:
    vocab = _vocab(folder / "vocab.json")
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [
        tuple(line.split())
        for number, line in enumerate(map(str.strip, lines))
        if line and not (number == 0 and line.startswith("#version"))
    ]
    known = KINDS.get(kind, KINDS["gpt2"])
    space = bool(config.get("add_prefix_space", False))
    try:
        return byte_level(vocab, merges, cutter(known.cut, folder, space), known.nfc)  # type: ignore[arg-type]
    except CheckpointError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{folder}: merges.txt does not fit vocab.json: {error}") from error


def _from_pieces(pieces: Pieces, kind: str | None, config: Config) -> Tokenizer:
    """Return the tokenizer of a SentencePiece model, with the ids of its kind."""
    tokenizer = rebuild(_arranged(pieces, kind, config))
    if kind == "albert":
        steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        if not config.get("keep_accents", False):
            steps += [normalizers.NFKD(), normalizers.StripAccents()]
        if config.get("do_lower_case", True):
            steps.append(normalizers.Lowercase())
        tokenizer.normalizer = normalizers.Sequence([*steps, tokenizer.normalizer])
    return tokenizer


def _arranged(pieces: Pieces, kind: str | None, config: Config) -> Pieces:
    """Put the pieces where the embeddings of a kind have them.

    fairseq's dictionaries begin with four tokens in place of the model's three; T5 has its
    sentinels behind the last piece, Pegasus 103 more tokens in front.
    """
    found = pieces.pieces
    if kind == "t5":
        count = int(config.get("extra_ids", 100))
        behind = [f"<extra_id_{number}>" for number in reversed(range(count))]
        return replace(pieces, pieces=[*found, *_controls(behind)])
    if kind in ("xlm-roberta", "mbart", "mbart50"):
        front = [*_controls(["<s>", "<pad>", "</s>"]), Piece("<unk>", kind=UNKNOWN)]
        behind = [*KINDS[kind].languages, "<mask>"]
        return replace(pieces, pieces=[*front, *found[3:], *_controls(behind)], unk=3)
    if kind == "pegasus":
        offset = int(config.get("offset", _PEGASUS_OFFSET))
        named = ["<pad>", "</s>", "<mask_1>", "<mask_2>"]
        named += [f"<unk_{number}>" for number in range(2, offset)]
        return replace(pieces, pieces=[*_controls(named), *found[2:]], unk=pieces.unk + offset)
    return pieces


def _controls(texts: list[str]) -> list[Piece]:
    return [Piece(text, kind=CONTROL) for text in texts]


def _marian(folder: Path, name: str) -> Tokenizer:
    """Return one side of a Marian pair: the pieces of its model, the ids of the common vocabulary.

    Pieces of the other side only are kept out of reach of the text, and decode all the same.
    """
    vocab = _vocab(folder / "vocab.json")
    side = read_pieces(folder / name)
    scores = {piece.text: piece for piece in side.pieces}
    special = {"<pad>", "</s>"} | {text for text in vocab if text[:2] == ">>" and text[-2:] == "<<"}
    pieces = []
    for text in sorted(vocab, key=vocab.__getitem__):
        if text in special:
            pieces.append(Piece(text, kind=CONTROL))
        elif text == "<unk>":
            pieces.append(Piece(text, kind=UNKNOWN))
        else:
            pieces.append(scores.get(text, Piece(_HIDDEN + text, side.pieces[-1].score)))
    if sorted(vocab.values()) != list(range(len(vocab))) or "<unk>" not in vocab:
        raise CheckpointError(
            f"{folder / 'vocab.json'}: expected ids from 0 on without gaps, and <unk> among them."
        )
    tokenizer = rebuild(replace(side, pieces=pieces, unk=vocab["<unk>"]))
    shown = decoders.Replace(_HIDDEN, "")
    tokenizer.decoder = decoders.Sequence([shown, tokenizer.decoder])
    return tokenizer


def _vocab(path: Path) -> dict[str, int]:
    try:
        vocab = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(vocab, dict) or not all(isinstance(id_, int) for id_ in vocab.values()):
        raise CheckpointError(f"{path}: expected an object of tokens and their ids.")
    return vocab
