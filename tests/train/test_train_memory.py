"""Memory is predicted near what was held, grows with what causes it, and is refused in time."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from train_standin import tiny_recipe

from tael.errors import RunError
from tael.model.config import ModelConfig
from tael.recipe.schema import Recipe
from tael.train import memory
from tael.train.memory import Memory, available_bytes, predict, require

SMALL = ModelConfig(vocab=8000, hidden=256, layers=4, heads=4, ffn=1024)
LARGE = ModelConfig(vocab=8000, hidden=512, layers=8, heads=8, ffn=2048)
WORDY = ModelConfig(vocab=30000, hidden=256, layers=2, heads=4, ffn=1024)
EXACT = ModelConfig(8000, 256, 4, 4, 1024, dropout=0.0, attention_dropout=0.0)


def recipe(**sections: dict[str, Any]) -> Recipe:
    data = {"split": [1.0, 0.0, 0.0], "max_tokens": 96}
    return tiny_recipe(Path("r.csv"), **{"data": {"train": Path("r.csv")} | data, **sections})


def predicted(
    config: ModelConfig,
    dtype: str = "bfloat16",
    name: str = "train",
    longest: int = 96,
    **stage: Any,
) -> Memory:
    made = recipe(**{name: {"batch": 32, "steps": 3, "save_every": 9} | stage})
    return predict(config, made, name, dtype=dtype, longest=longest, steps=3)


@pytest.mark.parametrize(
    ("found", "megabytes"),
    [
        (predicted(SMALL), 827),
        (predicted(SMALL, "float32"), 977),
        (predicted(SMALL, batch=128), 1481),
        (predicted(EXACT), 774),
        (predicted(LARGE, batch=16), 1473),
        (predicted(SMALL, longest=384, batch=16), 1188),
        (predicted(SMALL, name="pretrain"), 840),
        (predicted(WORDY, name="pretrain"), 902),
        (predicted(SMALL, "float32", "pretrain"), 1005),
        (predicted(LARGE, batch=4, optimizer="muon"), 1091),
    ],
)
def test_it_is_near_what_three_steps_were_seen_to_hold(found: Memory, megabytes: float) -> None:
    assert found.total / 1e6 == pytest.approx(megabytes, rel=0.15)


def test_every_cause_shows_in_its_own_term() -> None:
    plain = predicted(SMALL)
    assert predicted(SMALL, batch=64).activations == pytest.approx(2 * plain.activations)
    assert predicted(SMALL, micro_batch=8).activations == pytest.approx(plain.activations / 4)
    assert predicted(SMALL, longest=192).activations > 2 * plain.activations  # pairs of positions
    assert predicted(SMALL, optimizer="sgd").optimizer == plain.optimizer / 2
    assert predicted(SMALL, optimizer="adafactor").optimizer == 0
    assert predicted(SMALL, average=0.9).copies == 4 * SMALL.parameters()
    assert predicted(SMALL, save_every=3).copies == 12 * SMALL.parameters()
    assert predicted(SMALL, freeze=2).activations < predicted(SMALL, freeze=1).activations
    assert predicted(SMALL, freeze="body").gradients < plain.gradients / 10
    made = recipe(train={"lora": {"rank": 8}}, pretrain={"steps": 1})
    adapted = predict(SMALL, made, "train", dtype="bfloat16", longest=96, steps=3)
    assert 0 < adapted.optimizer < plain.optimizer / 50
    assert plain.scores == 0 < predicted(SMALL, name="pretrain").scores
    assert plain.copies == 0  # there is no dev split


def test_what_cannot_fit_is_refused_with_the_largest_parts_and_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = predicted(SMALL, batch=512)
    require(needed, "train")
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**9)
    with pytest.raises(RunError) as caught:
        require(needed, "train")
    assert "train: about 4.0 GB" in str(caught.value)
    assert "activations 3.5, process 0.4" in str(caught.value)
    assert "1.0 GB may be used: set train.micro_batch" in str(caught.value)
    require(predicted(SMALL, batch=512, micro_batch=16), "train")


def test_a_limit_of_the_process_is_less_than_the_machine() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (10**12, before[1]))
    try:
        assert 0 < available_bytes() < 10**12
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (10**9, 10**9))\n"
        "from tael.train.memory import available_bytes\n"
        "import sys; print(available_bytes(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "1000000000 False\n", done.stderr
