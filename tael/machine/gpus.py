"""What public data sheets say of accelerators: peaks, memory, and how fast they talk to each other.

Peaks are those of dense products in bfloat16 with float32 sums; sheets that name only the figure
with structural sparsity name twice as much. Prices are nobody's but the user's.
"""

import difflib
from dataclasses import dataclass

from tael.errors import UsageError

__all__ = ["GPUS", "Gpu", "find_gpu"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator, and the machine it usually stands in."""

    name: str
    tflops: float  # bfloat16, dense
    memory_gb: float
    link_gb_s: float  # to its neighbours in the machine, one way
    per_machine: int
    source: str


GPUS = {
    "a100-40": Gpu(
        "A100 SXM 40 GB", 312, 40, 300, 8,
        "NVIDIA A100 data sheet: 312 TFLOPS, NVLink 600 GB/s both ways",
    ),
    "a100": Gpu(
        "A100 SXM 80 GB", 312, 80, 300, 8,
        "NVIDIA A100 data sheet: 312 TFLOPS, NVLink 600 GB/s both ways",
    ),
    "h100": Gpu(
        "H100 SXM", 989, 80, 450, 8,
        "NVIDIA H100 data sheet: 1,979 TFLOPS with sparsity, NVLink 900 GB/s both ways",
    ),
    "h200": Gpu(
        "H200 SXM", 989, 141, 450, 8,
        "NVIDIA H200 data sheet: 1,979 TFLOPS with sparsity, NVLink 900 GB/s both ways",
    ),
    "b200": Gpu(
        "B200 SXM", 2250, 180, 900, 8,
        "NVIDIA DGX B200 data sheet: 1,440 GB in 8; 4.5 PFLOPS with sparsity, NVLink 1.8 TB/s",
    ),
    "l4": Gpu("L4", 121, 24, 32, 8, "NVIDIA L4 data sheet: 242 TFLOPS with sparsity, PCIe 4 x16"),
    "l40s": Gpu("L40S", 362, 48, 32, 8, "NVIDIA L40S data sheet: 733 with sparsity, PCIe 4 x16"),
    "mi300x": Gpu(
        "MI300X", 1307, 192, 448, 8,
        "AMD Instinct MI300X data sheet: 1,307 TFLOPS, Infinity Fabric 896 GB/s both ways",
    ),
}  # fmt: skip


def find_gpu(name: str) -> Gpu:
    """Return the accelerator of that name; UsageError with the nearest where it is not known."""
    key = name.lower()
    if key in GPUS:
        return GPUS[key]
    near = difflib.get_close_matches(key, GPUS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"--gpu {name}: not known; {hint}known: {', '.join(GPUS)}")
