"""A folder's tokenizer with all its files say: special tokens and their roles, chat template.

`tokenizer.json` is opened as it is; `vocab.txt`, `vocab.json` with `merges.txt`, SentencePiece
models and Marian's pair of them are turned into the same `tokenizers.Tokenizer`. Whatever the
kind, text never becomes a control token: "</s>" in a text is punctuation and a letter.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from tael.data.tokenizer_files import FILES, build, usual_kind
from tael.data.tokenizer_kinds import KINDS, find_kind, wrap
from tael.errors import CheckpointError
from tael.files import write_bytes, write_text

__all__ = ["ROLES", "Lexicon", "Roles", "finish", "open_lexicon"]

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_KEPT = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json", "vocab.txt", "vocab.json", "merges.txt",
    "source.spm", "target.spm", *FILES,
)  # fmt: skip
_MORE = "additional_chat_templates"  # a folder of them, beside the usual one
_ENDLESS = 10**9  # transformers writes a limit of 1e30 where there is none


@dataclass(frozen=True, slots=True)
class Roles:
    """Ids of the tokens that have a role; None where a tokenizer has no such token."""

    bos: int | None = None
    eos: int | None = None
    unk: int | None = None
    sep: int | None = None
    pad: int | None = None
    cls: int | None = None
    mask: int | None = None


@dataclass(frozen=True, slots=True)
class Lexicon:
    """A tokenizer and what its files say of it.

    `tokenizer` never reads control tokens in text; `target` is Marian's other side, `later` is for
    text that follows a control token, each where there is one; `templates` are chat templates by
    name, the usual one is "default".
    """

    tokenizer: Tokenizer
    roles: Roles = field(default_factory=Roles)
    templates: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    target: Tokenizer | None = None
    later: Tokenizer | None = None

    def token(self, role: str) -> str | None:
        """Return the token of a role as text, e.g. "</s>" for "eos"; None if there is none."""
        id_ = getattr(self.roles, role)
        return None if id_ is None else self.tokenizer.id_to_token(id_)

    def save(self, folder: Path, max_tokens: int | None = None) -> None:
        """Write the tokenizer's files; transformers opens them and gives the same ids.

        Files of the folder that it came from are written again as they were. Where there was no
        `tokenizer.json` one is added, and the config says that it is the tokenizer; but for Marian,
        whose two sides need two.
        """
        for name, content in self.files.items():
            write_bytes(folder / name, content)
        given = "tokenizer.json" in self.files or self.target is not None
        if (
            given
            and "tokenizer_config.json" in self.files
            and max_tokens in (None, self.max_tokens)
        ):
            return
        config = {**self.config, "model_max_length": max_tokens or self.max_tokens or _ENDLESS}
        config |= {f"{role}_token": text for role in ROLES if (text := self.token(role))}
        config.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
        if not given:
            config["tokenizer_class"] = "PreTrainedTokenizerFast"
            config.pop("added_tokens_decoder", None)  # they stand in tokenizer.json
            write_text(folder / "tokenizer.json", self.tokenizer.to_str(pretty=True) + "\n")
        if "chat_template" not in config and "chat_template.jinja" not in self.files:
            config |= _written(self.templates)
        text = json.dumps(config, indent=2, ensure_ascii=False)
        write_text(folder / "tokenizer_config.json", text + "\n")


def open_lexicon(folder: Path) -> Lexicon:
    """Open the tokenizer of a folder, of whichever kind its files are.

    Truncation and padding kept in a file are switched off: tasks do both. Raises CheckpointError
    where there is no tokenizer, or it is broken, or its files contradict each other.
    """
    config = _config(folder)
    model = _read(folder / "config.json")
    classes = (config.get("tokenizer_class"), model.get("tokenizer_class"))
    kind = find_kind(*classes, model.get("model_type")) or usual_kind(folder)
    built = build(folder, kind, config)
    for one in (built.tokenizer, built.target):
        if one is not None:
            _add_tokens(one, config, _read(folder / "added_tokens.json"), folder)
    usual = KINDS[kind].roles if kind else {} if built.roles else KINDS["bert"].roles
    tokens = _role_tokens(built.tokenizer, config, {**usual, **built.roles})
    if kind and KINDS[kind].languages:
        tokens["lang"] = str(config.get("src_lang") or "en_XX")
    return finish(
        built.tokenizer,
        tokens,
        templates=_templates(folder, config),
        config=config,
        files=_files(folder),
        target=built.target,
        wrapping=_wrapping(kind, config, (folder / "tokenizer.json").is_file()),
    )


def finish(
    tokenizer: Tokenizer,
    tokens: Mapping[str, str],
    wrapping: tuple[str, str] | None = None,
    target: Tokenizer | None = None,
    **facts: Any,
) -> Lexicon:
    """Make a lexicon of a built tokenizer: its roles, its wrapping, and no control token in text.

    `tokens` holds the text of each role; `wrapping` is for one text and for two, None: as it is.
    """
    for one in (tokenizer, target):
        if one is None:
            continue
        special = [AddedToken(text, special=True) for text in _fresh(one, tokens.values())]
        one.add_special_tokens(special)
        if wrapping is not None:
            have = {role: text for role, text in tokens.items() if role in (*ROLES, "lang")}
            single, pair = (_without(words, have) for words in wrapping)
            wrap(one, single, pair, have)
        one.no_truncation()
        one.no_padding()
        one.encode_special_tokens = True
        _part_controls(one)
    roles = {role: tokenizer.token_to_id(tokens[role]) for role in ROLES if role in tokens}
    limit = facts.get("config", {}).get("model_max_length")
    most = int(limit) if limit is not None and limit < _ENDLESS else None
    return Lexicon(
        tokenizer,
        Roles(**roles),
        max_tokens=most,
        target=target,
        later=_later(tokenizer),
        **facts,
    )


def _later(tokenizer: Tokenizer) -> Tokenizer | None:
    """Return the tokenizer without the space that it puts before the first text only, if it does.

    Between control tokens `tokenizers` asks for a piece's place in the text; pieces cut one by
    one all stand at its beginning.
    """
    before = tokenizer.pre_tokenizer
    state = before.__getstate__() if before is not None else b""
    if b'"prepend_scheme":"first"' not in state:
        return None
    said = json.loads(tokenizer.to_str())
    text = json.dumps(said["pre_tokenizer"]).replace(
        '"prepend_scheme": "first"', '"prepend_scheme": "never"'
    )
    later = Tokenizer.from_str(json.dumps(said | {"pre_tokenizer": json.loads(text)}))
    later.encode_special_tokens = True
    return later


def _part_controls(tokenizer: Tokenizer) -> None:
    """Cut the spelling of control tokens where the subword model would find them in text.

    A unigram vocabulary holds its control pieces like all others, so the model takes "</s>" for
    one piece. Cut behind the first character it is text again.
    """
    model = tokenizer.model
    every = isinstance(model, models.Unigram)  # which cut is likely depends on what is around
    found = [
        token.content
        for id_, token in tokenizer.get_added_tokens_decoder().items()
        if token.special and len(token.content) > 1 and model.id_to_token(id_) is not None
        if every or id_ in tokenizer.encode(token.content, add_special_tokens=False).ids
    ]
    parts = [f"{re.escape(text[0])}(?={re.escape(text[1:])})" for text in sorted(found)]
    if every and model.token_to_id("<0x41>") is not None:
        parts.append("<(?=0x[0-9A-F]{2}>)")
    if parts:
        steps = [] if tokenizer.pre_tokenizer is None else [tokenizer.pre_tokenizer]
        split = pre_tokenizers.Split(Regex("|".join(parts)), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, split])


def _config(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json, with what only special_tokens_map.json says."""
    return _read(folder / "special_tokens_map.json") | _read(folder / "tokenizer_config.json")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected an object, found {type(found).__name__}.")
    return found


