"""Where a training step spends its time, by kind of work."""

from collections import defaultdict
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

__all__ = ["KINDS", "shares"]

# The first kind one of whose words stands in an operator's name takes its time.
KINDS = {
    "optimiser": ("_fused_adam", "_foreach", "vector_norm", "aten::lerp", "addcdiv", "addcmul"),
    "attention": ("attention", "softmax_data", "aten::_softmax", "bmm"),
    "loss": ("log_softmax", "nll_loss", "cross_entropy", "logsumexp", "index_add"),
    "norm": ("layer_norm", "rms_norm"),
    "activation": ("gelu", "silu", "tanh", "relu"),
    "gemm": ("aten::mm", "aten::addmm", "linear", "matmul"),
    "dropout": ("dropout", "bernoulli"),
    "casts and copies": ("copy_", "_to_copy", "clone", "contiguous", "aten::cat", "fill_", "zero_"),
    "gather": ("index", "embedding", "gather", "scatter"),
    "sums": ("aten::add", "aten::sum", "aten::mul", "aten::div"),
}


def shares(
    step: Callable[[], object], steps: int
) -> tuple[dict[str, float], list[tuple[str, float]]]:
    """Return each kind's share of the seconds of `steps` steps, and the dearest operators.

    `python` is what no operator took: the interpreter, and the data.
    """
    import time

    with profile(activities=[ProfilerActivity.CPU]) as found:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        wall = time.perf_counter() - start
    by_kind: dict[str, float] = defaultdict(float)
    names = []
    for event in found.key_averages():
        seconds = event.self_cpu_time_total / 1e6
        names.append((event.key, seconds / wall))
        by_kind[_kind(event.key)] += seconds / wall
    by_kind["python"] = max(0.0, 1 - sum(by_kind.values()))
    names.sort(key=lambda pair: -pair[1])
    return dict(sorted(by_kind.items(), key=lambda pair: -pair[1])), names[:14]


def _kind(name: str) -> str:
    low = name.lower()
    return next((kind for kind, words in KINDS.items() if any(w in low for w in words)), "other")
