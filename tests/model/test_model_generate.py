"""What is written is transformers' greedy text, and a text is its request's alone."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from decoder_samples import DECODER, prompts
from torch import Tensor

from tael.errors import DataError, UsageError
from tael.model.batch import Batch
from tael.model.config import ModelConfig
from tael.model.generate import Request, Row, Written, choose, generate, write
from tael.model.head import VocabHead
from tael.model.network import Network, build
from tael.model.reader import Reader
from tael.model.settings import Settings, model_settings

TOKENS = 64


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "gpt2", "t5", "bart", "marian"])
def test_greedy_texts_of_a_mixed_batch_are_those_of_transformers(
    tmp_path: Path, family: str
) -> None:
    pytest.importorskip("transformers")
    from writing_samples import pair, their_texts

    model, network = pair(family, tmp_path)
    own = model_settings(tmp_path, network.raw or {})
    asked = prompts(network.config.vocab)
    # No three tokens twice: random networks would write one token again and again.
    settings = replace(own, max_tokens=TOKENS, beams=1, temperature=0.0, no_repeat_ngram=3)
    found = generate(network, [Request(one, settings) for one in asked])
    expected = their_texts(model, asked, max_new_tokens=TOKENS, num_beams=1, no_repeat_ngram_size=3)
    assert [list(one.ids) for one in found] == expected
    assert max(len(set(one)) for one in expected) > 3  # else the texts would prove little


def whole(decoder: Network, ids: list[int]) -> Tensor:
    """Logits (T, V) without a cache."""
    ids_BT = torch.tensor([ids])
    batch = Batch(ids_BT, torch.ones_like(ids_BT, dtype=torch.int32), layout="full")
    with torch.inference_mode():
        return decoder.logits(batch)[0]


def test_a_text_from_the_cache_is_the_text_without(decoder: Network) -> None:
    asked = prompts(DECODER.vocab)
    settings = Settings(max_tokens=20)
    for prompt, found in zip(
        asked, generate(decoder, [Request(p, settings) for p in asked]), strict=True
    ):
        ids = list(prompt)
        for _ in range(20):
            ids.append(int(whole(decoder, ids)[-1].argmax()))
        assert list(found.ids) == ids[len(prompt) :]


SAMPLED = Settings(max_tokens=16, temperature=1.3, top_p=0.95, end=(2,), logprobs=2)


def test_a_drawn_text_does_not_depend_on_its_neighbours(decoder: Network) -> None:
    asked = [Request(p, SAMPLED, seed, n=2) for seed, p in enumerate(prompts(DECODER.vocab))]
    together = generate(decoder, asked)
    alone = [one for request in asked for one in generate(decoder, [request])]
    assert [(one.ids, one.end, one.seed) for one in together] == [
        (one.ids, one.end, one.seed) for one in alone
    ]
    assert [(one.prompt, one.sample) for one in together] == [
        (prompt, sample) for prompt in range(3) for sample in range(2)
    ]


def test_samples_differ_and_a_seed_brings_them_back(decoder: Network) -> None:
    request = Request([5, 6, 7], SAMPLED, seed=11, n=4)
    first, again = generate(decoder, [request]), generate(decoder, [request])
    assert [one.ids for one in first] == [one.ids for one in again]
    assert len({one.ids for one in first}) == 4
    other = generate(decoder, [Request([5, 6, 7], SAMPLED, seed=12)])
    assert other[0].ids != first[0].ids


def test_requests_of_other_settings_share_a_batch(decoder: Network) -> None:
    asked = [
        Request([5, 6], Settings(max_tokens=9)),
        Request([7], Settings(max_tokens=3, temperature=0.7), seed=3),
        Request([8, 9, 10], Settings(max_tokens=6, temperature=2.0, top_k=4), seed=4),
        Request([11], Settings(max_tokens=5, repetition_penalty=1.5)),
    ]
    together = generate(decoder, asked)
    assert [one.ids for one in together] == [generate(decoder, [r])[0].ids for r in asked]
    assert [one.tokens for one in together] == [9, 3, 6, 5]


def test_a_text_that_has_ended_costs_nothing_more(
    decoder: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    read = Reader.read

    def counted(self: Reader, ids_BT: Any) -> Tensor:
        rows.append(len(ids_BT))
        return read(self, ids_BT)

    monkeypatch.setattr(Reader, "read", counted)
    generate(decoder, [Request([5], Settings(max_tokens=n)) for n in (1, 3, 6)])
    assert rows == [2, 2, 1, 1, 1]


def logprobs(decoder: Network, prompt: list[int], written: Written) -> Tensor:
    """The network's own log-probabilities at each written place, (T, V)."""
    logits_TV = whole(decoder, [*prompt, *written.ids])
    return logits_TV[len(prompt) - 1 : -1].float().log_softmax(-1)


