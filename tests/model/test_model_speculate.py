"""Guessing ahead saves passes and changes no word."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from decoder_samples import DECODER
from hypothesis import given
from hypothesis import strategies as st
from model_samples import generator

from tael.errors import UsageError
from tael.model.config import ModelConfig
from tael.model.generate import Request, generate
from tael.model.head import VocabHead
from tael.model.network import Network, build
from tael.model.reader import Reader
from tael.model.settings import Settings
from tael.model.speculate import Draft, Guesser, Lookup, speculate

WAYS = [
    Settings(max_tokens=64),
    Settings(max_tokens=40, end=(2, 7, 13), repetition_penalty=1.3),
    Settings(max_tokens=40, temperature=0.9, top_p=0.9, no_repeat_ngram=3),
    Settings(max_tokens=1),
]


def small(config: ModelConfig, seed: int = 3) -> Network:
    made = build(config, VocabHead(config, "clm"), seed=seed).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4)
    return made


class Liar:
    """Guesses that are mostly wrong, and as many as are wanted."""

    def __init__(self) -> None:
        self.luck = generator(5)

    def guess(self, ids: Sequence[int], most: int) -> list[int]:
        return torch.randint(0, DECODER.vocab, (most,), generator=self.luck).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("settings", WAYS)
def test_guesses_change_no_token_in_float64(decoder: Network, settings: Settings) -> None:
    request = Request([5, 6, 7, 5, 6], settings, seed=4)
    expected = generate(decoder, [request])[0]
    narrow = ModelConfig(**{**vars(DECODER), "hidden": 12, "layers": 1})
    guessers: list[Guesser] = [Lookup(), Liar(), Draft(small(narrow), 99), Draft(decoder, 99)]
    for guesser in guessers:
        *_, last = speculate(decoder, request, guesser)
        found = last.row.finished()
        assert (found.ids, found.end, found.seed) == (expected.ids, expected.end, expected.seed)


def test_a_window_forgets_wrong_guesses_too() -> None:
    config = ModelConfig(**{**vars(DECODER), "window": 5, "local": (True, False)})
    windowed = small(config)
    for settings in (Settings(max_tokens=50), Settings(max_tokens=50, temperature=1.0)):
        request = Request([5, 6, 7, 5, 6, 8, 9], settings, seed=4)
        expected = generate(windowed, [request])[0]
        for guesser in (Lookup(), Liar(), Draft(small(config, seed=9), 99)):
            *_, last = speculate(windowed, request, guesser)
            assert last.row.finished().ids == expected.ids


def test_right_guesses_save_passes(decoder: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[Reader] = []
    read = Reader.read

    def counted(self: Reader, ids_BT: Any) -> Any:
        passes.append(self)
        return read(self, ids_BT)

    monkeypatch.setattr(Reader, "read", counted)
    draft = Draft(decoder, 99)  # the network itself guesses rightly
    *_, last = speculate(decoder, Request([5, 6], Settings(max_tokens=41)), draft)
    assert last.row.written == 41
    assert sum(reader is not draft.reader for reader in passes) == 8  # 5 tokens a pass


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 12))
def test_a_lookup_says_what_followed_before(ids: list[int], most: int) -> None:
    guesses = Lookup(match=2).guess(ids, most)
    assert len(guesses) <= min(most, 10)
    if guesses:
        size = (
            2
            if len(ids) > 2 and any(ids[n : n + 2] == ids[-2:] for n in range(len(ids) - 2))
            else 1
        )
        starts = [n for n in range(len(ids) - size) if ids[n : n + size] == ids[-size:]]
        assert guesses == ids[starts[-1] + size :][: len(guesses)]
    else:
        assert ids[-1] not in ids[:-1]


def test_a_draft_stops_where_its_table_of_positions_ends(decoder: Network) -> None:
    learned = ModelConfig(**{**vars(DECODER), "position": "learned", "max_positions": 12})
    request = Request([5, 6, 7], Settings(max_tokens=30))
    *_, last = speculate(decoder, request, Draft(small(learned), 99))
    assert last.row.finished().ids == generate(decoder, [request])[0].ids


def test_only_a_decoder_drafts() -> None:
    with pytest.raises(UsageError, match="draft model must be a causal one"):
        Draft(build(ModelConfig(vocab=41, hidden=12, layers=1, heads=2, ffn=20)), 9)
