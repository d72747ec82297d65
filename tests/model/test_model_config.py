"""Sizes that fit, and sizes that are refused with all their problems."""

from dataclasses import replace
from typing import Any

import pytest
from model_samples import CONFIG

from tael.errors import CheckpointError
from tael.model.config import ModelConfig
from tael.model.network import build


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 5}, r"hidden \(24\) must be divisible by heads \(5\)"),
        ({"hidden": -24}, "hidden must be a whole number from 1, found -24"),
        ({"vocab": "many"}, "vocab must be a whole number from 1, found 'many'"),
        ({"layers": True}, "layers must be a whole number"),
        ({"layers": 2.0}, "layers must be a whole number"),
        ({"pad": 61}, "pad must be an id below vocab"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1"),
        ({"norm_eps": 0.0}, "norm_eps must be between 0 and 1"),
        ({"activation": "swish2"}, "activation must be one of gelu"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        replace(CONFIG, **changes)


def test_all_problems_of_a_config_stand_in_one_line() -> None:
    with pytest.raises(CheckpointError) as caught:
        replace(CONFIG, heads=7, dropout=2.0, activation="x")
    message = str(caught.value)
    assert all(word in message for word in ("heads (7)", "dropout", "activation"))
    assert "\n" not in message


@pytest.mark.parametrize(
    "config", [CONFIG, ModelConfig(100, 16, 3, 2, 8, max_positions=20, types=1)]
)
def test_the_estimate_of_parameters_is_exact(config: ModelConfig) -> None:
    assert config.parameters() == sum(p.numel() for p in build(config).parameters())
