"""Folders of weights in Hugging Face layout: opened, checked, and written.

Only safetensors: pickles run code when they are read. What a file holds and what the network needs
are compared before anything is allocated, and nothing that does not fit is passed over in silence.
"""

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from tael.data.tokenizer import save_tokenizer
from tael.errors import CheckpointError
from tael.files import atomic_file, write_text
from tael.model.config import ModelConfig
from tael.model.families import find, saying
from tael.model.families.base import Family, Raw
from tael.model.fit import compare
from tael.model.head import ClassifyHead, Head, HeadKind, PoolHead, TokenHead, VocabHead
from tael.model.header import WEIGHTS, Source, find_sources
from tael.model.network import Network, initialise, shapes
from tael.model.tensors import DTYPES, Place, fill, places, written
from tael.model.tied import without_copies
from tael.model.vocabulary import check_vocabulary
from tael.model.waiting import give
from tael.recipe.package import resolve

__all__ = [
    "Report", "as_saved", "file_places", "open_folder", "read_config", "read_sizes", "resolve",
    "save_folder", "to_file",
]  # fmt: skip

_log = logging.getLogger(__name__)
# Architectures of which a part is what we know.
_ALIASES: dict[str, HeadKind] = {"BertForPreTraining": "mlm", "AlbertForPreTraining": "mlm"}
_MOST_LAYERS = 10_000
_LEAST = 4  # tensors a layer: two matrices of its attention, two of its feed-forward layer
# What reading a config raises where it holds something of another kind than it should.
_MISREAD = (ArithmeticError, AttributeError, KeyError, IndexError, TypeError, ValueError)


@dataclass(frozen=True)
class Report:
    """What opening a folder found, tensor by tensor; names are the file's own, `new` are ours."""

    folder: Path
    kind: HeadKind
    missing: tuple[str, ...] = ()  # needed by the head, not in the file
    unexpected: tuple[str, ...] = ()  # in the file, not used
    new: tuple[str, ...] = ()  # initialised here, so they must be trained before they mean anything
    warnings: tuple[str, ...] = field(default=())  # the above and more, in words, one line each


def open_folder(
    folder: Path,
    *,
    head: HeadKind | str = "auto",
    classes: int | None = None,
    dropout: float | None = None,
    droppath: float = 0.0,
    seed: int = 0,
    dtype: torch.dtype | None = torch.float32,
    vocabulary: bool = True,
) -> tuple[Network, Report]:
    """Open a folder as a network, in evaluation mode; `dtype` None keeps the file's.

    Only headers are read: numbers come when they are first asked for.
    `auto`, and heads of classes without `classes`, take the head that the file has, whole, and
    never make one up: the way to open a model that is to answer. `mlm`, and heads of classes with
    `classes`, are for training: what the file lacks of the head, or has for another number of
    classes, is new, drawn from `seed` and reported.
    `dropout` replaces all of the file's; without `vocabulary` the tokenizer beside the weights is
    the caller's to check. Raises CheckpointError for whatever cannot be used.
    """
    raw = read_config(folder)
    family, config, warnings = _config(folder, raw)
    warnings += check_vocabulary(folder, config.vocab) if vocabulary else []
    config = _dropping(config, dropout, droppath)
    sources, config, doubts = without_copies(
        folder, family, config, _sources(folder, family, config)
    )
    kind = _kind(raw, family, config, sources) if head == "auto" else _known(head, family, folder)
    may_lack = head == "mlm" or (head != "auto" and classes is not None)
    if kind in ("classify", "tag", "qa") and classes is None:
        classes = _classes(folder, family, config, kind, sources)
    with shapes():  # the file's own memory becomes the weights
        network = Network(config, _make_head(kind, config, classes or 0))
    where = places(family, network)
    found = {name: _found(place, family, sources) for name, place in where.items()}
    lacking = compare(folder, where, found, sources, may_lack=may_lack)
    kind_of = _dtype(sources) if dtype is None else dtype
    wanted = {name: found[name] for name in where if name not in lacking}
    fill(network, wanted, where, kind_of)
    if lacking:
        fresh = _fresh(kind, config, classes or 0, seed)
        for name in lacking:
            path, _, leaf = name.rpartition(".")
            give(network.get_submodule(path), leaf, fresh[name].to(kind_of))
    network.raw = raw
    used = {source.name for parts in wanted.values() for source in parts}
    needed = [(their, where[name]) for name in lacking for their in where[name].names]
    absent = [their for their, at in needed if _source(their, at, family, sources) is None]
    report = Report(
        folder,
        kind,
        missing=tuple(absent),
        unexpected=tuple(sorted(s.name for s in sources.values() if s.name not in used)),
        new=tuple(lacking),
        warnings=(*warnings, *doubts),
    )
    return network.eval(), _say(report)


