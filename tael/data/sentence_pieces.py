"""SentencePiece `.model` files: read by hand, and turned into a `tokenizers.Tokenizer`.

The file is one protobuf message (google/sentencepiece, `sentencepiece_model.proto`); a reader of
the few fields that matter is shorter than the library it spares. What SentencePiece does to text
is rebuilt from the file's own settings: its character map, its spaces, its byte fallback. Of cuts
that a unigram model finds equally likely ("xxx" as "x" "xx" or "xx" "x") either may be taken, and
the character map is applied a grapheme at a time, as `tokenizers` and so transformers do: a letter
with several marks, or a compatibility letter with one, can come out otherwise than there.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from tael.errors import CheckpointError

__all__ = ["Piece", "Pieces", "merges_of", "read_pieces", "rebuild", "spell"]

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "▁"


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the vocabulary; `kind` is the file's number for it."""

    text: str
    score: float = 0.0
    kind: int = NORMAL


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a `.model` file says."""

    pieces: list[Piece]
    model: Literal["unigram", "bpe"] = "unigram"
    byte_fallback: bool = False
    unk: int = 0  # ids; −1: none
    bos: int = 1
    eos: int = 2
    pad: int = -1
    charsmap: bytes = field(default=b"", repr=False)
    prefix: bool = True  # a space is put before the text
    collapse: bool = True  # outer spaces go, runs of spaces become one

    def roles(self) -> dict[str, str]:
        """Return the tokens of the roles that the file itself names."""
        ids = {"bos": self.bos, "eos": self.eos, "unk": self.unk, "pad": self.pad}
        most = len(self.pieces)
        return {role: self.pieces[id_].text for role, id_ in ids.items() if 0 <= id_ < most}


def read_pieces(path: Path) -> Pieces:
    """Read a `.model` file; raises CheckpointError if it is none, or of a kind that is not read."""
    try:
        return _model(path.read_bytes())
    except (IndexError, ValueError, struct.error, KeyError) as error:
        raise CheckpointError(
            f"{path}: not a SentencePiece model of kind unigram or bpe: {error}"
        ) from error


def rebuild(pieces: Pieces) -> Tokenizer:
    """Return a tokenizer that cuts text as SentencePiece does with this model.

    Control pieces are special tokens, user-defined ones are added tokens; text that only looks
    like a control piece is cut like other text.
    """
    tokenizer = Tokenizer(_unigram(pieces) if pieces.model == "unigram" else _bpe(pieces))
    tokenizer.normalizer = _normalizer(pieces)
    # Words are cut one by one, and remembered, where no piece reaches over a space.
    if pieces.collapse and not any(SPACE in piece.text[1:] for piece in pieces.pieces):
        tokenizer.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    tokenizer.decoder = spell(pieces.prefix)
    tokenizer.add_tokens(
        [
            # Spaces are "▁" only once the text is normalised, and so are found only then.
            AddedToken(piece.text, normalized=SPACE in piece.text, special=piece.kind == CONTROL)
            for piece in pieces.pieces
            if piece.kind in (CONTROL, USER)
        ]
    )
    return tokenizer


def spell(prefix: bool) -> Any:
    """Return the decoder: "▁" is a space, `<0x41>` a byte; `prefix` says the first space goes."""
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)


def merges_of(pieces: list[Piece]) -> list[tuple[str, str]]:
    """Return the merges that a vocabulary with scores stands for, the best first.

    SentencePiece joins the neighbours whose union has the best score, of equals the leftmost. Only
    repetitions ("aa" "a" or "a" "aa") can make one union in two ways; the longer left part is the
    one that joining from the left meets.
    """
    vocab = {piece.text for piece in pieces if piece.kind in (NORMAL, UNUSED, USER)}
    ranked = sorted(
        (piece for piece in pieces if piece.kind in (NORMAL, UNUSED) and len(piece.text) > 1),
        key=lambda piece: -piece.score,
    )
    return [
        (piece.text[:cut], piece.text[cut:])
        for piece in ranked
        for cut in range(len(piece.text) - 1, 0, -1)
        if piece.text[:cut] in vocab and piece.text[cut:] in vocab
    ]


def _unigram(pieces: Pieces) -> Any:
    vocab = [(piece.text, piece.score) for piece in pieces.pieces]
    return models.Unigram(vocab, unk_id=pieces.unk, byte_fallback=pieces.byte_fallback)


def _bpe(pieces: Pieces) -> Any:
    vocab = {piece.text: id_ for id_, piece in enumerate(pieces.pieces)}
    unk = pieces.pieces[pieces.unk].text
    return models.BPE(
        vocab,
        merges_of(pieces.pieces),
        unk_token=unk,
        fuse_unk=True,
        byte_fallback=pieces.byte_fallback,
    )


def _normalizer(pieces: Pieces) -> Any:
    steps: list[Any] = [normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    if pieces.collapse:
        steps += [
            normalizers.Replace(Regex(rf"\A +|[ {SPACE}]+\z"), ""),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    if pieces.prefix:
        steps.append(normalizers.Prepend(SPACE))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _model(data: bytes) -> Pieces:
    pieces, trainer, normal = [], b"", b""
    for number, value in _fields(data):
        if number == 1:
            pieces.append(_piece(value))
        elif number == 2:
            trainer = value
        elif number == 3:
            normal = value
    if not pieces:
        raise ValueError("it holds no pieces")
    settings = dict(_fields(trainer))
    rules = dict(_fields(normal))
    return Pieces(
        pieces=pieces,
        model={1: "unigram", 2: "bpe"}[settings.get(3, 1)],  # type: ignore[arg-type]
        byte_fallback=bool(settings.get(35, 0)),
        unk=_signed(settings.get(40, 0)),
        bos=_signed(settings.get(41, 1)),
        eos=_signed(settings.get(42, 2)),
        pad=_signed(settings.get(43, -1)),
        charsmap=rules.get(2, b""),
        prefix=bool(rules.get(3, 1)),
        collapse=bool(rules.get(4, 1)),
    )


def _piece(data: bytes) -> Piece:
    found = dict(_fields(data))
    score = struct.unpack("<f", found[2])[0] if 2 in found else 0.0
    return Piece(found[1].decode(), score, found.get(3, NORMAL))


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protobuf message: whole numbers, or the bytes of everything else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size, at = (8, at) if wire == 1 else (4, at) if wire == 5 else _varint(data, at)
        if wire not in (1, 2, 5) or at + size > len(data):
            raise ValueError(f"byte {at} is no field of a protobuf message")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number, shift = 0, 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
        if shift > 63:
            raise ValueError(f"byte {at} is no whole number of a protobuf message")
