"""Beam search finds the texts that transformers finds, with the same scores."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from decoder_samples import DECODER, prompts

from tael.errors import UsageError
from tael.model.beam import search
from tael.model.generate import Request, generate
from tael.model.network import Network
from tael.model.settings import Settings, model_settings

KINDS: list[dict[str, Any]] = [
    {"beams": 4, "max_tokens": 64},
    {"beams": 3, "max_tokens": 24, "length_penalty": 2.0, "early_stopping": True},
    {"beams": 4, "max_tokens": 24, "no_repeat_ngram": 3, "early_stopping": "never"},
    {"beams": 2, "max_tokens": 20, "length_penalty": -1.0, "repetition_penalty": 1.3},
    {"beams": 5, "max_tokens": 20, "length_penalty": 0.0, "early_stopping": "never"},
]
THEIRS = {"beams": "num_beams", "max_tokens": "max_new_tokens",
          "no_repeat_ngram": "no_repeat_ngram_size"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "t5", "bart"])
def test_the_best_texts_and_their_scores_are_those_of_transformers(
    tmp_path: Path, family: str
) -> None:
    pytest.importorskip("transformers")
    from writing_samples import pair

    model, network = pair(family, tmp_path)
    own = model_settings(tmp_path, network.raw or {})
    own = replace(own, end=(2, 5), forced_last=(2,) if family == "bart" else ())
    asked = prompts(network.config.vocab)
    both = model.config.is_encoder_decoder
    ids_BT = torch.full((3, 12), model.config.pad_token_id)
    mask_BT = torch.zeros_like(ids_BT)
    for row, one in enumerate(asked):
        at = slice(0, len(one)) if both else slice(12 - len(one), None)
        ids_BT[row, at], mask_BT[row, at] = torch.tensor(one), 1
    for kind in KINDS:
        found = search(network, [Request(one, replace(own, **kind), n=2) for one in asked])
        theirs = {THEIRS.get(name, name): value for name, value in kind.items()}
        forced = {"forced_eos_token_id": 2} if family == "bart" else {}
        out = model.generate(
            ids_BT, attention_mask=mask_BT, do_sample=False, eos_token_id=[2, 5],
            num_return_sequences=2, return_dict_in_generate=True, output_scores=True,
            **theirs, **forced,
        )  # fmt: skip
        expected = out.sequences[:, 1 if both else 12 :].tolist()
        for ours, text in zip(found, expected, strict=True):
            end = next((n + 1 for n, id_ in enumerate(text) if id_ in (2, 5)), len(text))
            assert list(ours.ids) == text[:end], kind
        assert [one.score for one in found] == pytest.approx(
            out.sequences_scores.tolist(), rel=1e-4
        )


def test_a_wider_search_finds_likelier_texts(decoder: Network) -> None:
    def score(beams: int) -> float:
        settings = Settings(max_tokens=12, beams=beams, length_penalty=0.0)
        return search(decoder, [Request([5, 6], settings)])[0].score or 0.0

    greedy = generate(decoder, [Request([5, 6], Settings(max_tokens=12, logprobs=0))])[0]
    assert greedy.logprobs is not None
    assert score(8) >= score(4) > sum(scored.logprob for scored in greedy.logprobs) - 1e-4


def test_one_beam_is_the_greedy_text(decoder: Network) -> None:
    asked = [Request(one, Settings(max_tokens=12, end=(2,))) for one in prompts(DECODER.vocab)]
    found = [search(decoder, [one])[0].ids for one in asked]
    assert found == [one.ids for one in generate(decoder, asked)]


def test_prompts_are_searched_apart(decoder: Network) -> None:
    settings = Settings(max_tokens=14, beams=3, end=(2, 9, 17), early_stopping=True)
    asked = [Request(one, settings, n=3) for one in prompts(DECODER.vocab, (7, 3, 12, 1))]
    together = search(decoder, asked)
    alone = [one for request in asked for one in search(decoder, [request])]
    assert [one.ids for one in together] == [one.ids for one in alone]
    scores = [one.score or 0.0 for one in together[:3]]
    assert scores == sorted(scores, reverse=True)


def test_more_texts_than_beams_are_refused(decoder: Network) -> None:
    with pytest.raises(UsageError, match="2 beams give up to 2 texts"):
        search(decoder, [Request([5], Settings(beams=2), n=3)])
