"""The tokenizer in a GGUF file's metadata: vocabulary, merges, special tokens, chat template.

The keys are those of the format's description (ggml-org/ggml, `docs/gguf.md`). A file does not
hold a pre-tokeniser but its name; one that is not known is refused, not guessed.
"""

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer

from tael.data.lexicon import Lexicon, finish
from tael.data.sentence_pieces import BYTE, CONTROL, NORMAL, UNKNOWN, USER, Piece, Pieces, rebuild
from tael.data.tokenizer_files import byte_level, word_pieces
from tael.data.tokenizer_kinds import KINDS, cutter
from tael.errors import CheckpointError

__all__ = ["gguf_lexicon"]

_ROLES = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # spelled so in the format
    "pad": "padding_token_id",
    "cls": "cls_token_id",
    "mask": "mask_token_id",
}
# Files with these pre-tokenisers take a word that is a unit as it is, whatever the merges, and
# begin texts with bos unless they say no.
_WHOLE = (
    "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
    "tekken",
)  # fmt: skip


def gguf_lexicon(metadata: Mapping[str, Any], where: object = "the GGUF file") -> Lexicon:
    """Return the lexicon of a GGUF file's metadata, keys as in the file: `tokenizer.ggml.model`.

    Raises CheckpointError for a kind of vocabulary or a pre-tokeniser that is not known.
    """
    said = {
        name.removeprefix("tokenizer.ggml."): value
        for name, value in metadata.items()
        if name.startswith("tokenizer.ggml.")
    }
    kinds = {"gpt2": _bytes, "llama": _scores, "t5": _unigram, "bert": _words}
    model = said.get("model")
    if model not in kinds or not said.get("tokens"):
        raise CheckpointError(
            f"{where}: no vocabulary of kind {', '.join(kinds)} (tokenizer.ggml.model = {model!r})."
        )
    try:
        tokenizer = kinds[model](said, where)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{where}: not a usable tokenizer: {error}") from error
    tokens = {
        role: said["tokens"][said[key]]
        for role, key in _ROLES.items()
        if 0 <= said.get(key, -1) < len(said["tokens"])
    }
    config = {f"{role}_token": text for role, text in tokens.items()}
    return finish(
        tokenizer,
        tokens,
        wrapping=_wrapping(said, model),
        templates=_templates(metadata),
        config=config,
    )


def _wrapping(said: Mapping[str, Any], model: str) -> tuple[str, str]:
    if model == "bert":
        return KINDS["bert"].single, KINDS["bert"].pair
    begins = model == "llama" or (model == "gpt2" and said.get("pre") in _WHOLE)
    bos = "bos " if said.get("add_bos_token", begins) else ""
    eos = " eos" if said.get("add_eos_token", model == "t5") else ""
    return f"{bos}A{eos}", f"{bos}A{eos} {bos}B{eos}"


def _templates(metadata: Mapping[str, Any]) -> dict[str, str]:
    start = "tokenizer.chat_template"
    named = {
        name.removeprefix(f"{start}."): str(text)
        for name, text in metadata.items()
        if name.startswith(f"{start}.")
    }
    return named | ({"default": str(metadata[start])} if metadata.get(start) else {})


def _kinds(said: Mapping[str, Any]) -> list[int]:
    return list(said.get("token_type") or [NORMAL] * len(said["tokens"]))


def _bytes(said: Mapping[str, Any], where: object) -> Tokenizer:
    vocab = {token: id_ for id_, token in enumerate(said["tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in said.get("merges") or []]
    name = str(said.get("pre", "default"))
    cut = cutter(name, where, bool(said.get("add_space_prefix", False)))
    tokenizer = byte_level(vocab, merges, cut, whole=name in _WHOLE)
    tokenizer.add_tokens(
        [
            AddedToken(token, normalized=False, special=kind == CONTROL)
            for token, kind in zip(said["tokens"], _kinds(said), strict=True)
            if kind in (CONTROL, USER)
        ]
    )
    return tokenizer


def _pieces(said: Mapping[str, Any]) -> list[Piece]:
    scores = said.get("scores") or [0.0] * len(said["tokens"])
    rows = zip(said["tokens"], scores, _kinds(said), strict=True)
    return [Piece(text, float(score), kind) for text, score, kind in rows]


def _scores(said: Mapping[str, Any], where: object) -> Tokenizer:
    """SentencePiece BPE; runs of spaces may be written as spaces there, "▁" is what is meant."""
    del where
    pieces = [
        Piece(piece.text.replace(" ", "▁"), piece.score, piece.kind) for piece in _pieces(said)
    ]
    return rebuild(
        Pieces(
            pieces,
            "bpe",
            byte_fallback=any(piece.kind == BYTE for piece in pieces),
            unk=said.get("unknown_token_id", 0),
            prefix=bool(said.get("add_space_prefix", True)),
            collapse=False,
        )
    )


def _unigram(said: Mapping[str, Any], where: object) -> Tokenizer:
    del where
    pieces = _pieces(said)
    return rebuild(
        Pieces(
            pieces,
            byte_fallback=any(piece.kind == BYTE for piece in pieces),
            unk=said.get("unknown_token_id", 2),
            charsmap=bytes(said.get("precompiled_charsmap") or b""),
            prefix=bool(said.get("add_space_prefix", True)),
            collapse=bool(said.get("remove_extra_whitespaces", True)),
        )
    )


def _words(said: Mapping[str, Any], where: object) -> Tokenizer:
    """WordPiece: the file marks words' beginnings by "▁" where BERT marks the rest by "##"."""
    vocab = {}
    for id_, (token, kind) in enumerate(zip(said["tokens"], _kinds(said), strict=True)):
        whole = kind in (CONTROL, UNKNOWN) or token.startswith("[")
        vocab[token.removeprefix("▁") if whole or token[:1] == "▁" else f"##{token}"] = id_
    if len(vocab) != len(said["tokens"]):
        raise CheckpointError(f"{where}: {len(said['tokens']) - len(vocab)} tokens stand twice.")
    unk = said["tokens"][said.get("unknown_token_id", 100)]
    return word_pieces(vocab, unk, {})
