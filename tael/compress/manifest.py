"""What a variant is: a folder with files, a manifest and, once priced, the evidence.

A variant's folder holds everything that serving needs (weights, tokenizer, `task.json`), so it can
be copied away from its run. This file imports neither torch nor onnxruntime: a process that serves
a linear variant pays for neither.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tael import files
from tael.errors import CheckpointError, UsageError

__all__ = [
    "BASELINE",
    "MANIFEST",
    "PARENT",
    "Evidence",
    "Variant",
    "read_variant",
    "write_manifest",
]

MANIFEST = "manifest.json"
PARENT = "torch-fp32"  # what the others are made from and compared with
BASELINE = "tfidf"  # what a sceptic would use first

Runtime = Literal["torch", "onnx", "linear"]
Precision = Literal["fp32", "bf16", "int8"]


class Evidence(BaseModel):
    """What was measured, and on what: filled in when the run is priced."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    quality: float
    low: float
    high: float
    p50_ms: float
    p95_ms: float
    throughput: float  # requests a second, sustained at the p95 bound
    peak_bytes: int
    cost_per_1000: float | None  # None where no load keeps the p95 bound
    currency: str
    machine: dict[str, str | int | float]


class Variant(BaseModel):
    """A servable artefact: where it comes from, how it runs, and what holds it together.

    `together` is the largest number of texts computed at once, None where any number gives the same
    answers. Lossy arithmetic is run one text at a time: onnxruntime's dynamic int8 takes one scale
    per tensor, and bfloat16 rounds differently for other shapes, so a neighbour could turn a label.
    `score_bound` is how far a score may move with the texts beside it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    parent: str | None
    how: str
    runtime: Runtime
    precision: Precision
    together: int | None = None
    score_bound: float = 1e-4
    threads: int | None = None  # for arithmetic; None: the cores that the process may use
    source: str  # SHA-256 of the parent's weights: another parent makes the variant stale
    files: dict[str, str]  # name → SHA-256
    bytes: int
    notes: dict[str, float | int | str] = {}
    evidence: Evidence | None = None


def read_variant(folder: Path, *, verify: bool = False) -> Variant:
    """Return the manifest of the variant in `folder`; `verify` also checks every file's SHA-256.

    Raises UsageError where there is no manifest, CheckpointError where it or a file is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(
            f"{folder}: no {MANIFEST} here; expected a variant such as RUN/variants/{PARENT}"
        )
    try:
        variant = Variant.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        first = problem.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise CheckpointError(
            f"{path}: {field}: {first['msg']}; delete {folder} and make it again with `tael price`"
        ) from None
    for name, expected in variant.files.items() if verify else ():
        if not (folder / name).is_file() or files.sha256(folder / name) != expected:
            raise CheckpointError(
                f"{folder / name}: not the file its manifest describes (SHA-256 {expected[:12]}…); "
                f"delete {folder} and make it again with `tael price`"
            )
    return variant


def write_manifest(folder: Path, variant: Variant) -> None:
    """Write the manifest beside the variant's files, whole or not at all."""
    files.write_text(folder / MANIFEST, variant.model_dump_json(indent=2) + "\n")
