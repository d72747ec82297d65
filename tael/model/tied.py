"""Tensors that a file holds twice, such as the token embedding as the matrix of the scores."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tael.errors import CheckpointError
from tael.model.config import ModelConfig
from tael.model.families.base import Family
from tael.model.head import HeadKind
from tael.model.header import Source

__all__ = ["without_copies"]


def without_copies(
    folder: Path, family: Family, config: ModelConfig, sources: Mapping[str, Source]
) -> tuple[dict[str, Source], ModelConfig, list[str]]:
    """Leave out what repeats another tensor, byte for byte; take it where that one is absent.

    A matrix of scores that differs from the embedding is one of its own, whatever the config says:
    the config returned says so, and a warning. CheckpointError where another copy differs.
    """
    kept, warnings = dict(sources), []
    matrices = _scores(family, config)
    for name, source in sources.items():
        bare = family.copies.get(name.removeprefix(family.prefix))
        scores = name in matrices
        if bare is None or (scores and not config.tied):
            continue
        original = next((n for n in (family.prefix + bare, bare) if n in kept), None)
        if original is None:
            kept[bare] = kept.pop(name)
        elif np.array_equal(_bytes(source), _bytes(kept[original])):
            del kept[name]
        elif scores:
            config = replace(config, tied=False)
            warnings.append(f"{folder}: tied by its config, but {name} differs from {original}")
        else:
            raise CheckpointError(
                f"{folder}: {name} differs from {original}; {family.model_type} has one for both"
            )
    return kept, config, warnings


def _scores(family: Family, config: ModelConfig) -> set[str]:
    kinds: tuple[HeadKind, ...] = ("mlm", "clm", "seq2seq")
    tables = (family.layout(config, kind) for kind in kinds if kind in family.architectures)
    return {f"{table['head']}.weight".lstrip("/") for table in tables}


def _bytes(source: Source) -> NDArray[np.uint8]:
    entry = source.entry
    if entry.start == entry.stop:
        return np.empty(0, np.uint8)
    return np.memmap(source.path, np.uint8, "r")[entry.start : entry.stop]
