"""`tael.load`: open whatever can answer or be looked into, by its path.

Letters: B rows · T positions · N records · C classes · D hidden.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tael.compress.manifest import MANIFEST
from tael.data.record import Record
from tael.data.tokenizer import load_tokenizer
from tael.engine.batch import cut
from tael.engine.predictor import Engine, open_engine
from tael.engine.runtime import TorchRuntime
from tael.errors import DataError, UsageError
from tael.recipe.package import resolve
from tael.task.base import Answer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from tael.model.network import Network

__all__ = ["Loaded", "load"]

DType = Literal["auto", "float32", "bfloat16"]


class Loaded:
    """A run, a variant, or a Hugging Face folder, opened.

    `network` and `tokenizer` are None where the variant has none (a linear model, an ONNX graph).
    """

    def __init__(
        self,
        folder: Path,
        *,
        network: "Network | None",
        tokenizer: "Tokenizer | None",
        engine: Engine | None,
    ) -> None:
        self.folder = folder
        self.network = network
        self.tokenizer = tokenizer
        self.engine = engine

    def predict(self, records: Sequence[Record | str]) -> list[Answer]:
        """Return one answer a record, in order; a plain string counts as a record's text.

        Raises UsageError for a folder without a task, DataError for a record without its texts.
        """
        if self.engine is None:
            raise UsageError(
                f"{self.folder}: has no task, so nothing to predict; train one on it with "
                f"`tael new NAME --task classify model.from={self.folder}`"
            )
        if isinstance(records, str | Mapping):
            raise UsageError("predict takes a list of records: predict([record])")
        roles = tuple(self.engine.task.request_model().model_fields)
        return self.engine.predict([_record(*at, roles) for at in enumerate(records)])

    def logits(self, ids_BT: "Tensor", mask_BT: "Tensor | None" = None) -> "Tensor":
        """Return what the head gives for ids (int64): (B, C), or (B, T, V) of a masked-LM head.

        The mask is 1 at real tokens; None: all are real.
        """
        import torch

        with torch.inference_mode():
            return self._opened().logits(_batch(ids_BT, mask_BT))

    def hidden(self, ids_BT: "Tensor", mask_BT: "Tensor | None" = None) -> "Tensor":
        """Return the last hidden states (B, T, D); those at padding mean nothing."""
        import torch

        with torch.inference_mode():
            states_BTD: Tensor = self._opened()(_batch(ids_BT, mask_BT))
            return states_BTD

    def embed(self, texts: Sequence[str], *, max_tokens: int = 256) -> NDArray[np.float32]:
        """Return a vector of length 1 for each text, (N, D): the mean over its tokens.

        As sentence-transformers does it for MiniLM; longer texts are cut to `max_tokens`.
        """
        network = self._opened()
        if self.tokenizer is None:
            raise UsageError(f"{self.folder}: has no tokenizer, so texts cannot be embedded")
        most = min(max_tokens, network.config.max_positions)
        encoded = self.tokenizer.encode_batch(list(texts))
        ids = [_shortened(encoding.ids, most) for encoding in encoded]
        out_ND = np.zeros((len(ids), network.config.hidden), np.float32)
        for group in cut([len(one) for one in ids]):
            out_ND[group] = self._means([ids[index] for index in group])
        return out_ND

    def save(self, folder: Path | str) -> None:
        """Write the network and its tokenizer as a Hugging Face folder."""
        from tael.model.weights import read_config, save_folder

        raw = read_config(self.folder)
        names = raw.get("id2label")
        labels = [names[str(number)] for number in range(len(names))] if names else None
        save_folder(
            Path(folder),
            self._opened(),
            labels=labels,
            problem_type=raw.get("problem_type"),
            tokenizer=self.tokenizer,
        )

    def _opened(self) -> "Network":
        if self.network is None:
            raise UsageError(
                f"{self.folder}: has no torch network; load the run's model folder, or its "
                "variant torch-fp32"
            )
        return self.network

    def _means(self, ids: list[list[int]]) -> NDArray[np.float32]:
        import torch

        length = max(len(one) for one in ids)
        ids_BT = torch.zeros(len(ids), length, dtype=torch.int64)
        mask_BT = torch.zeros_like(ids_BT)
        for row, one in enumerate(ids):
            ids_BT[row, : len(one)] = torch.tensor(one)
            mask_BT[row, : len(one)] = 1
        weight_BT1 = mask_BT[:, :, None].float()
        hidden_BTD = self.hidden(ids_BT, mask_BT).float()
        mean_BD = (hidden_BTD * weight_BT1).sum(1) / weight_BT1.sum(1)
        unit_BD: NDArray[np.float32] = torch.nn.functional.normalize(mean_BD, dim=-1).numpy()
        return unit_BD


def load(path: str | Path, dtype: DType = "auto") -> Loaded:
    """Open a run (the variant it serves), a variant, or a Hugging Face BERT folder.

    `path` may be `package://PYTHON_PACKAGE/FOLDER`. `dtype` is the arithmetic of a torch network;
    auto: as the variant says, float32 for a folder. Raises UsageError where there is none of these.
    """
    folder = resolve(str(path))
    is_run = (folder / "model" / "config.json").is_file()
    if is_run or (folder / MANIFEST).is_file():
        return _answering(open_engine(folder), dtype)
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{folder}: neither a run, nor a variant, nor a Hugging Face folder (config.json and "
            "model.safetensors)"
        )
    if (folder / "task.json").is_file():
        return _answering(open_engine(folder), dtype)
    return _bare(folder, dtype)


def _answering(engine: Engine, dtype: DType) -> Loaded:
    runtime = engine.runtime
    network = runtime.network if isinstance(runtime, TorchRuntime) else None
    if network is not None and dtype != "auto":
        network.to(_torch_dtype(dtype))  # in place: the engine computes with it too
    has_words = engine.variant.runtime != "linear"
    tokenizer = load_tokenizer(engine.folder) if has_words else None
    return Loaded(engine.folder, network=network, tokenizer=tokenizer, engine=engine)


def _bare(folder: Path, dtype: DType) -> Loaded:
    from tael.model.weights import open_folder

    network, _ = open_folder(folder)
    network.eval()
    if dtype != "auto":
        network.to(_torch_dtype(dtype))
    has_words = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
    tokenizer = load_tokenizer(folder) if has_words else None
    return Loaded(folder, network=network, tokenizer=tokenizer, engine=None)


def _torch_dtype(dtype: DType) -> Any:
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]


def _batch(ids_BT: "Tensor", mask_BT: "Tensor | None") -> Any:
    import torch

    from tael.model.batch import Batch

    if mask_BT is None:
        return Batch(ids_BT, torch.ones_like(ids_BT, dtype=torch.int32), layout="full")
    return Batch(ids_BT, mask_BT.to(torch.int32), layout="padded")


def _record(number: int, record: Any, roles: Sequence[str]) -> Record:
    """Return a record that has all its texts; DataError where one is missing or no string."""
    row: Record = {"text": record} if isinstance(record, str) else record
    for role in roles:
        found = row.get(role) if isinstance(row, Mapping) else row
        if not isinstance(found, str):
            keys = ", ".join(f'"{name}": …' for name in roles)
            raise DataError(
                f"records[{number}]: {role} must be a string, found {found!r:.40}; "
                f"a record is {{{keys}}}"
            )
    return row


def _shortened(ids: list[int], most: int) -> list[int]:
    """Cut in the middle of nothing: the last id is the closing special token, and stays last."""
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]