def test_logprobs_are_the_networks_own_whatever_bends_the_choice(decoder: Network) -> None:
    settings = Settings(max_tokens=12, temperature=0.5, top_k=5, repetition_penalty=1.7, logprobs=3)
    written = generate(decoder, [Request([5, 6, 7], settings, seed=1)])[0]
    assert written.logprobs is not None
    assert len(written.logprobs) == 12
    expected_TV = logprobs(decoder, [5, 6, 7], written)
    for scored, id_, expected_V in zip(written.logprobs, written.ids, expected_TV, strict=True):
        assert scored.id == id_
        assert math.isclose(scored.logprob, float(expected_V[id_]), abs_tol=1e-5)
        best = expected_V.topk(3)
        assert [id_ for id_, _ in scored.top] == best.indices.tolist()
        assert [value for _, value in scored.top] == pytest.approx(best.values.tolist(), abs=1e-5)
    greedy = generate(decoder, [Request([5, 6, 7], Settings(max_tokens=12, logprobs=0))])[0]
    assert greedy.logprobs is not None
    assert sum(s.logprob for s in greedy.logprobs) > sum(s.logprob for s in written.logprobs)
    assert [s.top for s in greedy.logprobs] == [()] * 12


def test_a_text_ends_for_the_reason_that_came(decoder: Network) -> None:
    free = generate(decoder, [Request([5], Settings(max_tokens=10))])[0]
    assert (free.end, free.tokens) == ("length", 10)
    third = free.ids[2]
    at = free.ids.index(third) + 1
    for settings, end in (
        (Settings(max_tokens=10, end=(third,)), "eos"),
        (Settings(max_tokens=10, stop_ids=(third,)), "stop"),
        (Settings(max_tokens=at, end=(third,)), "eos"),
        (Settings(max_tokens=at, end=(40,)), "length"),
    ):
        found = generate(decoder, [Request([5], settings)])[0]
        assert (found.end, found.ids) == (end, free.ids[:at])


def test_no_end_comes_before_min_tokens(decoder: Network) -> None:
    free = generate(decoder, [Request([5], Settings(max_tokens=12))])[0].ids
    ends = (free[0], free[1])
    found = generate(decoder, [Request([5], Settings(max_tokens=12, min_tokens=7, end=ends))])[0]
    assert found.tokens >= 7
    assert not set(found.ids[:7]) & set(ends)
    as_length = Settings(max_tokens=12, min_length=8, end=ends)  # the prompt counts there
    assert generate(decoder, [Request([5], as_length)])[0].ids == found.ids


def test_pieces_come_token_by_token_and_say_when_a_text_ends(decoder: Network) -> None:
    requests = [Request([5], Settings(max_tokens=n)) for n in (2, 3)]
    seen = [(piece.row.prompt, piece.id, piece.end) for piece in write(decoder, requests)]
    found = generate(decoder, requests)
    for prompt, one in enumerate(found):
        assert tuple(id_ for row, id_, _ in seen if row == prompt) == one.ids
    assert [end for *_, end in seen] == [None, None, "length", None, "length"]
    assert list(write(decoder, [])) == []


def test_what_stands_in_no_vocabulary_or_place_is_refused(decoder: Network) -> None:
    settings = Settings(max_tokens=4)
    for prompt, words in (([], "no tokens"), ([5, 41], "id 41"), ([-1], "id -1")):
        with pytest.raises(DataError, match=words):
            generate(decoder, [Request(prompt, settings)])
    learned = ModelConfig(**{**vars(DECODER), "position": "learned", "max_positions": 10})
    table = build(learned, VocabHead(learned, "clm")).eval()
    short = generate(table, [Request([5] * 7, Settings(max_tokens=9)), Request([6], settings)])
    assert [(one.tokens, one.end) for one in short] == [(3, "length"), (4, "length")]
    with pytest.raises(DataError, match=r"11 tokens, the model has places for 10"):
        generate(table, [Request([5] * 11, settings)])


def test_a_mistake_in_settings_is_told_with_all_others() -> None:
    with pytest.raises(UsageError, match=r"temperature must be .*, found -1; top_p must be"):
        Settings(temperature=-1, top_p=1.5)
    with pytest.raises(UsageError, match="beams take neither"):
        Settings(beams=2, temperature=1.0)
    with pytest.raises(UsageError, match="max_tokens must be a whole number from 1, found True"):
        Settings(max_tokens=True)


def test_choices_are_made_row_by_row(decoder: Network) -> None:
    """A row that draws and a row that does not, on logits that are known."""
    logits_BV = torch.tensor([[0.0, 5.0, 4.0], [0.0, 5.0, 4.0]])
    draws = Settings(temperature=1.0, top_k=1)
    make: Callable[[Settings], Row] = lambda s: Row(decoder, Request([5], s), 0, 0, None)  # noqa: E731 two of them
    assert choose(logits_BV, [make(Settings()), make(draws)]) == [1, 1]
