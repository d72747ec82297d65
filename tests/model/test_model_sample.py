"""Filters keep what their formulas say, penalties and bans are transformers', luck is fair."""

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tael.model.sample import candidates, draw, ruled
from tael.model.settings import Settings

LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=30)


def shares(logits: list[float], settings: Settings) -> list[float]:
    """The share of each id, 0 where it is filtered out."""
    found_BK, ids_BK = candidates(torch.tensor([logits]), settings)
    out_V = torch.zeros(len(logits))
    at_K = torch.arange(len(logits)) if ids_BK is None else ids_BK[0]
    out_V[at_K] = found_BK[0]
    return out_V.tolist()


def plain(logits: list[float], temperature: float) -> list[float]:
    top = max(logits)
    powers = [math.exp((one - top) / temperature) for one in logits]
    return [one / sum(powers) for one in powers]


def kept(found: list[float]) -> set[int]:
    return {n for n, share in enumerate(found) if share > 0}


@profile(max_examples=60)
@given(LOGITS, st.floats(0.25, 4))
def test_without_filters_shares_are_the_softmax_at_a_temperature(
    logits: list[float], temperature: float
) -> None:
    found = shares(logits, Settings(temperature=temperature))
    assert found == pytest.approx(plain(logits, temperature), rel=1e-4, abs=1e-7)


@profile(max_examples=60)
@given(LOGITS, st.integers(1, 40))
def test_top_k_keeps_k_of_the_likeliest(logits: list[float], k: int) -> None:
    found = shares(logits, Settings(temperature=1.0, top_k=k))
    assert len(kept(found)) == min(k, len(logits))
    least = min(logits[n] for n in kept(found))
    assert all(logits[n] <= least for n in range(len(logits)) if n not in kept(found))
    assert sum(found) == pytest.approx(1, abs=1e-5)