def _dropping(config: ModelConfig, dropout: float | None, droppath: float) -> ModelConfig:
    """Return the config with what training leaves out by chance; None: what the file says."""
    if dropout is not None:
        within = dropout if config.ffn_dropout else 0.0
        config = replace(config, dropout=dropout, attention_dropout=dropout, ffn_dropout=within)
    return replace(config, droppath=droppath)


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


def read_sizes(folder: Path) -> ModelConfig:
    """Return the sizes and parts of a folder's network, whatever its family calls them."""
    return _config(folder, read_config(folder))[1]


def _config(folder: Path, raw: Raw) -> tuple[Family, ModelConfig, list[str]]:
    path, warnings = folder / "config.json", []
    for key, value in raw.items():  # before anything counts to it
        if "layer" in key and isinstance(value, int) and value > _MOST_LAYERS:
            raise CheckpointError(
                f"{path}: {key} asks for {value:,} layers, at most {_MOST_LAYERS:,} are built"
            )
    try:
        family = find(raw.get("model_type"))
        config = family.read(raw)
    except (CheckpointError, *_MISREAD) as error:
        ours = isinstance(error, CheckpointError)
        why = f"{error}" if ours else f"cannot be understood: {error!r}"
        raise CheckpointError(f"{path}: {why:.1000}") from error
    needed = 4 * config.parameters()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise CheckpointError(
            f"{path}: {config.parameters():,} parameters need {needed / 2**30:,.1f} GiB in "
            f"float32, this machine has {memory / 2**30:,.1f} GiB; take a smaller model"
        )
    if "auto_map" in raw:
        warnings.append(f"{path}: auto_map asks to run the checkpoint's own code; it is ignored")
    return family, config, warnings


def _sources(folder: Path, family: Family, config: ModelConfig) -> dict[str, Source]:
    """Return where each tensor that is a weight lies, by its name in today's files."""
    found = {_today(name, family): source for name, source in find_sources(folder).items()}
    derived = re.compile("|".join(f"(?:{pattern})" for pattern in family.derived) or "(?!)")
    sources = {
        name: source
        for name, source in found.items()
        if not derived.fullmatch(name.removeprefix(family.prefix))
    }
    layers = config.layers + (config.depth("decoder") if config.stacks == "both" else 0)
    if layers > len(sources) / _LEAST * config.sharing:  # said before so many layers are built
        raise CheckpointError(
            f"{folder}: does not fit its config: {layers:,} layers, {len(sources):,} tensors"
        )
    return sources


def _today(name: str, family: Family) -> str:
    for old, new in family.aliases.items():
        name = name.replace(old, new)
    return name


def _known(head: str, family: Family, folder: Path) -> HeadKind:
    for kind in family.architectures:
        if kind == head:
            return kind
    known = ", ".join(family.architectures)
    raise CheckpointError(f"{folder}: {family.model_type} has no head {head!r}, only {known}")


def _kind(raw: Raw, family: Family, config: ModelConfig, sources: dict[str, Source]) -> HeadKind:
    listed = raw.get("architectures")
    named = str(listed[0]) if isinstance(listed, list) and listed else ""
    if named in _ALIASES:
        return _ALIASES[named]
    for kind, name in family.architectures.items():
        if name == named and kind not in ("pool", "none"):
            return kind
    if "pool" not in family.architectures:
        return "none"
    theirs = family.layout(config, "pool")["head.dense"]
    their = theirs if isinstance(theirs, str) else theirs[0]
    names = (their.lstrip("/") + ".weight", family.prefix + their + ".weight")
    return "pool" if any(name in sources for name in names) else "none"


def _classes(
    folder: Path, family: Family, config: ModelConfig, kind: HeadKind, sources: dict[str, Source]
) -> int:
    their = family.layout(config, kind)["head.classifier"]
    assert isinstance(their, str), "a classifier is one matrix"
    source = sources.get(their.lstrip("/") + ".weight")
    if source is not None and len(source.entry.shape) == 2:
        return source.entry.shape[0]
    raise CheckpointError(
        f"{folder}: has no classifier, so it cannot answer; train it on labelled records first "
        f"(model.from={folder})"
    )


def _make_head(kind: HeadKind, config: ModelConfig, classes: int) -> Head | None:
    if kind == "classify":
        return ClassifyHead(config, classes)
    if kind in ("tag", "qa"):
        return TokenHead(config, classes, kind)
    if kind in ("mlm", "clm", "seq2seq"):
        return VocabHead(config, kind)
    return PoolHead(config) if kind == "pool" else None


