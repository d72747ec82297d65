"""Write what a layer of a model makes of each text of a file.

Letters: B rows · T positions · N texts or tokens · D hidden.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tael.data.read import read
from tael.engine.batch import cut
from tael.engine.load import load
from tael.engine.loaded import Loaded
from tael.errors import DataError, UsageError
from tael.files import atomic_file

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Pool", "hidden"]

Pool = Literal["mean", "first", "last", "none"]
_ENDINGS = (".npy", ".safetensors")


def hidden(
    path: str | Path,
    source: Path,
    target: Path,
    *,
    layer: int = -1,
    pool: Pool = "mean",
    column: str = "text",
) -> dict[str, int]:
    """Write one vector a text of `source` to `target`, in order; return what was counted.

    A `.npy` file holds (N, D) in float32, a `.safetensors` file the same as `hidden`. With `pool`
    none that is a vector a token, all texts in a row, and `lengths` says how many each text has:
    only `.safetensors` takes both. Layers count as in `Loaded.hidden`; an encoder-decoder gives its
    encoder's. Texts beyond the model's places are cut, and counted.
    """
    _check(target, pool)
    loaded = load(path)
    counts: Counter[str] = Counter()
    texts = list(_texts(source, column, counts))
    ids = _ids(loaded, texts, counts)
    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(ids)
    for group in cut([len(one) for one in ids]):
        states = _states(loaded, [ids[n] for n in group], layer, pool)
        for n, state in zip(group, states, strict=True):
            found[n] = state
    _write(target, found, pool)
    return {"texts": len(ids), "tokens": sum(map(len, ids)), **counts}


def _check(target: Path, pool: Pool) -> None:
    if pool not in get_args(Pool):
        raise UsageError(f"pool must be one of {', '.join(get_args(Pool))}, found {pool!r}")
    if target.suffix not in _ENDINGS or target.is_dir():
        raise UsageError(f"{target}: name a file for the vectors: --out states.npy")
    if pool == "none" and target.suffix != ".safetensors":
        raise UsageError(
            f"{target}: a vector a token needs the texts' lengths beside; --out states.safetensors"
        )


def _texts(source: Path, column: str, counts: Counter[str]) -> Iterator[str]:
    for record in read([source], counts=counts):
        text = record.get(column)
        if not isinstance(text, str):
            known = ", ".join(name for name in record if name != "@")
            raise DataError(
                f"{record['@']}: no text in column {column!r}, found {known}; --column NAME"
            )
        yield text


def _ids(loaded: Loaded, texts: list[str], counts: Counter[str]) -> list[list[int]]:
    most = loaded.opened().config.max_positions
    ids = [list(encoding.ids) for encoding in loaded.worded().encode_batch(texts)]
    if [] in ids:
        raise DataError(f"text {ids.index([]) + 1} has no token, so there is nothing to write")
    counts["texts cut"] = sum(len(one) > most for one in ids)
    return [one[:most] for one in ids]


def _states(
    loaded: Loaded, ids: list[list[int]], layer: int, pool: Pool
) -> list[NDArray[np.float32]]:
    """Return an array a text, (D,) or (T, D)."""
    import torch

    from tael.model.reader import tensor_of

    ids_BT, mask_BT = tensor_of(ids, torch.device("cpu"), left=False)
    states_BTD = loaded.hidden(ids_BT, mask_BT, layer).float()
    return [
        _pooled(states_TD[: len(one)], pool).numpy()
        for one, states_TD in zip(ids, states_BTD, strict=True)
    ]


def _pooled(states_TD: "Tensor", pool: Pool) -> "Tensor":
    if pool == "none":
        return states_TD
    if pool == "mean":
        return states_TD.mean(dim=0)
    return states_TD[0 if pool == "first" else -1]


def _write(target: Path, found: list[NDArray[np.float32]], pool: Pool) -> None:
    parts: dict[str, NDArray[Any]] = {}
    if pool == "none":
        parts["lengths"] = np.array([len(one) for one in found], np.int64)
        parts["hidden"] = np.concatenate(found)
    else:
        parts["hidden"] = np.stack(found)
    with atomic_file(target) as draft:
        if target.suffix == ".safetensors":
            from safetensors.numpy import save_file

            save_file(parts, draft)
        else:
            with draft.open("wb") as file:
                np.save(file, parts["hidden"])
