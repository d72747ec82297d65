"""What this computer is: facts that are cheap to read, and peaks that are measured once.

`probe` keeps its measurement in the user's cache folder, so that two runs on one machine decide
alike (bfloat16 or not) and no run pays for measuring twice.
"""

import json
import logging
import math
import os
import platform
import sys
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tael.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Machine",
    "Peaks",
    "cache_file",
    "cores",
    "describe",
    "memory_bytes",
    "peak_memory_bytes",
    "probe",
    "remembered",
]

_log = logging.getLogger(__name__)
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
# Rows x inner x columns of the products that BERT-shaped models spend their time in.
_SHAPES = ((2048, 256, 1024), (2048, 384, 1536), (1024, 768, 768))
_MEASURE_SECONDS = 0.2  # for each shape and number format
_BFLOAT16_GAIN = 1.2


@dataclass(frozen=True)
class Peaks:
    """The best rates measured here: arithmetic by number format, and memory."""

    gflops: dict[str, float]  # float32, bfloat16, int8 where it can be measured
    bandwidth_gb_s: float


@dataclass(frozen=True)
class Machine:
    """This computer as far as it decides speed and bits."""

    cpu: str
    cores: int
    memory_bytes: int
    flags: tuple[str, ...]
    gpu: str | None
    torch: str
    peaks: Peaks
    bfloat16_faster: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"flags": list(self.flags)}


def probe(cache: Path | None = None) -> Machine:
    """Return this machine, as measured before on the same CPU, cores and torch, or measured now.

    `cache` is the file that keeps the measurement, by default `tael/machine.json` in the user's
    cache folder. Measuring takes at most about 5 seconds. A file that cannot be read is measured
    anew; one that cannot be written costs the next call the same seconds, and is said.
    """
    file = cache or cache_file()
    known = remembered(file)
    if known is not None:
        return known
    machine = _measure()
    try:
        write_text(file, json.dumps(machine.to_json(), indent=1) + "\n")
    except OSError as error:
        _log.warning("%s: cannot be written (%s): measured again next time", file, error.strerror)
    return machine


def remembered(file: Path | None = None) -> Machine | None:
    """Return the measurement kept in `file` if it is of this CPU, these cores and this torch."""
    try:
        stored = json.loads((file or cache_file()).read_text(encoding="utf-8"))
        peaks = Peaks(**stored.pop("peaks"))
        machine = Machine(**stored | {"flags": tuple(stored["flags"]), "peaks": peaks})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, damaged, or written by another version
    here = (_cpu(), _flags(), cores(), _version("torch"))
    same = (machine.cpu, machine.flags, machine.cores, machine.torch) == here
    return machine if same else None


def describe() -> dict[str, str | int]:
    """Return the facts that cost nothing to read, for a lock or a report; torch is not imported."""
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "flags": " ".join(_flags()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": _version("torch"),
    }


def cores() -> int:
    """Return how many cores this process may use: affinity and the container's quota respected."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _cpu_quota()
    return max(1, min(count, math.ceil(quota))) if quota else count


def memory_bytes() -> int:
    """Return how much memory this process may use: the machine's, or the container's limit."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        total = 0  # not POSIX: unknown
    limits = [
        int(text)
        for name in ("memory.max", "memory/memory.limit_in_bytes")
        if (text := _read(Path("/sys/fs/cgroup", name))).isdigit()
    ]
    return min([total, *limits]) if total else min(limits, default=0)


def peak_memory_bytes() -> int:
    """Return the most memory that this process ever held, in bytes."""
    for line in _read(Path("/proc/self/status")).splitlines():
        if line.startswith("VmHWM:"):
            # Not getrusage: on Linux a child inherits the peak of the process that started it.
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere


def cache_file() -> Path:
    """Return the file that keeps the measurement, in the user's cache folder."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "tael" / "machine.json"


def _measure() -> Machine:
    import torch

    rates = {name: _gflops(name) for name in ("float32", "bfloat16", "int8")}
    best = {name: max(by_shape) for name, by_shape in rates.items() if by_shape}
    # bfloat16 must win where the model works, not in its best case only.
    gains = [fast / slow for fast, slow in zip(rates["bfloat16"], rates["float32"], strict=False)]
    return Machine(
        cpu=_cpu(),
        cores=cores(),
        memory_bytes=memory_bytes(),
        flags=_flags(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        torch=_version("torch"),
        peaks=Peaks({name: round(rate, 1) for name, rate in best.items()}, _bandwidth()),
        bfloat16_faster=bool(gains) and min(gains) >= _BFLOAT16_GAIN,
    )


def _gflops(dtype: str) -> list[float]:
    """Measure the matrix product in one number format; empty where torch cannot compute it."""
    import torch

    rates = []
    for rows, inner, columns in _SHAPES:
        a, b = torch.ones(rows, inner), torch.ones(inner, columns)
        a, b = a.to(getattr(torch, dtype)), b.to(getattr(torch, dtype))
        product = torch._int_mm if dtype == "int8" else torch.mm
        try:
            seconds = _seconds(partial(product, a, b))
        except (RuntimeError, NotImplementedError) as error:
            _log.info("%s products are not measured here: %s", dtype, error)
            return []
        rates.append(2 * rows * inner * columns / seconds / 1e9)
    return rates


def _bandwidth() -> float:
    import torch

    source = torch.zeros(16 * 1024**2)  # 64 MiB: larger than the caches of most machines
    target = torch.empty_like(source)
    seconds = _seconds(partial(target.copy_, source))
    return round(2 * source.nbytes / seconds / 1e9, 1)


def _seconds(work: "Callable[[], object]") -> float:
    """Return the shortest time that `work` took: the machine at its best, undisturbed."""
    work()  # the first call allocates and picks kernels
    best, start = math.inf, perf_counter()
    while perf_counter() - start < _MEASURE_SECONDS:
        before = perf_counter()
        work()
        best = min(best, perf_counter() - before)
    return best


def _cpu() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _flags() -> tuple[str, ...]:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("flags"):
            found = set(line.partition(":")[2].split())
            return tuple(flag for flag in _FLAGS if flag in found)
    return ()


def _cpu_quota() -> float | None:
    """Return the container's limit in cores; None without one."""
    limit, _, period = _read(Path("/sys/fs/cgroup/cpu.max")).partition(" ")
    if not limit:
        limit = _read(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
        period = _read(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
    if limit.isdigit() and period.isdigit() and int(period):
        return int(limit) / int(period)
    return None  # `max` or -1: no limit


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
