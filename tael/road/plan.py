"""The verb `plan`: what a recipe would take on N devices, from formulas, before any is rented.

Time is operations over peak times utilisation, plus what devices wait for each other: gradients go
around once a step and are sent twice (Patarasuk & Yuan 2009, doi:10.1016/j.jpdc.2008.09.002);
weights in pieces are gathered twice a micro-batch and their gradients sent once (Rajbhandari et al.
2020, ZeRO, arXiv:1910.02054, section 7), the next layer's while one computes. Nothing here imports
torch.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tael.errors import RunError, UsageError
from tael.machine.gpus import Gpu, find_gpu
from tael.machine.probe import cores, remembered
from tael.machine.tariff import training_cost
from tael.model.config import ModelConfig
from tael.recipe.schema import Recipe
from tael.road.check import check, sizes_of
from tael.road.estimate import Load
from tael.train.memory import Memory, available_bytes, predict

__all__ = ["Plan", "StagePlan", "plan"]

_Parallel = Literal["none", "ddp", "fsdp"]
_ASSUMED = 0.35  # of the peak: what training of Transformers usually reaches; small ones less
_CONTEXT = 0.8e9  # bytes that a GPU's driver and libraries hold
_FILLED = 0.92  # of a device's memory: allocators leave gaps
_BETWEEN_GB_S = 50.0  # between machines, a device: 400 Gb/s InfiniBand, one adapter a device
_PIECES_WHOLE = 2  # layers that are gathered at once: the one that computes and the next


@dataclass(frozen=True)
class StagePlan:
    """One stage on one device of many: how the step is cut, what is held, how long it takes."""

    name: str
    parallel: _Parallel
    busy: int  # devices that have some of a step
    micro_batch: int
    accumulate: int  # micro-batches of a device and step
    memory: dict[str, float]  # bytes, by what holds them
    tokens: float
    flops: float
    compute_seconds: float
    talk_seconds: float  # in which nothing is computed

    @property
    def seconds(self) -> float:
        """All of its time."""
        return self.compute_seconds + self.talk_seconds

    @property
    def bytes(self) -> float:
        """The most that a device holds."""
        return sum(self.memory.values())


@dataclass(frozen=True)
class Plan:
    """A recipe on `devices` of one kind."""

    recipe: str
    device: str
    devices: int
    machines: int
    tflops: float  # peak of one
    memory_gb: float  # of one
    utilisation: float
    utilisation_from: str
    stages: list[StagePlan]
    seconds: float
    device_hours: float
    price_per_hour: float  # of one device
    money: float
    currency: str
    command: str
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        stages = [
            asdict(stage) | {"seconds": stage.seconds, "bytes": stage.bytes}
            for stage in self.stages
        ]
        return asdict(self) | {"stages": stages}

    def lines(self) -> list[str]:
        """Return the plan for a reader, the answer first."""
        return [
            f"{self.devices:,} × {self.device}: {_time(self.seconds)}, "
            f"{self.money:,.2f} {self.currency} ({self.device_hours:,.1f} device hours at "
            f"{self.price_per_hour:g} {self.currency})",
            f"peak {self.tflops:,.4g} TFLOP/s and {self.memory_gb:,.4g} GB each; utilisation "
            f"{self.utilisation:.0%}, {self.utilisation_from}",
            *(line for stage in self.stages for line in self._stage(stage)),
            *(f"note: {note}" for note in self.notes),
            f"run: {self.command}",
        ]

    def _stage(self, stage: StagePlan) -> Iterator[str]:
        share = stage.talk_seconds / stage.seconds
        yield (
            f"{stage.name}: {stage.parallel}, {stage.micro_batch} rows at once, "
            f"{stage.accumulate} a step; {stage.tokens / 1e6:,.1f} M tokens, "
            f"{stage.flops / 1e15:,.3g} PFLOP, {_time(stage.seconds)}, {share:.0%} of it waiting "
            "for other devices"
        )
        parts = ", ".join(
            f"{name} {value / 1e9:.2f}" for name, value in stage.memory.items() if value >= 5e6
        )
        yield f"  memory a device: {stage.bytes / 1e9:.2f} of {self.memory_gb:.4g} GB ({parts})"


def plan(
    recipe: Recipe,
    devices: int = 1,
    gpu: str | None = None,
    price: float | None = None,
    *,
    named: str = "RECIPE",
) -> Plan:
    """Return what `recipe` would take on `devices` accelerators `gpu`; None: on this machine.

    `price` is that of one device and hour, in the recipe's currency; None: what the recipe says of
    a machine hour. Utilisation is what the run of this name reached here, where there is one.
    `named`: the recipe's file, for the command. Raises UsageError for a GPU that is not known, and
    RunError where the model does not fit the devices; reads the data as `check` does.
    """
    if devices < 1:
        raise UsageError(f"--gpus {devices}: at least 1")
    kind = _here(recipe) if gpu is None else find_gpu(gpu)
    checked = check(recipe)
    reached, why = _utilisation(recipe)
    stages = [
        _stage(recipe, name, load, kind, devices, reached, on_gpu=gpu is not None)
        for name, load in checked.estimate.loads.items()
    ]
    seconds = sum(stage.seconds for stage in stages)
    each = float(recipe.machine.price_per_hour) if price is None else price
    return Plan(
        recipe=recipe.name,
        device=kind.name,
        devices=devices,
        machines=-(-devices // kind.per_machine),
        tflops=kind.tflops,
        memory_gb=kind.memory_gb,
        utilisation=reached,
        utilisation_from=why,
        stages=stages,
        seconds=seconds,
        device_hours=seconds * devices / 3600,
        price_per_hour=each,
        money=training_cost(seconds * devices, each),
        currency=recipe.machine.currency,
        command=_command(named, devices, kind, stages),
        notes=list(_notes(devices, kind, stages, price, gpu, at_least=checked.limit is not None)),
    )


def _here(recipe: Recipe) -> Gpu:
    """Return this machine's processor as a device: its measured peak, all its cores."""
    machine = remembered()
    peaks = machine.peaks.gflops if machine is not None else {"float32": 50.0 * cores()}
    threads = min(recipe.machine.threads or cores(), cores())
    peak = max(peaks.get("bfloat16", 0.0), peaks["float32"]) * threads / cores()
    return Gpu("this machine", peak / 1e3, available_bytes() / 1e9, 1.0, 1, "measured here")


