"""Folders of weights in Hugging Face layout: opened, checked, and written.

Only safetensors: pickles run code when they are read. What a file holds and what the network needs
are compared before anything is allocated, and nothing that does not fit is passed over in silence.
"""

import json
import logging
import os
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from tael.data.tokenizer import save_tokenizer
from tael.errors import CheckpointError
from tael.files import atomic_file, write_text
from tael.model.config import ModelConfig
from tael.model.families import bert
from tael.model.head import ClassifyHead, Head, HeadKind, MaskedHead, PoolHead
from tael.model.header import WEIGHTS, Source, find_sources
from tael.model.network import Network, initialise
from tael.model.vocabulary import check_vocabulary
from tael.recipe.package import resolve

__all__ = ["Report", "open_folder", "read_config", "resolve", "save_folder", "to_file"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """What opening a folder found, tensor by tensor; names are the file's own, `new` are ours."""

    folder: Path
    kind: HeadKind
    missing: tuple[str, ...] = ()  # needed by the head, not in the file
    unexpected: tuple[str, ...] = ()  # in the file, not used
    new: tuple[str, ...] = ()  # initialised here, so they must be trained before they mean anything
    nonfinite: tuple[str, ...] = ()  # hold NaN or infinity
    warnings: tuple[str, ...] = field(default=())  # the above and more, in words, one line each


def open_folder(
    folder: Path,
    *,
    head: Literal["classify", "mlm", "none", "auto"] = "auto",
    classes: int | None = None,
    dropout: float | None = None,
    droppath: float = 0.0,
    seed: int = 0,
) -> tuple[Network, Report]:
    """Open a folder as a float32 network, in evaluation mode.

    `auto`, and `classify` without `classes`, take the head that the file has, whole, and never make
    one up: the way to open a model that is to answer. `mlm`, and `classify` with `classes`, are for
    training: what the file lacks of the head, or has for another number of classes, is new, drawn
    from `seed` and reported.
    `dropout` replaces both of the file's; raises CheckpointError for whatever cannot be used.
    """
    raw = read_config(folder)
    config, warnings = _config(folder, raw)
    if dropout is not None:
        config = replace(config, dropout=dropout, attention_dropout=dropout)
    config = replace(config, droppath=droppath)
    sources = _sources(folder, config)
    kind = _kind(raw, sources) if head == "auto" else head
    may_lack = head == "mlm" or (head == "classify" and classes is not None)
    if kind == "classify" and classes is None:
        classes = _classes(folder, sources)
    with torch.device("meta"):  # shapes only: the file's own memory becomes the weights
        network = Network(config, _make_head(kind, config, classes or 0))
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    wanted = _wanted(config, kind, list(shapes))
    lacking = _compare(folder, shapes, wanted, sources, may_lack=may_lack)
    state = _read(sources, {name: wanted[name] for name in shapes if name not in lacking})
    fresh = _fresh(kind, config, classes or 0, seed)
    network.load_state_dict(state | {name: fresh[name] for name in lacking}, assign=True)
    used = {their for name in state for their in wanted[name]}
    report = Report(
        folder,
        kind,
        missing=tuple(their for name in lacking for their in wanted[name] if their not in sources),
        unexpected=tuple(sorted(sources[t].name for t in sources.keys() - used)),
        new=tuple(lacking),
        nonfinite=tuple(name for name, t in state.items() if not torch.isfinite(t).all()),
        warnings=tuple(warnings),
    )
    return network.eval(), _say(report)


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's `config.json`; CheckpointError where there is none or it is no object."""
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); expected a model folder in Hugging Face "
            f"layout: config.json, {WEIGHTS}, tokenizer.json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path}: expected an object, found {type(raw).__name__}")
    return raw


def _config(folder: Path, raw: dict[str, Any]) -> tuple[ModelConfig, list[str]]:
    path, warnings = folder / "config.json", []
    if raw.get("model_type") != "bert":
        raise CheckpointError(f"{path}: model_type {raw.get('model_type')!r} is not one of: bert")
    try:
        config = bert.config_from(raw)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    needed = 4 * config.parameters()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise CheckpointError(
            f"{path}: {config.parameters():,} parameters need {needed / 2**30:,.1f} GiB in "
            f"float32, this machine has {memory / 2**30:,.1f} GiB; take a smaller model"
        )
    if "auto_map" in raw:
        warnings.append(f"{path}: auto_map asks to run the checkpoint's own code; it is ignored")
    warnings += check_vocabulary(folder, config.vocab)
    return config, warnings


def _sources(folder: Path, config: ModelConfig) -> dict[str, Source]:
    """Return where each tensor that is a weight lies, by its plain name."""
    found = {bert.plain(name): source for name, source in find_sources(folder).items()}
    sources = {name: source for name, source in found.items() if name not in bert.DERIVED}
    if config.layers > len(sources):  # said before so many layers are built
        raise CheckpointError(
            f"{folder}: does not fit its config: {config.layers:,} layers, {len(sources):,} tensors"
        )
    return sources


def _kind(raw: dict[str, Any], sources: dict[str, Source]) -> HeadKind:
    named = raw.get("architectures") or [""]
    for kind in ("classify", "mlm"):
        if bert.ARCHITECTURES[kind] == named[0] or (named[0], kind) == (
            "BertForPreTraining",
            "mlm",
        ):
            return kind
    return "pool" if "pooler.dense.weight" in sources else "none"


def _classes(folder: Path, sources: dict[str, Source]) -> int:
    source = sources.get("classifier.weight")
    if source is None or len(source.entry.shape) != 2:
        raise CheckpointError(
            f"{folder}: has no classifier, so it cannot answer; train it on labelled records first "
            f"(model.from={folder})"
        )
    return source.entry.shape[0]


