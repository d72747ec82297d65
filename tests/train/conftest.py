from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from train_standin import Bag, Rows, Sums

from tael.recipe.schema import Train
from tael.train.costs import Costs
from tael.train.guard import Stop
from tael.train.loop import Course, Outcome, Verdict, fit
from tael.train.progress import Quiet
from tael.train.track import Track

Trained = tuple[nn.Module, Outcome]


@pytest.fixture
def learn(tmp_path: Path) -> Callable[..., Trained]:
    """Train a Bag; `folder` names the run, options are those of the recipe's `train`."""

    def run(
        *,
        folder: str = "run",
        steps: int = 12,
        batches: Any = None,
        dropout: float = 0.0,
        dtype: Any = "float32",
        evaluations: int = 3,
        verdicts: Callable[[nn.Module], list[Verdict]] | None = None,
        stop: Stop | None = None,
        learner: Any = None,
        lower: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Trained:
        torch.manual_seed(0)
        network = Bag(dropout)
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        options = {"save_every": 5, "rate": 0.05, "warmup": 0.0, "schedule": "constant"} | options
        course = Course(
            "train", Train(**options), steps, 7, dtype, evaluations, verdicts is not None
        )
        track = Track(root, Costs(root, 0.1), Quiet())
        try:
            outcome = fit(
                network,
                learner or Sums(),
                batches or Rows(),
                course,
                root=root / "checkpoints" / "train",
                track=track,
                stop=stop or Stop(),
                evaluate=lambda: verdicts(network) if verdicts else [],
                lower=lower or (lambda rows: None),
            )
        finally:
            track.close()
        return network, outcome

    return run
