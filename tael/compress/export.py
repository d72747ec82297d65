"""The network as an ONNX graph, and the proof that it is the same network.

Letters: B rows · T positions · N records · C classes.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tael.compress.parent import batches
from tael.compress.session import INPUTS, OUTPUT, open_session, run_session
from tael.errors import CheckpointError
from tael.model.network import ForExport, Network
from tael.task.base import Example, Task

__all__ = ["TOLERANCE", "check_parity", "export_onnx"]

TOLERANCE = 1e-4  # largest |Δ logit| between float32 runtimes; seen: 1e-6, from the order of sums
_LONGEST_EXAMPLE = 17  # the example that is traced; any length and number of rows follows from it


def export_onnx(network: Network, path: Path) -> None:
    """Write `network` with its head to `path` as ONNX, rows and length free, float32.

    Inputs ids, mask, types: int64 (B, T). Output logits: float32 (B, C).
    """
    length = min(_LONGEST_EXAMPLE, network.config.max_positions)
    ids_BT = torch.ones(
        3, length, dtype=torch.int64
    )  # 3 rows: 0 and 1 would be taken for constants
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, length // 2 :] = 0
    rows = torch.export.Dim("rows", min=1)
    positions = torch.export.Dim("positions", min=1, max=network.config.max_positions)
    free = {0: rows, 1: positions}
    with _quiet():
        program = torch.onnx.export(
            ForExport(network).eval(),
            (ids_BT, mask_BT, torch.zeros_like(ids_BT)),
            dynamo=True,
            dynamic_shapes=(free, free, free),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            verbose=False,
        )
        assert program is not None
        program.save(path)


def check_parity(
    path: Path, network: Network, task: Task, examples: Sequence[Example], *, threads: int
) -> float:
    """Run graph and network on the same batches; return the largest difference of a logit.

    Raises CheckpointError where one logit differs by more than TOLERANCE (of the largest logit
    where that is above 1), or where one decision differs.
    """
    session = open_session(path, threads)
    largest, scale, decisions = 0.0, 1.0, 0
    network.eval()
    with torch.inference_mode():
        for _, batch in batches(task, examples):
            expected_BC = task.logits(network, batch).float().numpy()
            mask_BT = (batch.documents_BT != 0).long()
            types_BT = torch.zeros_like(batch.ids_BT) if batch.types_BT is None else batch.types_BT
            found_BC = run_session(session, batch.ids_BT.numpy(), mask_BT.numpy(), types_BT.numpy())
            difference = np.nan_to_num(np.abs(found_BC - expected_BC), nan=np.inf)
            largest = max(largest, float(difference.max()))
            scale = max(scale, float(np.abs(expected_BC).max()))
            decisions += _other_decisions(task, expected_BC, found_BC)
    if decisions or largest > TOLERANCE * scale:
        raise CheckpointError(
            f"{path}: the ONNX export is not the model: over {len(examples)} dev records its "
            f"logits differ by up to {largest:.2g} (allowed {TOLERANCE * scale:.2g}) and "
            f"{decisions} answers are others; leave it out with compress.variants, and report it"
        )
    return largest


def _other_decisions(
    task: Task, expected_BC: NDArray[np.float32], found_BC: NDArray[np.float32]
) -> int:
    """Count the rows whose decided labels differ; numbers (regression) decide nothing."""
    finite_B = np.isfinite(found_BC).all(axis=1)  # what is no number decides nothing
    expected, found = (task.decode(list(rows[finite_B]), ()) for rows in (expected_BC, found_BC))
    pairs = zip(expected, found, strict=True)
    other = [
        one.get("label", one.get("labels")) != two.get("label", two.get("labels"))
        for one, two in pairs
    ]
    return int(np.count_nonzero(~finite_B)) + sum(map(bool, other))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about itself and about packages that nothing here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