def _make_head(kind: HeadKind, config: ModelConfig, classes: int) -> Head | None:
    if kind == "classify":
        return ClassifyHead(config, classes)
    if kind == "mlm":
        return MaskedHead(config)
    return PoolHead(config) if kind == "pool" else None


def _wanted(config: ModelConfig, kind: HeadKind, names: list[str]) -> dict[str, list[str]]:
    """Return the file's names (plain) whose tensors, stacked, are each of our parameters."""
    modules = bert.layout(config.layers, kind)
    wanted = {}
    for name in names:
        module, _, leaf = name.rpartition(".")
        wanted[name] = [f"{their}.{leaf}" for their in modules[module]]
    return wanted


def _compare(
    folder: Path,
    shapes: dict[str, tuple[int, ...]],
    wanted: dict[str, list[str]],
    sources: dict[str, Source],
    *,
    may_lack: bool,
) -> list[str]:
    """Return the head's parameters that must be new; refuse what is absent or has another shape."""
    lacking, problems = [], []
    for name, shape in shapes.items():
        part = (shape[0] // len(wanted[name]), *shape[1:])
        for their in wanted[name]:
            found = sources[their].entry.shape if their in sources else None
            if found == part:
                continue
            new = may_lack and name.startswith("head.")
            if new and (found is None or name.startswith("head.classifier.")):
                lacking.append(name)
            elif found is None:
                problems.append(f"{their} is missing")
            else:
                problems.append(f"{their} is {list(found)}, expected {list(part)}")
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise CheckpointError(f"{folder}: does not fit its config: {'; '.join(problems[:8])}{more}")
    return lacking


def _read(sources: dict[str, Source], wanted: dict[str, list[str]]) -> dict[str, Tensor]:
    """Return the stacked tensors in float32; those that stand alone stay mapped to their file."""
    state = {}
    with ExitStack() as stack:
        paths = {source.path for source in sources.values()}
        try:
            files = {p: stack.enter_context(safe_open(p, framework="pt")) for p in paths}
        except SafetensorError as error:
            raise CheckpointError(f"{min(paths)}: cannot be read: {error}") from error
        for name, theirs in wanted.items():
            found = [sources[their] for their in theirs]
            parts = [files[source.path].get_tensor(source.name).float() for source in found]
            state[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
    return state


def _fresh(kind: HeadKind, config: ModelConfig, classes: int, seed: int) -> dict[str, Tensor]:
    head = _make_head(kind, config, classes)
    if head is None:
        return {}
    initialise(head, seed)
    return {f"head.{name}": tensor for name, tensor in head.state_dict().items()}


def _say(report: Report) -> Report:
    lines = [(logging.WARNING, line) for line in report.warnings]
    for level, names, words in (
        # A new head is made only for training, where it is what was asked for.
        (logging.INFO, report.new, "not in the file, so new and untrained"),
        (logging.WARNING, report.unexpected, "in the file, not used"),
        (logging.WARNING, report.nonfinite, "hold NaN or infinity: this model cannot answer"),
    ):
        if names:
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            lines.append((level, f"{report.folder}: {len(names)} tensors {words}: {shown}"))
    for level, line in lines:
        _log.log(level, line)
    return replace(report, warnings=tuple(line for _, line in lines))


def to_file(network: Network, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters (or their gradients) by name under the file's names, unstacked."""
    wanted = _wanted(network.config, network.kind, list(tensors))
    prefix = "bert." if network.kind in ("classify", "mlm") else ""
    out = {}
    for name, tensor in tensors.items():
        for their, part in zip(wanted[name], tensor.chunk(len(wanted[name])), strict=True):
            head = their.startswith(("cls.", "classifier."))
            out[their if head else prefix + their] = part
    return out


def save_folder(
    folder: Path,
    network: Network,
    *,
    labels: list[str] | None = None,
    problem_type: str | None = None,
    tokenizer: Tokenizer | None = None,
) -> None:
    """Write `config.json`, `model.safetensors` and the tokenizer; transformers opens them as are.

    `problem_type` is transformers' own word: single_label_classification,
    multi_label_classification or regression. Each file is whole or absent.
    """
    raw = bert.config_to(network.config) | {
        "architectures": [bert.ARCHITECTURES[network.kind]],
        "dtype": str(next(network.parameters()).dtype).removeprefix("torch."),
    }
    if labels is None and isinstance(network.head, ClassifyHead):
        # Without names transformers takes two classes for granted, and refuses a head of one.
        labels = [f"LABEL_{number}" for number in range(network.head.classifier.out_features)]
    if labels is not None:
        raw["id2label"] = {str(number): label for number, label in enumerate(labels)}
        raw["label2id"] = {label: number for number, label in enumerate(labels)}
    if problem_type is not None:
        raw["problem_type"] = problem_type
    tensors = {name: p.detach() for name, p in network.named_parameters()}
    if isinstance(network.head, ClassifyHead):
        tensors |= _folded(network.head)
    parts = {name: t.contiguous().cpu() for name, t in to_file(network, tensors).items()}
    with atomic_file(folder / WEIGHTS) as draft:
        save_file(parts, draft, metadata={"format": "pt"})
    write_text(folder / "config.json", json.dumps(raw, indent=2, ensure_ascii=False) + "\n")
    if tokenizer is not None:
        save_tokenizer(tokenizer, folder, network.config.max_positions)


def _folded(head: ClassifyHead) -> dict[str, Tensor]:
    weight_CD, bias_C = head.classifier.weight.detach(), head.classifier.bias.detach()
    return {
        "head.classifier.weight": weight_CD * head.scale,
        "head.classifier.bias": bias_C * head.scale + head.center,
    }