def _add_tokens(
    tokenizer: Tokenizer, config: Mapping[str, Any], more: Mapping[str, int], folder: Path
) -> None:
    """Add the tokens that files list, at the ids that they give.

    In the order of transformers: the config's own list, then `added_tokens.json`, then names.
    """
    listed = {
        int(id_): _added(token) for id_, token in config.get("added_tokens_decoder", {}).items()
    }
    names = {_content(config.get(f"{role}_token")) for role in ROLES}
    extra = config.get("additional_special_tokens") or config.get("extra_special_tokens") or []
    extra = list(extra.values()) if isinstance(extra, dict) else extra
    known = names | {_content(token) for token in extra}
    for text, id_ in more.items():
        special = text in known
        listed.setdefault(id_, AddedToken(text, special=special, normalized=not special))
    for id_, token in sorted(listed.items()):
        tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != id_:
            raise CheckpointError(
                f"{folder}: token {token.content!r} should have id {id_}, but the vocabulary gives "
                f"it {tokenizer.token_to_id(token.content)}: its files are of two tokenizers."
            )
    named = [config[name] for role in ROLES if config.get(name := f"{role}_token")]
    fresh = set(_fresh(tokenizer, (_content(token) for token in [*named, *extra])))
    tokenizer.add_special_tokens(
        [_added(token, special=True) for token in [*named, *extra] if _content(token) in fresh]
    )


