"""A model's own files say how it writes; a request is laid over them."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tael.errors import CheckpointError, UsageError
from tael.model.settings import Settings, model_settings, wished

BART = {
    "bos_token_id": 0, "decoder_start_token_id": 2, "early_stopping": True, "eos_token_id": 2,
    "forced_bos_token_id": 0, "forced_eos_token_id": 2, "length_penalty": 2.0, "max_length": 142,
    "min_length": 56, "no_repeat_ngram_size": 3, "num_beams": 4, "pad_token_id": 1,
    "transformers_version": "4.27.0",
}  # fmt: skip
QWEN = {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1,
        "eos_token_id": [151645, 151643]}  # fmt: skip


def of(folder: Path, said: dict[str, Any] | None, **raw: Any) -> Settings:
    if said is not None:
        (folder / "generation_config.json").write_text(json.dumps(said), "utf-8")
    return model_settings(folder, raw)


def test_a_summarisers_file_says_all_of_its_search(tmp_path: Path) -> None:
    assert of(tmp_path, BART, is_encoder_decoder=True) == Settings(
        max_tokens=141, beams=4, early_stopping=True, length_penalty=2.0, no_repeat_ngram=3,
        min_length=56, end=(2,), start=2, forced_first=0, forced_last=(2,),
    )  # fmt: skip


def test_an_old_folder_says_it_in_its_config(tmp_path: Path) -> None:
    assert of(tmp_path, None, **BART, is_encoder_decoder=True).beams == 4
    marian = of(tmp_path, {"bad_words_ids": [[58100], [0]], "eos_token_id": 0, "num_beams": 6,
                           "decoder_start_token_id": 58100}, is_encoder_decoder=True)  # fmt: skip
    assert (marian.banned, marian.beams) == (((58100,),), 6)  # never the end token itself


def test_a_model_that_draws_says_how(tmp_path: Path) -> None:
    own = of(tmp_path, QWEN)
    assert (own.temperature, own.top_k, own.top_p) == (0.7, 20, 0.8)
    assert own.end == (151645, 151643)
    still = of(tmp_path, QWEN | {"do_sample": False})
    assert (still.temperature, still.top_k, still.repetition_penalty) == (0.0, None, 1.1)


def test_what_is_not_followed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        of(tmp_path, BART | {"typical_p": 0.9, "epsilon_cutoff": 0.0})
    assert [r.getMessage() for r in caplog.records] == [
        f"{tmp_path / 'generation_config.json'}: typical_p=0.9 is not followed"
    ]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"top_p": 7, "do_sample": True}, "top_p must be above 0 and at most 1, found 7; mend it"),
        ({"num_beams": "4"}, "beams must be a whole number"),
        ({"eos_token_id": "x"}, "mend it"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_a_line(
    tmp_path: Path, said: dict[str, Any], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words) as refusal:
        of(tmp_path, said)
    assert "generation_config.json" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    (tmp_path / "generation_config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="expected an object, found list"):
        of(tmp_path, None)


def test_a_wish_goes_over_the_models_own(tmp_path: Path) -> None:
    own = of(tmp_path, BART, is_encoder_decoder=True)
    assert wished(own, {}) == own
    assert wished(own, {"max_tokens": None, "temperature": None}) == own
    drawn = wished(own, {"temperature": 0.8, "top_p": 0.9})
    assert (drawn.beams, drawn.temperature, drawn.forced_first) == (1, 0.8, 0)
    assert wished(own, {"stop": "\n", "max_tokens": 9}).stop == ("\n",)
    assert wished(of(tmp_path, QWEN), {"beams": 3}).temperature == 0.0
    with pytest.raises(UsageError, match="unknown top_q; known: max_tokens, min_tokens"):
        wished(own, {"top_q": 1})  # type: ignore[typeddict-unknown-key]
