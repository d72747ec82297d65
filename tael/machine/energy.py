"""The energy that work takes: read from the processor's own counters, or time times watts.

Linux shows the counters of RAPL (running average power limit) as files in microjoules, a folder a
package: kernel.org, Documentation/power/powercap/powercap.rst. They hold all that ran on the
machine meanwhile, and only the processor and, where there is a counter, its memory.
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["WATTS_PER_CORE", "Counter", "Energy", "energy"]

# Assumed where nothing is known: a server processor of 56 cores is rated at 350 W, 6 a core; its
# memory, its fans and its power supply take about half as much again.
WATTS_PER_CORE = 10.0
_POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules, and how they are known: `measured`, `machine.watts`, or `assumed`."""

    joules: float
    source: str


def energy(seconds: float, *, measured: float | None, watts: float | None, threads: int) -> Energy:
    """Return the energy of `seconds` of work: what was measured, else seconds x watts.

    `measured` are joules from `Counter`, None where it is not readable; `watts` is what the recipe
    says of the machine, None where it does not: then `WATTS_PER_CORE` for each of `threads`.
    """
    if watts is not None:
        return Energy(seconds * watts, "machine.watts")
    if measured is not None:
        return Energy(measured, "measured")
    return Energy(seconds * WATTS_PER_CORE * threads, "assumed")


class Counter:
    """The joules that this machine's processors have taken since the last reading."""

    def __init__(self, folder: Path = _POWERCAP) -> None:
        self._last = {path: read for path in _zones(folder) if (read := _micros(path)) is not None}

    @property
    def readable(self) -> bool:
        """Say whether this machine shows its energy to this process."""
        return bool(self._last)

    def joules(self) -> float:
        """Return the joules since the last call, or since the counter was made.

        A counter starts again at 0 when it is full, after minutes at full load: one such turn
        between two calls is seen, a second one is not.
        """
        total = 0
        for path, before in self._last.items():
            now = _micros(path)
            if now is None:  # a right that was taken away: what is known counts
                continue
            full = _number(path.with_name("max_energy_range_uj")) or 0
            total += now - before if now >= before else now + full - before
            self._last[path] = now
        return total / 1e6


def _zones(folder: Path) -> list[Path]:
    """Return the counters of whole packages, and of memory, which no package counts."""
    found = []
    for zone in sorted(folder.glob("intel-rapl:*")):  # AMD's are called so too
        whole = zone.name.count(":") == 1 and _text(zone / "name").startswith("package")
        if whole or _text(zone / "name") == "dram":
            found.append(zone / "energy_uj")
    return found


def _micros(path: Path) -> int | None:
    return _number(path)


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:  # since 2020 only root may read it (CVE-2020-8694)
        return ""
