"""Text that matches a JSON schema or a regular expression, whatever the model would rather write.

The llguidance library (extra `constrain`) works out which tokens keep a match possible; all others
get -inf. Brief JSON is written: no white space but one space after each comma and colon.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tael.errors import UsageError

__all__ = ["Match", "matcher"]

_BRIEF: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Match:
    """A text as far as it is written, and what may follow."""

    def __init__(self, state: Any, end: Sequence[int]) -> None:
        self._state, self._end = state, list(end)

    def allow(self, scores_V: Tensor) -> Tensor:
        """Return the scores, -inf where a token would break the match."""
        bits = torch.frombuffer(bytearray(self._state.compute_logit_bias()), dtype=torch.uint8)
        allowed_V = torch.zeros_like(scores_V, dtype=torch.bool)
        allowed_V[: len(bits)] = bits[: len(scores_V)].to(scores_V.device) != 0
        allowed_V[self._end] = self.matched  # an end is allowed where the match is whole
        found_V = scores_V.masked_fill(~allowed_V, -torch.inf)
        if bool(found_V.max() == -torch.inf):  # all that may follow is banned: the match wins
            return torch.zeros_like(scores_V).masked_fill(~allowed_V, -torch.inf)
        return found_V

    def take(self, id_: int) -> None:
        """Go on by a token; UsageError where the library gives up on the schema."""
        if not self._state.consume_token(id_):
            raise UsageError(
                f"generate: the schema cannot be followed: {_line(self._state.get_error())}"
            )

    @property
    def matched(self) -> bool:
        """Whether the text matches as it is."""
        return bool(self._state.is_accepting())

    @property
    def closed(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._state.is_stopped())


def matcher(
    tokenizer: Tokenizer,
    vocab: int,
    end: Sequence[int],
    *,
    schema: Mapping[str, Any] | str | None = None,
    regex: str | None = None,
) -> Callable[[], Match]:
    r"""Return what makes a `Match` for each text; give a schema or an expression, not both.

    Expressions are those of Rust's regex: `\d` is a digit of any script, and nothing looks back.

    UsageError without the library, without end tokens, for a schema or expression that it does not
    know all of, and for tokenizers whose tokens are no bytes of text.
    """
    try:
        import llguidance
    except ImportError as error:
        raise UsageError(
            "generate: a schema or regex needs llguidance; `pip install 'tael[constrain]'`"
        ) from error
    if (schema is None) == (regex is None):
        raise UsageError("generate: give a schema or a regex, one of them")
    end = [id_ for id_ in end if id_ < vocab]
    if not end:
        raise UsageError(
            "generate: the model has no end token, so no text that matches could end; put "
            "eos_token_id into its generation_config.json"
        )
    if regex is not None:
        grammar = llguidance.LLMatcher.grammar_from_regex(regex)
    else:
        assert schema is not None, "one of the two was given"
        grammar = llguidance.LLMatcher.grammar_from_json_schema(_object(schema), _BRIEF)
    words = llguidance.LLTokenizer(
        llguidance.TokenizerWrapper(_Spelled(tokenizer, vocab, end)), slices=[]
    )
    wrong, messages = llguidance.LLMatcher.validate_grammar_with_warnings(grammar, words)
    if wrong:
        kind = "schema" if regex is None else "regex"
        raise UsageError(f"generate: {kind} not usable: {_line(messages[0])}")
    first = llguidance.LLMatcher(words, grammar, log_level=0)
    return lambda: Match(first.deep_copy(), end)


def _object(schema: Mapping[str, Any] | str) -> dict[str, Any]:
    try:
        found = json.loads(schema) if isinstance(schema, str) else dict(schema)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"generate: schema is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"generate: a schema is an object, found {type(found).__name__}")
    return found


def _line(message: str) -> str:
    return f"{' '.join(message.partition('<state>')[0].split()):.300}"


class _Spelled:
    """What llguidance wants to know of a tokenizer: the bytes that each token writes."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, vocab: int, end: Sequence[int]) -> None:
        self.eos_token_id = end[0]
        spell = _speller(tokenizer)
        added = tokenizer.get_added_tokens_decoder()
        special = {id_ for id_, token in added.items() if token.special} | set(end)
        self.tokens = [b""] * vocab  # rows of the network beyond the tokenizer's write nothing
        for token, id_ in tokenizer.get_vocab(with_added_tokens=True).items():
            if id_ < vocab:
                plain = id_ in added or id_ in special
                self.tokens[id_] = token.encode() if plain else spell(token)
        empty = {id_ for id_, token in enumerate(self.tokens) if not token}
        for id_ in empty:
            self.tokens[id_] = f"<|{id_}|>".encode()
        self.special_token_ids = sorted({id_ for id_ in special if id_ < vocab} | empty)
        self._tokenizer = tokenizer
        words = set(range(vocab)) - set(self.special_token_ids)
        self._ids = {self.tokens[id_]: id_ for id_ in words}
        self._longest = max(map(len, self._ids))

    def __call__(self, text: bytes) -> list[int]:
        """Cut what is certain to come: as the tokenizer would, unless it adds a space in front."""
        try:
            encoded = self._tokenizer.encode(text.decode(), add_special_tokens=False)
            ids: list[int] = encoded.ids
        except UnicodeDecodeError:
            ids = []
        if b"".join(self.tokens[id_] for id_ in ids) == text:
            return ids
        ids = []
        while text:
            sizes = range(min(self._longest, len(text)), 0, -1)
            size = next((size for size in sizes if text[:size] in self._ids), None)
            if size is None:
                return ids  # the rest is left to the model's choice, byte by byte
            ids.append(self._ids[text[:size]])
            text = text[size:]
        return ids


def _speller(tokenizer: Tokenizer) -> Callable[[str], bytes]:
    decoder = json.dumps(json.loads(tokenizer.to_str())["decoder"])
    if '"ByteLevel"' in decoder:
        table = _byte_level()
        return lambda token: bytes(table[character] for character in token if character in table)
    if '"Metaspace"' in decoder or "\\u2581" in decoder:
        by_bytes = '"ByteFallback"' in decoder

        def spell(token: str) -> bytes:
            if by_bytes and len(token) == 6 and token.startswith("<0x"):
                return bytes([int(token[3:5], 16)])
            return token.replace("▁", " ").encode()

        return spell
    raise UsageError(
        "generate: this tokenizer does not write text byte by byte (WordPiece, for one), so no "
        "schema or regex can be held; take a model with a byte-level or SentencePiece tokenizer"
    )


def _byte_level() -> dict[str, int]:
    """Return which byte each character of a byte-level token stands for.

    Printable bytes stand for themselves, the others for characters from 256 on, in order: Radford
    et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.2, and its code.
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): b for n, b in enumerate(others)}
