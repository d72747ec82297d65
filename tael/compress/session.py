"""One way to open an ONNX file, for the export's own check and for serving alike."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tael.errors import CheckpointError

__all__ = ["INPUTS", "OUTPUT", "open_session", "run_session"]

INPUTS = ("ids", "mask", "types")
OUTPUT = "logits"


def open_session(path: Path, threads: int) -> Any:
    """Open `path` in onnxruntime on the CPU with `threads` threads.

    Raises CheckpointError where the file is no ONNX graph that this onnxruntime can run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # A thread that spins while it waits for work takes the core from the server beside it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's errors share no base class of their own
        first = str(problem).strip().splitlines()[0]
        raise CheckpointError(
            f"{path}: onnxruntime cannot open it ({first[:200]}); delete its folder and make it "
            "again with `tael price`"
        ) from problem


def run_session(
    session: Any, ids_BT: NDArray[np.int64], mask_BT: NDArray[np.int64], types_BT: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return logits (B, C), float32, of padded rows; the mask is 1 at real tokens."""
    feeds = dict(zip(INPUTS, (ids_BT, mask_BT, types_BT), strict=True))
    logits_BC: NDArray[np.float32] = session.run([OUTPUT], feeds)[0]
    return logits_BC
