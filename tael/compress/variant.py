"""The variants of a run: which there are, how each is made, and that each is made once."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tael.compress.export import TOLERANCE, check_parity, export_onnx
from tael.compress.manifest import (
    BASELINE,
    PARENT,
    Precision,
    Runtime,
    Variant,
    read_variant,
    write_manifest,
)
from tael.compress.quantize import needs_reduced_range, quantize_onnx
from tael.compress.student import baseline, teach
from tael.errors import RunError, TaelError
from tael.files import atomic_folder, sha256
from tael.machine.probe import cores, describe
from tael.model.linear import LinearModel
from tael.model.network import Network
from tael.task.base import Example, Task
from tael.task.classify import Classify
from tael.train.progress import make_progress
from tael.train.run import Run

__all__ = ["BASELINE", "PARENT", "VARIANTS", "Variant", "make_variants"]

_WEIGHTS = "model.safetensors"
_GRAPH = "model.onnx"
_TASK = "task.json"
Notes = Mapping[str, float | int | str]


@dataclass(frozen=True)
class _Made:
    """What a maker says about what it has put into the folder."""

    how: str
    runtime: Runtime
    precision: Precision
    together: int | None = None
    parent: str | None = PARENT
    score_bound: float = TOLERANCE
    notes: Notes | None = None


class _Workshop:
    """The run that variants are made of, each part opened when it is first needed."""

    def __init__(self, run: Run, say: Callable[[str], None]) -> None:
        self.run = run
        self.say = say
        self.model = run.folder / "model"
        if not (self.model / _WEIGHTS).is_file():
            raise RunError(
                f"{run.folder}: no trained model here; finish it with `tael train RECIPE "
                f"--out {run.folder}`"
            )
        self.source = sha256(self.model / _WEIGHTS)
        self.threads = run.recipe.machine.threads or cores()

    @cached_property
    def network(self) -> Network:
        return self.run.network().eval()

    @cached_property
    def learned(self) -> Task:
        return self.run.task()

    @property
    def task(self) -> Classify:
        assert isinstance(self.learned, Classify), "only it has variants beside those of torch"
        return self.learned

    @cached_property
    def dev(self) -> list[Example]:
        return self.task.encode_many(self.run.records("dev"))

    def current(self, name: str) -> Variant | None:
        """Return the variant if it is there, whole, and made from this parent."""
        folder = self.run.folder / "variants" / name
        try:
            variant = read_variant(folder, verify=True)
        except TaelError:
            return None  # absent, damaged or of another version: it is made anew
        return variant if variant.source == self.source else None


def make_variants(run: Run, *, progress: bool = True) -> list[Variant]:
    """Make the variants that the recipe names, under `variants/`; the parent and the baseline too.

    One that is there, whole and made from the same weights is left as it is. Raises
    CheckpointError where an export does not agree with its parent.
    """
    shown = make_progress(progress, run.recipe.machine.currency)
    workshop = _Workshop(run, shown.say)
    # The default names all that there are: those that this task cannot be are passed over.
    can = workshop.learned.variants
    wanted = {PARENT, BASELINE, *run.recipe.compress.variants}.intersection(can)
    try:
        return [
            workshop.current(name) or _make(workshop, name, maker)
            for name, maker in VARIANTS.items()
            if name in wanted
        ]
    finally:
        shown.close()


def _make(workshop: _Workshop, name: str, maker: Callable[[_Workshop, Path], _Made]) -> Variant:
    workshop.say(f"making {name}")
    folder = workshop.run.folder / "variants" / name
    with atomic_folder(folder) as draft:
        made = maker(workshop, draft)
        _link(workshop.model / _TASK, draft)
        names = sorted(str(path.relative_to(draft)) for path in draft.rglob("*") if path.is_file())
        variant = Variant(
            id=name,
            parent=made.parent,
            how=made.how,
            runtime=made.runtime,
            precision=made.precision,
            together=made.together,
            score_bound=made.score_bound,
            threads=workshop.run.recipe.machine.threads,
            source=workshop.source,
            files={name: sha256(draft / name) for name in names},
            bytes=sum((draft / name).stat().st_size for name in names),
            notes=dict(made.notes or {}),
        )
        write_manifest(draft, variant)
    return variant


def _torch_fp32(workshop: _Workshop, draft: Path) -> _Made:
    _link_all(workshop.model, draft)
    return _Made("the trained model as it is", "torch", "fp32", parent=None)


def _torch_bf16(workshop: _Workshop, draft: Path) -> _Made:
    import torch
    from safetensors.torch import load_file, save_file

    _link_all(workshop.model, draft, but=(_WEIGHTS, "config.json"))
    config = json.loads((workshop.model / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "bfloat16"
    (draft / "config.json").write_text(
        json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    tensors = load_file(workshop.model / _WEIGHTS)
    halved = {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    save_file(halved, draft / _WEIGHTS, metadata={"format": "pt"})
    return _Made("weights rounded to bfloat16", "torch", "bf16", together=1)


def _onnx_fp32(workshop: _Workshop, draft: Path) -> _Made:
    _tokenizer(workshop, draft)
    difference = _export(workshop, draft / _GRAPH)
    notes = {"parity_records": len(workshop.dev), "parity_largest_difference": difference}
    return _Made("exported with torch.onnx, opset of torch", "onnx", "fp32", notes=notes)


def _onnx_int8(workshop: _Workshop, draft: Path) -> _Made:
    _tokenizer(workshop, draft)
    reduce_range = needs_reduced_range(str(describe()["flags"]).split())
    with contextlib.ExitStack() as stack:
        graph = workshop.run.folder / "variants" / "onnx-fp32" / _GRAPH
        if workshop.current("onnx-fp32") is None:
            graph = Path(stack.enter_context(tempfile.TemporaryDirectory()), _GRAPH)
            _export(workshop, graph)
        quantize_onnx(graph, draft / _GRAPH, reduce_range=reduce_range)
    bits = "7-bit" if reduce_range else "8-bit"
    how = f"onnxruntime dynamic int8: {bits} weights per channel, activations as they come"
    return _Made(how, "onnx", "int8", together=1)


def _linear_student(workshop: _Workshop, draft: Path) -> _Made:
    # The n-grams that dev preferred for the baseline serve the student too.
    grams = LinearModel.load(workshop.run.folder / "variants" / BASELINE).grams
    taught = teach(workshop.run, workshop.network, workshop.task, grams, workshop.say)
    taught.model.save(draft)
    return _Made(taught.how, "linear", "fp32", notes=taught.notes)


def _tfidf(workshop: _Workshop, draft: Path) -> _Made:
    baseline(workshop.run, workshop.task).save(draft)
    how = "TF-IDF and logistic regression on the labelled training records"
    return _Made(how, "linear", "fp32", parent=None)


# In the order in which they are made: int8 from the float32 graph, the student with the baseline's
# n-grams.
VARIANTS: dict[str, Callable[[_Workshop, Path], _Made]] = {
    PARENT: _torch_fp32,
    "torch-bf16": _torch_bf16,
    "onnx-fp32": _onnx_fp32,
    "onnx-int8": _onnx_int8,
    BASELINE: _tfidf,
    "linear-student": _linear_student,
}


def _export(workshop: _Workshop, path: Path) -> float:
    export_onnx(workshop.network, path)
    return check_parity(
        path, workshop.network, workshop.task, workshop.dev, threads=workshop.threads
    )


def _tokenizer(workshop: _Workshop, draft: Path) -> None:
    for path in sorted(workshop.model.glob("tokenizer*")):
        _link(path, draft)


def _link_all(model: Path, draft: Path, but: Sequence[str] = ()) -> None:
    """Put all files of `model`, those in folders too, into `draft`."""
    for path in sorted(path for path in model.rglob("*") if path.is_file()):
        beside = path.relative_to(model)
        if str(beside) not in but:
            (draft / beside.parent).mkdir(exist_ok=True)
            _link(path, draft / beside.parent)


def _link(path: Path, folder: Path) -> None:
    """Put a file into `folder` without a second copy of its bytes where the disk allows it.

    Weights are never changed in place, only replaced, so a hard link stays what it was.
    """
    target = folder / path.name
    if target.exists():
        return
    try:
        os.link(path, target)
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(path, target)