@profile(max_examples=60)
@given(LOGITS, st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_with_that_share(logits: list[float], p: float) -> None:
    found, all_of_them = shares(logits, Settings(temperature=1.0, top_p=p)), plain(logits, 1.0)
    inside = kept(found)
    assert sum(all_of_them[n] for n in inside) >= p - 1e-5
    least = min(inside, key=lambda n: all_of_them[n])
    assert sum(all_of_them[n] for n in inside - {least}) < p + 1e-5
    assert all(all_of_them[n] <= all_of_them[least] + 1e-7 for n in set(range(len(found))) - inside)
    assert sum(found) == pytest.approx(1, abs=1e-5)


@profile(max_examples=60)
@given(LOGITS, st.floats(0.01, 1))
def test_min_p_keeps_what_is_at_least_so_likely_as_the_likeliest(
    logits: list[float], p: float
) -> None:
    found, all_of_them = shares(logits, Settings(temperature=1.0, min_p=p)), plain(logits, 1.0)
    bound = p * max(all_of_them)
    for n, share in enumerate(all_of_them):
        if abs(share - bound) > 1e-6:
            assert (n in kept(found)) == (share > bound)
    assert logits.index(max(logits)) in kept(found) or len(kept(found)) > 0


def test_a_share_that_a_thousand_tokens_do_not_reach_takes_more_of_them() -> None:
    flat, steep = torch.zeros(3000), torch.linspace(20, -20, 3000)
    settings = Settings(temperature=1.0, top_p=0.5)
    found_BK, ids_BK = candidates(torch.stack([flat, steep]), settings)
    assert ids_BK is not None
    assert (found_BK[0] > 0).sum() in (1500, 1501)
    alone_BK, alone_ids_BK = candidates(steep[None], settings)
    assert alone_ids_BK is not None
    kept_K = alone_BK[0] > 0
    assert torch.equal(found_BK[1][: len(kept_K)], alone_BK[0])
    assert torch.equal(ids_BK[1][: len(kept_K)], alone_ids_BK[0])
    assert ids_BK[1][: int(kept_K.sum())].tolist() == list(range(int(kept_K.sum())))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"top_k": 7}, {"TopK": {"top_k": 7}}),
        ({"top_p": 0.6}, {"TopP": {"top_p": 0.6}}),
        ({"min_p": 0.2}, {"MinP": {"min_p": 0.2}}),
        ({"top_k": 20, "top_p": 0.8, "min_p": 0.1},
         {"TopK": {"top_k": 20}, "TopP": {"top_p": 0.8}, "MinP": {"min_p": 0.1}}),
    ],
)  # fmt: skip
def test_filters_in_a_row_are_those_of_transformers(
    ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    process = pytest.importorskip("transformers").generation.logits_process
    logits_BV = torch.randn(1, 50, generator=torch.Generator().manual_seed(1)) * 3
    scores_BV = process.TemperatureLogitsWarper(0.7)(None, logits_BV)
    for name, arguments in theirs.items():
        scores_BV = getattr(process, f"{name}LogitsWarper")(**arguments)(None, scores_BV)
    found = shares(logits_BV[0].tolist(), Settings(temperature=0.7, **ours))
    assert_close(torch.tensor(found), scores_BV.softmax(-1)[0], atol=1e-6, rtol=1e-5)


def processed(name: str, *arguments: Any) -> Any:
    process = pytest.importorskip("transformers").generation.logits_process
    return getattr(process, f"{name}LogitsProcessor")(*arguments)


@pytest.mark.parametrize(
    ("settings", "name", "arguments"),
    [
        (Settings(repetition_penalty=1.4), "RepetitionPenalty", (1.4,)),
        (Settings(repetition_penalty=0.8), "RepetitionPenalty", (0.8,)),
        (Settings(no_repeat_ngram=2), "NoRepeatNGram", (2,)),
        (Settings(no_repeat_ngram=3), "NoRepeatNGram", (3,)),
        (Settings(no_repeat_ngram=1), "NoRepeatNGram", (1,)),
        (Settings(banned=((4,), (5, 6), (7, 5, 9), (9, 9, 9, 9, 9, 9, 9, 9, 9))),
         "NoBadWords", ([[4], [5, 6], [7, 5, 9], [9] * 9], torch.tensor([2]))),
        (Settings(min_length=9, end=(2,)), "MinLength", (9, torch.tensor([2]))),
        (Settings(forced_first=8), "ForcedBOSToken", (8,)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ids", [[3], [5, 7, 5], [7, 5, 6, 7, 5], [2, 7, 5, 7, 5, 7, 5, 6]])
def test_rules_are_those_of_transformers(
    settings: Settings, name: str, arguments: tuple[Any, ...], ids: list[int]
) -> None:
    scores_V = torch.randn(12, generator=torch.Generator().manual_seed(len(ids)))
    expected_BV = processed(name, *arguments)(torch.tensor([ids]), scores_V[None].clone())
    assert_close(ruled(scores_V, ids, len(ids) - 1, settings), expected_BV[0])


def test_the_last_place_takes_what_is_forced() -> None:
    settings, scores_V = Settings(max_tokens=4, forced_last=(2, 3)), torch.randn(6)
    for written in range(4):
        found_V = ruled(scores_V, [1] * (written + 1), written, settings)
        assert (found_V.argmax() in (2, 3) and found_V.isinf().sum() == 4) == (written == 3)


def test_presence_is_taken_off_once_and_frequency_each_time_of_what_was_written() -> None:
    settings = Settings(presence_penalty=0.5, frequency_penalty=0.25)
    found_V = ruled(torch.zeros(6), [4, 1, 1, 3, 1], 4, settings)
    assert found_V.tolist() == [0, -0.5 - 0.75, 0, -0.75, 0, 0]  # 4 stands in the prompt only


def test_an_end_token_beyond_the_vocabulary_is_no_token() -> None:
    settings = Settings(min_tokens=3, end=(1, 50256), banned=((99,),))
    assert ruled(torch.zeros(4), [2], 0, settings).tolist() == [0, -math.inf, 0, 0]


def test_rules_leave_the_logits_as_they_were() -> None:
    scores_V = torch.ones(6)
    ruled(scores_V, [1, 2], 1, Settings(repetition_penalty=2.0, banned=((3,),)))
    assert torch.equal(scores_V, torch.ones(6))


@profile(max_examples=60)
@given(LOGITS, st.floats(0, 1, exclude_max=True))
def test_what_is_drawn_has_a_share(logits: list[float], luck: float) -> None:
    settings = Settings(temperature=0.7, top_p=0.8)
    (drawn,) = draw(candidates(torch.tensor([logits]), settings), [luck])
    assert shares(logits, settings)[drawn] > 0


def test_evenly_spread_luck_draws_each_id_by_its_share() -> None:
    shares_BK = torch.tensor([[0.5, 0.0, 0.125, 0.375]]).expand(800, -1)
    drawn = Counter(draw((shares_BK, None), [n / 800 for n in range(800)]))
    assert drawn == {0: 400, 2: 100, 3: 300}


def test_a_row_draws_by_its_own_luck() -> None:
    scores_BV: Tensor = torch.randn(3, 20)
    settings = Settings(temperature=1.5, top_k=9)
    together = draw(candidates(scores_BV, settings), [0.1, 0.5, 0.9])
    alone = [
        draw(candidates(row_V[None], settings), [luck])[0]
        for row_V, luck in zip(scores_BV, [0.1, 0.5, 0.9], strict=True)
    ]
    assert together == alone