def _fresh(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Return those of `texts` that are not added tokens yet, each once."""
    have = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    return [text for text in dict.fromkeys(texts) if text and text not in have]


def _added(token: Any, special: bool = False) -> Any:
    if not isinstance(token, dict):
        return AddedToken(str(token), special=special)
    flags = {
        name: bool(token[name])
        for name in ("lstrip", "rstrip", "single_word", "normalized")
        if name in token
    }
    return AddedToken(token["content"], special=special or bool(token.get("special")), **flags)


def _content(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _role_tokens(
    tokenizer: Tokenizer, config: Mapping[str, Any], usual: Mapping[str, str]
) -> dict[str, str]:
    """Return the text of each role: as the files say, or else as is usual, if it is there."""
    tokens = {}
    for role in ROLES:
        # A role that is null in the file has no token, whatever is usual.
        text = _content(config.get(f"{role}_token", usual.get(role)))
        if text and tokenizer.token_to_id(text) is not None:
            tokens[role] = text
    return tokens


def _wrapping(kind: str | None, config: Mapping[str, Any], given: bool) -> tuple[str, str] | None:
    """Return how texts are wrapped; None where tokenizer.json says it."""
    flags = [config.get("add_bos_token"), config.get("add_eos_token")]
    plain = kind in (None, "gpt2", "qwen2", "llama", "gemma")
    if plain and (not given or flags != [None, None]):
        usual = kind in ("llama", "gemma") and not given
        bos = usual if flags[0] is None else bool(flags[0])
        head, tail = "bos " if bos else "", " eos" if flags[1] else ""
        second = f"{'bos:1 ' if bos else ''}B:1{' eos:1' if flags[1] else ''}"
        return f"{head}A{tail}", f"{head}A{tail} {second}"
    return None if given or kind is None else (KINDS[kind].single, KINDS[kind].pair)


def _without(words: str, tokens: Mapping[str, str]) -> str:
    """Leave the roles out that have no token."""
    have = {*tokens, "A", "B"}
    return " ".join(word for word in words.split() if word.partition(":")[0] in have)


def _templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the chat templates by name; a file of its own goes before the config."""
    found = config.get("chat_template") or _read(folder / "chat_template.json").get("chat_template")
    if isinstance(found, list):
        templates = {str(one["name"]): str(one["template"]) for one in found}
    else:
        templates = {"default": str(found)} if found else {}
    for path in sorted((folder / _MORE).glob("*.jinja")):
        templates[path.stem] = path.read_text(encoding="utf-8")
    if (folder / "chat_template.jinja").is_file():
        templates["default"] = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    return templates


def _written(templates: Mapping[str, str]) -> dict[str, Any]:
    if not templates:
        return {}
    if list(templates) == ["default"]:
        return {"chat_template": templates["default"]}
    return {"chat_template": [{"name": n, "template": t} for n, t in templates.items()]}


def _files(folder: Path) -> dict[str, bytes]:
    """Return the tokenizer's files as they are, so that saving does not need the folder."""
    more = sorted(path.name for path in (folder / _MORE).glob("*.jinja"))
    names = (*_KEPT, *(f"{_MORE}/{name}" for name in more))
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
