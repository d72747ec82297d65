"""Where a training step spends its time, by kind of work."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

from training.turns import Tell

__all__ = ["KINDS", "shares"]

_SHOWN = 12  # of the dearest operators

# The first kind one of whose words stands in an operator's name takes its time.
KINDS = {
    "optimiser": ("_fused_adam", "_foreach", "vector_norm", "lerp", "addcdiv", "addcmul"),
    "loss": ("log_softmax", "nll_loss", "cross_entropy", "logsumexp", "chunked"),
    "attention": ("attention", "_softmax", "bmm"),
    "norm": ("layer_norm", "rms_norm", "layernorm"),
    "activation": ("gelu", "silu", "tanh", "relu"),
    "gemm": ("aten::mm", "aten::addmm", "linear", "matmul"),
    "dropout": ("dropout", "bernoulli", "random"),
    "casts and copies": ("copy_", "_to_copy", "clone", "contiguous", "::cat", "fill_", "zero_"),
    "gather": ("index", "embedding", "gather", "scatter"),
    "sums and products": ("aten::add", "aten::sum", "aten::mul", "aten::div", "aten::sub"),
}


class _Enough(Exception):
    """Ends the loop: all steps are seen."""


def shares(work: Callable[[Tell], None], warm: int, steps: int) -> dict[str, Any]:
    """Return each kind's share of the seconds of a loop's steps, and its dearest operators.

    The first `warm` steps are not looked at. What no operator took, the interpreter and what is not
    arithmetic, is `python`. A kind is that of the operators that do the work: an attention that is
    made of products and a softmax counts as that.
    """
    recorder, seen, began = profile(activities=[ProfilerActivity.CPU]), 0, 0.0

    def tell(tokens: int, positions: int) -> None:
        nonlocal seen, began
        seen += 1
        if seen == warm:
            recorder.__enter__()
            began = time.perf_counter()
        elif seen == warm + steps:
            raise _Enough

    try:
        work(tell)
    except _Enough:
        wall = time.perf_counter() - began
        recorder.__exit__(None, None, None)
    by_kind: dict[str, float] = defaultdict(float)
    for event in recorder.key_averages():
        by_kind[_kind(event.key)] += event.self_cpu_time_total / 1e6 / wall
    by_kind["python"] = max(0.0, 1 - sum(by_kind.values()))
    dearest = sorted(recorder.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return {
        "shares": {
            kind: round(by_kind[kind], 4) for kind in sorted(by_kind, key=by_kind.get)[::-1]
        },
        "operators": {
            event.key: round(event.self_cpu_time_total / 1e6 / wall, 4)
            for event in dearest[:_SHOWN]
        },
        "seconds_per_step": round(wall / steps, 4),
    }


def _kind(name: str) -> str:
    low = name.lower()
    return next((kind for kind, words in KINDS.items() if any(w in low for w in words)), "other")