def _utilisation(recipe: Recipe) -> tuple[float, str]:
    """Return the share of the peak that training reaches, and how that is known."""
    path, machine = Path("runs") / recipe.name / "costs.json", remembered()
    if machine is not None and path.is_file():
        try:
            costs = json.loads(path.read_text("utf-8"))
            stages = [name for name in costs["work"] if costs["work"][name]["flops"]]
            flops = sum(costs["work"][name]["flops"] for name in stages)
            seconds = sum(costs["seconds"][name] for name in stages)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: damaged ({error!r:.80}); move it away") from error
        if flops and seconds:
            peak = max(machine.peaks.gflops.values(), default=0.0) * 1e9
            return min(1.0, flops / seconds / peak), f"reached by {path.parent} on this machine"
    return _ASSUMED, "assumed; a short run of the recipe on this machine measures it"


def _stage(
    recipe: Recipe,
    name: str,
    load: Load,
    kind: Gpu,
    devices: int,
    reached: float,
    *,
    on_gpu: bool,
) -> StagePlan:
    stage = recipe.train if name == "train" else recipe.pretrain
    share = -(-stage.batch // devices)
    most = min(stage.micro_batch or share, share)
    best: tuple[_Parallel, int, dict[str, float]] | None = None
    ways: tuple[_Parallel, ...] = ("none",) if devices == 1 else ("ddp", "fsdp")
    for parallel in ways:
        for rows in _halves(most):
            held = _held(recipe, name, load, rows, devices, parallel, on_gpu=on_gpu)
            if sum(held.values()) <= _FILLED * kind.memory_gb * 1e9:
                best = parallel, rows, held
                break
        if best is not None:
            break
    else:
        raise RunError(
            f"{name}: one row at once takes {sum(held.values()) / 1e9:,.1f} GB a device with "
            f"{parallel} on {devices:,} × {kind.name} of {kind.memory_gb:,.4g} GB; take more "
            "devices (--gpus), larger ones (--gpu), a smaller model or a shorter data.max_tokens"
        )
    parallel, rows, held = best
    busy, turns = min(devices, stage.batch), -(-share // rows)
    compute = load.flops / busy / (kind.tflops * 1e12 * reached)
    parameters = sizes_of(recipe).whole.parameters()
    talk = load.steps * _talk(parameters, parallel, turns, devices, kind)
    if parallel == "fsdp":
        talk = max(0.0, talk - compute)
    return StagePlan(
        name, parallel, busy, rows, turns, held, load.tokens, load.flops, compute, talk
    )


def _halves(rows: int) -> Iterator[int]:
    while rows > 1:
        yield rows
        rows = -(-rows // 2)
    yield 1


def _held(
    recipe: Recipe,
    name: str,
    load: Load,
    rows: int,
    devices: int,
    parallel: _Parallel,
    *,
    on_gpu: bool,
) -> dict[str, float]:
    """Return the bytes of a device by what holds them."""
    stage = recipe.train if name == "train" else recipe.pretrain
    cut = recipe.model_copy(update={name: stage.model_copy(update={"micro_batch": rows})})
    config = sizes_of(recipe).whole
    machine = remembered()
    half = on_gpu or (machine is not None and machine.bfloat16_faster)
    half = stage.dtype == "bfloat16" or (stage.dtype == "auto" and half)
    dtype = "bfloat16" if half else "float32"
    memory = predict(config, cut, name, dtype=dtype, longest=load.longest, steps=load.steps)
    if on_gpu:  # copies of what is best or saved are in the host's memory
        memory = replace(memory, process=_CONTEXT, copies=0.0)
    parts = asdict(memory)
    if parallel == "fsdp":
        parts |= _in_pieces(memory, config, devices, 2 if half else 4)
    return parts


def _in_pieces(memory: Memory, config: ModelConfig, devices: int, width: int) -> dict[str, float]:
    """Return what changes where no device holds all: pieces, and the layers that are gathered."""
    everything = float(config.parameters())
    around = float(config.vocab * config.token_width)
    layers = min(_PIECES_WHOLE, config.layers) * (everything - around) / config.layers
    return {
        "weights": memory.weights / devices,
        "gradients": memory.gradients / devices,
        "optimizer": memory.optimizer / devices,
        "copies": memory.copies / devices,
        "gathered": 2 * width * (around + layers),  # weights and gradients
    }


def _talk(parameters: int, parallel: _Parallel, turns: int, devices: int, kind: Gpu) -> float:
    """Return the seconds of a step in which a device waits for what others send."""
    if devices == 1:
        return 0.0
    within = devices <= kind.per_machine
    speed = (kind.link_gb_s if within else min(kind.link_gb_s, _BETWEEN_GB_S)) * 1e9
    around = (devices - 1) / devices
    if parallel == "ddp":
        return 2 * 4 * parameters * around / speed
    return turns * (2 * 2 + 4) * parameters * around / speed  # bfloat16 twice, float32 once


def _command(named: str, devices: int, kind: Gpu, stages: list[StagePlan]) -> str:
    settings = [f"{stage.name}.micro_batch={stage.micro_batch}" for stage in stages]
    if devices == 1:
        return " ".join(["tael train", named, *settings])
    worst = "fsdp" if any(stage.parallel == "fsdp" for stage in stages) else "ddp"
    each = min(devices, kind.per_machine)
    start = f"torchrun --nproc-per-node {each} --max-restarts 3"
    if devices > each:
        start = f"TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 {start}"
        start += f" --nnodes {-(-devices // each)} --rdzv-backend c10d --rdzv-endpoint HOST:29400"
    return " ".join([start, "-m tael train", named, f"train.parallel={worst}", *settings])


def _notes(
    devices: int,
    kind: Gpu,
    stages: list[StagePlan],
    price: float | None,
    gpu: str | None,
    *,
    at_least: bool,
) -> Iterator[str]:
    for stage in stages:
        if stage.busy < devices:
            yield (
                f"{stage.name}.batch={stage.busy} rows give work to {stage.busy} of "
                f"{devices:,} devices; a larger batch uses them all"
            )
    if gpu is not None:
        yield f"{kind.name}: {kind.source}"
        yield "`tael train` computes on processors so far; what GPUs would take is for deciding"
        if price is None:
            yield "the price is the recipe's, of a machine hour; --price says that of a device"
    if at_least:
        yield "not all rows were read, so epochs may be longer; train.steps says their length"
    if devices > kind.per_machine:
        yield f"between machines {_BETWEEN_GB_S:g} GB/s a device are assumed"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.3g} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{math.ceil(seconds / 86400):,} days"