def _source(
    their: str, place: Place, family: Family, sources: Mapping[str, Source]
) -> Source | None:
    if place.outside:
        return sources.get(their)
    return sources.get(family.prefix + their) or sources.get(their)


def _found(place: Place, family: Family, sources: Mapping[str, Source]) -> list[Source]:
    found = [_source(their, place, family, sources) for their in place.names]
    return [source for source in found if source is not None]


def _dtype(sources: Mapping[str, Source]) -> torch.dtype:
    """Return the type that most bytes of the file have."""
    size: Counter[str] = Counter()
    for source in sources.values():
        size[source.entry.dtype] += source.entry.stop - source.entry.start
    return DTYPES[size.most_common(1)[0][0]]


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
    ):
        if names:
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            lines.append((level, f"{report.folder}: {len(names)} tensors {words}: {shown}"))
    for level, line in lines:
        _log.log(level, line)
    return replace(report, warnings=tuple(line for _, line in lines))


def _family(network: Network) -> Family:
    if network.raw is None:
        return saying(network.config)[0]
    return find(network.raw.get("model_type"))


def to_file(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters (or their gradients) by name under the file's names, taken apart."""
    family = _family(network)
    bare = network.kind in ("pool", "none")
    if network.kind == "none":  # what makes vectors is kept by the task
        tensors = {name: one for name, one in tensors.items() if not name.startswith("head.")}
    return written(family, network, tensors, "" if bare else family.prefix)


def file_places(network: Network) -> dict[str, Place]:
    """Return where each parameter lies in a file, by our name; the file's names are whole."""
    family = _family(network)
    prefix = "" if network.kind in ("pool", "none") else family.prefix
    return {
        name: at if at.outside else replace(at, names=tuple(prefix + their for their in at.names))
        for name, at in places(family, network).items()
    }


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
    multi_label_classification or regression. Without `labels` the folder's own are kept, if there
    are as many as classes. Each file is whole or absent.
    """
    raw, ends = _raw(network), None
    if network.config.stacks != "encoder" and tokenizer is not None:
        if raw.get("eos_token_id") is None:
            raw |= {"bos_token_id": tokenizer.token_to_id("[CLS]")}
            raw |= {"eos_token_id": tokenizer.token_to_id("[SEP]")}
        ends = _first(raw.get("bos_token_id")), _first(raw["eos_token_id"])
    if labels is None and isinstance(network.head, ClassifyHead | TokenHead):
        classes, own = network.head.classifier.out_features, raw.get("id2label")
        if not isinstance(own, dict) or len(own) != classes:
            # Without names transformers takes two classes for granted, and refuses a head of one.
            labels = [f"LABEL_{number}" for number in range(classes)]
    if labels is not None:
        raw.pop("problem_type", None)
        raw["id2label"] = {str(number): label for number, label in enumerate(labels)}
        raw["label2id"] = {label: number for number, label in enumerate(labels)}
    if problem_type is not None:
        raw["problem_type"] = problem_type
    parts = {name: t.contiguous().cpu() for name, t in to_file(network, as_saved(network)).items()}
    with atomic_file(folder / WEIGHTS) as draft:
        save_file(parts, draft, metadata={"format": "pt"})
    write_text(folder / "config.json", json.dumps(raw, indent=2, ensure_ascii=False) + "\n")
    if tokenizer is not None:
        save_tokenizer(tokenizer, folder, network.config.max_positions, ends=ends)


def _first(ids: Any) -> int | None:
    """Return an id of a config, of several the first."""
    found: int | None = ids[0] if isinstance(ids, list) and ids else ids
    return found


def _raw(network: Network) -> Raw:
    """Return the `config.json` of a network: the one it was opened with, brought up to date."""
    family = _family(network)
    if network.raw is None:
        raw = saying(network.config)[1]
    else:
        stale = ("num_labels", "torch_dtype", "auto_map")
        raw = {key: value for key, value in network.raw.items() if key not in stale}
    return raw | {
        "architectures": [family.architectures[network.kind]],
        "dtype": str(next(network.parameters()).dtype).removeprefix("torch."),
    }


def as_saved(network: Network) -> dict[str, Tensor]:
    """Return every parameter by name as a file has it: the unit of a regression is in its head."""
    tensors = {name: p.detach() for name, p in network.named_parameters()}
    return tensors | (_folded(network.head) if isinstance(network.head, ClassifyHead) else {})


def _folded(head: ClassifyHead) -> dict[str, Tensor]:
    folded = {"head.classifier.weight": head.classifier.weight.detach() * head.scale}
    if head.classifier.bias is not None:
        bias_C = head.classifier.bias.detach()
        folded["head.classifier.bias"] = bias_C * head.scale + head.center
    return folded
